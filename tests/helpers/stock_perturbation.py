"""What unmodified Captum gives for the default settings of the perturbation-based explainers, from the same draws.

Captum gathers and fits in float32 whatever the model's precision, so it is run with every conversion to float32 made
one to float64: only its last step, storing the map, still rounds to float32. Images are explained one at a time, since
KernelShap and Lime draw anew for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import torch
from captum._utils.models.linear_model import SkLearnRidge
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Stock = Callable[[nn.Module, Tensor, Tensor, torch.Generator], Tensor]
AT_ONCE = 32


class InFloat64(TorchFunctionMode):
    """Inside the block, what asks for float32 by name gets float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = dict(kwargs or {})
        if settings.get("dtype") is torch.float32:
            settings["dtype"] = torch.float64
        return (Tensor.double if func is Tensor.float else func)(*args, **settings)


def squares(x: Tensor, size: int = 4) -> Tensor:
    """Captum's feature mask of squares, 1×1×H×W."""
    height, width = x.shape[2:]
    corners = [(top, left) for top in range(0, height, size) for left in range(0, width, size)]
    mask = torch.empty(1, 1, height, width, dtype=torch.int64)
    for number, (top, left) in enumerate(corners):
        mask[..., top : top + size, left : left + size] = number
    return mask


def drawn(mask: Tensor, samples: int, generator: torch.Generator) -> list[list[float]]:
    """For every sample one number a segment: the first so many of as many numbers as there are pixels."""
    numbers = torch.rand(samples, mask.numel(), generator=generator, dtype=torch.float64)
    return numbers[:, : int(mask.max()) + 1].tolist()


def permutations(mask: Tensor, samples: int, generator: torch.Generator) -> list[list[int]]:
    """Segments in the order of their numbers."""
    return [sorted(range(len(row)), key=row.__getitem__) for row in drawn(mask, samples, generator)]


def shapley_coalitions(mask: Tensor, samples: int, generator: torch.Generator) -> list[list[int]]:
    """Full, empty, then the first so many of a permutation, as many as a number of the inverse distribution says."""
    orders = permutations(mask, samples - 2, generator)
    levels = torch.rand(samples - 2, generator=generator, dtype=torch.float64).tolist()
    count = len(orders[0])
    chances = [1 / (size * (count - size)) for size in range(1, count)]
    coalitions = [[1] * count, [0] * count]
    for order, level in zip(orders, levels, strict=True):
        size, passed = 1, chances[0]
        while passed <= level * sum(chances) and size < count - 1:
            passed += chances[size]
            size += 1
        coalitions.append([int(segment in order[:size]) for segment in range(count)])
    return coalitions


def handed_out(coalitions: list[list[int]]) -> Callable[..., Iterator[Tensor]]:
    """Captum's ``perturb_func`` that gives these coalitions one after the other."""

    def perturb(_original: Tensor, **_settings: object) -> Iterator[Tensor]:
        yield from (torch.tensor([coalition]) for coalition in coalitions)

    return perturb


def each(explain: Callable[..., Tensor], x: Tensor, target: Tensor, **settings: object) -> Tensor:
    """One image at a time, with masks of its own where ``feature_mask`` has several."""
    masks = settings.pop("feature_mask", None)
    rows = []
    for index in range(len(x)):
        if isinstance(masks, Tensor):
            settings["feature_mask"] = masks[index : index + 1] if len(masks) > 1 else masks
        with InFloat64():
            rows.append(explain(x[index : index + 1], target=target[index : index + 1], **settings))
    return torch.cat(rows).detach().to(x)


def occlusion(
    model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator, window: int = 4, stride: int = 2
) -> Tensor:
    channels = x.shape[1]
    return each(
        captum.attr.Occlusion(model).attribute,
        *(x, target),
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        perturbations_per_eval=AT_ONCE,
    )


def feature_ablation(
    model: nn.Module, x: Tensor, target: Tensor, _generator: torch.Generator, masks: Tensor | None = None
) -> Tensor:
    masks = squares(x) if masks is None else masks
    explain = captum.attr.FeatureAblation(model).attribute
    return each(explain, x, target, feature_mask=masks, perturbations_per_eval=AT_ONCE).expand_as(x)


def by_segments(make: Callable[[nn.Module, Tensor, int, torch.Generator], Any], default: int) -> Callable[..., Tensor]:
    """What Captum's explainer gives that ``make`` returns for a mask and a number of samples; all images draw alike."""

    def explained(
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        generator: torch.Generator,
        samples: int = default,
        masks: Tensor | None = None,
    ) -> Tensor:
        state = generator.get_state()

        def explain(image: Tensor, *, feature_mask: Tensor, **settings: object) -> Any:
            explainer = make(model, feature_mask, samples, generator.set_state(state))
            return explainer.attribute(image, feature_mask=feature_mask, n_samples=samples, **settings)

        masks = squares(x) if masks is None else masks
        return each(explain, x, target, feature_mask=masks, perturbations_per_eval=AT_ONCE)

    return explained


def sampling_of(model: nn.Module, mask: Tensor, samples: int, generator: torch.Generator) -> Any:
    sampling, orders = captum.attr.ShapleyValueSampling(model), permutations(mask, samples, generator)
    sampling.permutation_generator = lambda _features, _samples: orders
    return sampling


def shap_of(model: nn.Module, mask: Tensor, samples: int, generator: torch.Generator) -> Any:
    shap = captum.attr.KernelShap(model)
    shap.perturb_func = handed_out(shapley_coalitions(mask, samples, generator))
    return shap


def lime_of(model: nn.Module, mask: Tensor, samples: int, generator: torch.Generator) -> Any:
    def similarity(_original: Tensor, _perturbed: Tensor, coalition: Tensor, **_settings: object) -> Tensor:
        cosine = coalition.double().mean().sqrt()
        return torch.exp(-((1 - cosine) ** 2) / (2 * 0.25**2))

    coalitions = [[int(number < 0.5) for number in row] for row in drawn(mask, samples, generator)]
    return captum.attr.Lime(model, SkLearnRidge(alpha=1.0), similarity, handed_out(coalitions))


shapley_sampling = by_segments(sampling_of, 10)
kernel_shap = by_segments(shap_of, 200)
lime = by_segments(lime_of, 200)

STOCK: dict[str, Stock] = {
    "occlusion": occlusion,
    "feature-ablation": feature_ablation,
    "shapley-sampling": shapley_sampling,
    "kernel-shap": kernel_shap,
    "lime": lime,
}
