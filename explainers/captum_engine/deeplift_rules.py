"""DeepLift's Rescale rule for Captum's class, differentiable and with three errors of Captum 0.9 corrected.

Captum 0.9 divides by differences that may be zero and then discards the quotient, which makes the derivative NaN. It
takes the fallback gradient of max-pooling from the first image of the batch. Where pooling windows overlap it
overwrites instead of adding. The rules here have Captum's values everywhere else.
"""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import DeepLift, DeepLiftShap
from torch import Tensor, nn
from torch.nn import functional

from attrobust.networks.private_copy import CALLED_ONCE, POOLS
from attrobust.types import percent

_POOLING = {
    nn.MaxPool1d: functional.max_pool1d,
    nn.MaxPool2d: functional.max_pool2d,
    nn.MaxPool3d: functional.max_pool3d,
}


def rescale(inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float) -> Tensor:
    """Multiplier of an elementwise activation, ``Δout / Δin`` (Shrikumar et al. 2017, arXiv 1704.02685, section 3.5.1).

    Args:
        inputs, outputs: 2B×…, of the images and then of their references.
        grad_input: the activation's own gradient, used where the inputs are equal.
        grad_output: the multiplier of the activation's output.
        eps: inputs closer than this count as equal.
    """
    delta_in, delta_out = (torch.sub(*values.chunk(2)) for values in (inputs, outputs))
    equal = delta_in.abs() < eps
    # The divisor is replaced before the division: the gradient of a discarded 0/0 would still be NaN.
    ratio = delta_out / delta_in.masked_fill(equal, 1.0)
    own, above = (torch.unflatten(gradient, 0, (2, -1)) for gradient in (grad_input, grad_output))
    return torch.where(equal, own, above * ratio).flatten(0, 1)


def rescale_pool(
    module: nn.Module, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float
) -> Tensor:
    """Multiplier of max-pooling: the change of an output is assigned to both maxima and divided by their change.

    Args:
        module: the pooling.
        inputs, outputs, grad_input, grad_output, eps: as for ``rescale``.
    """
    x, reference = inputs.chunk(2)
    y, y_reference = outputs.chunk(2)
    larger = torch.maximum(y, y_reference)
    change = torch.cat([larger - y_reference, y - larger])
    (pool,) = (function for kind, function in _POOLING.items() if isinstance(module, kind))
    settings: Any = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    indices = pool(inputs, *settings, return_indices=True)[1].flatten(2)
    spread = torch.zeros_like(inputs).flatten(2).scatter_add(2, indices, (grad_output * change).flatten(2))
    gathered = sum(spread.view_as(inputs).chunk(2))
    delta = x - reference
    equal = delta.abs() < eps
    multiplier = torch.where(equal, grad_input.chunk(2)[0], gathered / delta.masked_fill(equal, 1.0))
    return torch.cat([multiplier, multiplier])


class _Rules:
    """Replaces Captum's hooks by ones that detach nothing and use the rules above."""

    eps: float

    def _is_non_linear(self, module: nn.Module) -> bool:
        return isinstance(module, CALLED_ONCE)

    def _forward_pre_hook(self, module: Any, inputs: Any) -> None:
        # No copy: what ``Separated`` hands in is seen by nothing else.
        module.input = inputs[0] if isinstance(inputs, tuple) else inputs

    def _forward_hook(self, module: Any, _inputs: Any, outputs: Any) -> None:
        module.output = (outputs[0] if isinstance(outputs, tuple) else outputs).clone()

    def _backward_hook(self, module: Any, grad_input: Tensor, grad_output: Tensor) -> Tensor:
        inputs, outputs = module.input, module.output
        del module.input, module.output
        if isinstance(module, POOLS):
            return rescale_pool(module, inputs, outputs, grad_input, grad_output, self.eps)
        return rescale(inputs, outputs, grad_input, grad_output, self.eps)


class RescaleDeepLift(_Rules, DeepLift):  # type: ignore[misc]
    """Captum's ``DeepLift`` with the rules of this module."""


class RescaleDeepLiftShap(_Rules, DeepLiftShap):  # type: ignore[misc]
    """Captum's ``DeepLiftShap`` with the rules of this module."""


class Separated(nn.Module):
    """A module that works on a clone of its input.

    Captum sets hooks on the tensors between modules. Where an activation's output is the same tensor as the input of a
    max-pooling, the hook of the activation runs first and misses the result of the pooling's rule.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """The module's output for ``x``."""
        return self.module(x.clone())  # type: ignore[no-any-return]


def check_complete(explainer: Any, x: Tensor, maps: Tensor, target: Any) -> None:
    """Raise ValueError where the contributions do not sum to the difference of the logits, as an operation had no rule.

    Args:
        explainer: on a ``Network``, just run.
        x: the images, B×C×H×W.
        maps: their contributions.
        target: Captum's; only one class for all, or one for each image, is checked.
    """
    labels = torch.as_tensor(0 if target is None else target, device=x.device)
    if not explainer.multiplies_by_inputs or labels.dim() > 1 or explainer.model.output.dim() != 2:
        return
    logits, references = explainer.model.output.detach().chunk(2)
    copies = len(logits) // len(x)
    classes = labels.long().expand(len(x)).repeat_interleave(copies).view(-1, 1)
    logit_change = (logits - references).gather(1, classes).view(len(x), copies).mean(dim=1)
    flat = maps.detach().flatten(1)
    gap, scale = (flat.sum(dim=1) - logit_change).abs(), flat.abs().sum(dim=1) + logit_change.abs()
    # For an image that equals its reference, contributions are rounding errors.
    rounding = torch.finfo(maps.dtype).eps ** 0.5 * explainer.model.output.abs().max()
    wrong = gap > 1e-3 * scale + rounding
    if wrong.any():
        share = float((gap / scale)[wrong].max())
        raise ValueError(
            f"contributions miss {percent(share, '.2g')} of what the logit changes: the network has an operation that "
            "is neither linear nor an activation or max-pooling known to DeepLift; use another explainer"
        )
