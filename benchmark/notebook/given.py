"""A user's network and tensors, made into what an evaluation takes, or refused with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attrobust.benchmark.contract.models import require_logits
from attrobust.benchmark.data.base import guessing, partners_among, shape_of
from attrobust.benchmark.evaluation.inputs import Images
from attrobust.benchmark.statistics import at_chance
from attrobust.images import NORMALISE, check_pixels
from attrobust.naming.safe import first_line
from attrobust.networks.copying import independent_copy
from attrobust.outputs import WRAPPERS, classes_of, probabilities, with_logits
from attrobust.process import seeded
from attrobust.storage import check_in_memory, type_name

FEW = 8
"""Images that a network is tried with."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """A network and the images that it is evaluated on.

    Attributes:
        network: a copy, in evaluation mode, with a logit for each class.
        images: in the network's type of numbers, on the CPU. Their classes are the true ones where these are known,
            else those that the network predicts.
        prediction: the class the network predicts for each, int64[B].
        classes: of the network.
        labelled: whether the true classes are known.
        notes: what was adapted, and what is strange, in words.
    """

    network: nn.Module
    images: Images
    prediction: Tensor
    classes: int
    labelled: bool
    notes: tuple[str, ...]


def given(
    model: nn.Module,
    x: Tensor,
    y: Any = None,
    *,
    classes: int | None = None,
    partners: Tensor | None = None,
    masks: Tensor | None = None,
    batch_size: int,
) -> Given:
    """Take a network and images as they come.

    Args:
        model: any classifier that takes B×C×H×W in [0, 1].
        x: images B×C×H×W in [0, 1].
        y: true classes, B whole numbers; None where they are not known.
        classes: of the network; None to tell it from what the network returns.
        partners: for each image another one, of another class, B×C×H×W; None to take them from ``x``.
        masks: object masks, bool B×H×W; None where there are none.
        batch_size: images at once.

    Raises:
        ValueError: the network does not take the images, or something is not what it should be.
    """
    network, notes = _network(model)
    check_pixels(x, "x")
    if not len(x):
        raise ValueError("x has no images")
    like = next((weights for weights in network.parameters() if weights.is_floating_point()), None)
    if like is None:
        raise ValueError(f"{_name(model)} has no parameters; a network is wanted that was trained")
    if x.dtype != like.dtype:
        notes.append(f"x was {type_name(x.dtype)} and is now {type_name(like.dtype)}, as the network's weights")
    x = x.detach().to("cpu", like.dtype)
    # A copy, since a network may change the images it is given.
    few = x[:FEW].to(like.device, copy=True)
    with seeded(0):
        try:
            count = classes if classes is not None else classes_of(network, few)
            adapted = with_logits(network, few, count)
        except ValueError:
            raise
        except Exception as error:  # whatever a network raises
            raise ValueError(
                f"{_name(model)} does not take x, {shape_of(x.shape)}: {first_line(error)}{_grey(x, error)}"
            ) from error
        if adapted is not network:
            notes.append(f"what {_name(network)} returns was made into one logit for each of {count} classes")
        require_logits(adapted, few, count)
        with torch.no_grad():
            if told := probabilities(adapted(few)):
                notes.append(f"outputs of {_name(network)}: {told}")
        prediction = predicted(adapted, x, batch_size)
    labels = prediction if y is None else _classes(y, len(x), count)
    if y is not None and (strange := _strange(prediction, labels, count)):
        notes.append(strange)
    if partners is None:
        partners = x[partners_among(labels.tolist(), len(x))]
        if len(x) == 1:
            notes.append("a single image has no other image for a partner; attacks that need one are given itself")
    check_pixels(partners, "partners")
    images = Images(x=x, y=labels, partners=partners.detach().to("cpu", like.dtype), masks=_masks(masks))
    return Given(
        network=adapted,
        images=images,
        prediction=prediction,
        classes=count,
        labelled=y is not None,
        notes=tuple(notes),
    )


def _network(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy of a network in evaluation mode, without wrappers that compute the same, and what there is to say."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, not {type(model).__name__}; wrap it in one")
    notes = []
    while (kind := type(model).__name__) in WRAPPERS:
        notes.append(f"{kind} computes the same as the network inside, which is used")
        model = getattr(model, WRAPPERS[kind])
    if any(module.training for module in model.modules()):
        notes.append("the network was in training mode; a copy in evaluation mode is evaluated")
    return independent_copy(model).eval(), notes


def predicted(network: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """The class that a network predicts for each of B×C×H×W images, int64[B] on the CPU."""
    device = next(network.parameters()).device
    with torch.no_grad():
        parts = [x[start : start + batch_size] for start in range(0, len(x), batch_size)]
        return torch.cat([network(part.to(device)).argmax(dim=1).cpu() for part in parts])


def _classes(y: Any, count: int, classes: int) -> Tensor:
    """True classes as int64[B]; raises ValueError."""
    try:
        labels = torch.as_tensor(y).detach()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        said = f"y must be one class for each of {count} images, as whole numbers, not {type(y).__name__}"
        raise ValueError(f"{said}: {first_line(error)}") from error
    check_in_memory(labels, "y")
    labels = labels.cpu()
    if labels.shape != (count,):
        raise ValueError(f"y must be one class for each of {count} images, not {shape_of(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"y must be whole numbers, the positions of the classes, not {type_name(labels.dtype)}")
    labels = labels.to(torch.int64)
    low, high = labels.aminmax()
    if low < 0 or high >= classes:
        raise ValueError(f"y has classes from {int(low)} to {int(high)}; the network has {classes}, from 0")
    return labels


def _masks(masks: Any) -> Tensor | None:
    """Object masks on the CPU, whatever their shape; raises ValueError."""
    if masks is None:
        return None
    if not isinstance(masks, Tensor):
        raise ValueError(f"masks must be a tensor of bool, B×H×W, not {type(masks).__name__}")
    check_in_memory(masks, "masks")
    return masks.cpu()


def _strange(prediction: Tensor, labels: Tensor, classes: int) -> str:
    """What an accuracy that is no better than guessing may mean; empty where it is better, or images say too little."""
    guess = max(1 / classes, guessing(labels))
    if len(labels) < FEW or guess > 0.5:
        return ""
    reason = at_chance(int((prediction == labels).sum()), len(labels), guess)
    return f"{reason}; {NORMALISE}: nn.Sequential(attrobust.Normalize(mean, std), network)" if reason else ""


def _grey(x: Tensor, error: Exception) -> str:
    wants_three = x.shape[1] == 1 and "channels" in first_line(error)
    return "; x has one channel: x.expand(-1, 3, -1, -1) has three" if wants_three else ""


def _name(model: nn.Module) -> str:
    return type(model).__name__
