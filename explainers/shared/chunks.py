"""Explaining in chunks that fit a memory budget; the result does not depend on how the work is cut.

Most explainers evaluate the network at several copies of every image: points of a path, noisy copies, masked copies. An
explainer computes the contribution of one block of images and copies, and ``accumulate`` decides how large blocks are.
Where a graph is needed and there is more than one block, each block is computed without a graph and recomputed with one
in the backward pass, so that memory is that of one block.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attrobust.networks.findings import remembered
from attrobust.networks.passes import standing_for
from attrobust.networks.second_order import SecondOrder

Part = Callable[[Tensor, slice, slice, bool], Tensor]
"""From images b×C×H×W, their rows in the batch, the copies, and whether to build a graph, to contributions b×…"""

Modes = list[tuple[nn.Module, bool]]

_budget: ContextVar[int | None] = ContextVar("memory budget", default=None)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a part of the copies stands for all of them, where only passes or memory are of interest.

    Attributes:
        whole_blocks: whether the first block is computed of the copies of an image, which takes the memory of all of
            them; else two copies are.
        images: how many are explained together in truth, 0 for as many as are given.
        saved: bytes that autograd saves in truth for one image in float32, 0 for what it saves of the network given.
    """

    whole_blocks: bool = False
    images: int = 0
    saved: int = 0


_sampling: ContextVar[Sampling | None] = ContextVar("sampling of copies", default=None)


@contextmanager
def sampled(sampling: Sampling) -> Iterator[None]:
    """Inside the block explainers of this thread compute a part of their copies, whose passes count as those of all.

    Maps are finite, of the right shape, and not what they would be otherwise.
    """
    token = _sampling.set(sampling)
    try:
        yield
    finally:
        _sampling.reset(token)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much a device computes at once where no budget is set.

    Attributes:
        size: bytes of activations.
        rows: images, beyond which a batch is no faster.
    """

    size: int
    rows: int


CPU = Capacity(size=1 << 29, rows=64)
"""Measured on one core: LeNet on 32×32 pixels is fastest at 16 to 128 rows, and takes 1.6 times as long an image at
512, whose activations leave the cache; ResNet-18 is a quarter faster at 56 rows, or 512 MiB, than at 7."""
GPU_SHARE = 8
GPU_ROWS = 1024
"""Not measured: a batch of this many 32×32 images fills the largest devices. The bytes are a share of the device's
memory and not of what is free, so that neither sizes nor rounding depend on what ran before, and no call of the driver
waits for the device."""


@contextmanager
def memory_budget(size: int | None) -> Iterator[None]:
    """Inside the block, explainers of this thread keep about ``size`` bytes of activations at once.

    None is the device's default: 512 MiB and at most 64 images at once on a CPU, an eighth of its memory and at most
    1,024 on a GPU. At least one copy of one image is always computed, however small the budget.
    """
    if size is not None and size < 1:
        raise ValueError(f"a memory budget of {size} bytes must be at least 1")
    token = _budget.set(size)
    try:
        yield
    finally:
        _budget.reset(token)


def accumulate(
    part: Part,
    model: nn.Module,
    x: Tensor,
    copies: int,
    *,
    create_graph: bool,
    join: Literal["sum", "cat"] = "sum",
) -> Tensor:
    """The contributions of all copies of all images, joined.

    Args:
        part: the contribution of a block, b×…; summed over its copies, or with its copies along the second axis.
        model: the network; its activations decide how many rows fit.
        x: images, B×C×H×W.
        copies: how often each image is evaluated.
        create_graph: whether the result must be differentiable with respect to ``x`` and the network's parameters.
        join: whether blocks of copies are added or concatenated along the second axis.
    """
    if (sampling := _sampling.get()) is not None:
        return _sampled(sampling, part, model, x, copies, create_graph=create_graph, join=join)
    rows = rows_at_once(model, x, create_graph=create_graph)
    height = min(len(x), rows)
    width = max(1, rows // height)
    blocks = list(itertools.product(_slices(len(x), height), _slices(copies, width)))

    def compute(rows: slice, span: slice) -> Tensor:
        if create_graph and len(blocks) > 1:
            return _recomputed(part, model, x[rows], (rows, span))
        piece = part(x[rows], rows, span, create_graph)
        return piece if create_graph else piece.detach()

    joined = []
    for _, group in itertools.groupby(blocks, key=lambda block: block[0]):
        pieces = [compute(*block) for block in group]
        joined.append(torch.cat(pieces, dim=1) if join == "cat" else torch.stack(pieces).sum(dim=0))
    return torch.cat(joined)


def rows_at_once(model: nn.Module, x: Tensor, *, create_graph: bool) -> int:
    """How many images may be sent through the network at once.

    A backward pass holds about twice what the forward pass saved, the graph of a gradient about five times as much.
    """
    saved = remembered(model, x, "saved bytes", lambda: saved_bytes(model, x[:1].detach()))
    return _rows(saved, x.device, create_graph=create_graph)


def _rows(saved: int, device: torch.device, *, create_graph: bool) -> int:
    each = max(1, saved * (5 if create_graph else 2))
    chosen = _budget.get()
    if chosen is not None:
        return max(1, chosen // each)
    capacity = _capacity(device)
    return max(1, min(capacity.size // each, capacity.rows))


def budget_within(total: int, device: torch.device) -> int | None:
    """The budget of explainers where all may take ``total`` bytes: half of them, None where the default is less."""
    return total // 2 if total // 2 < _capacity(device).size else None


def default_chunk(device: torch.device) -> int:
    """Bytes of activations at once in explainers where nothing is set."""
    return _capacity(device).size


def _capacity(device: torch.device) -> Capacity:
    if device.type == "cuda":
        return Capacity(size=torch.cuda.get_device_properties(device).total_memory // GPU_SHARE, rows=GPU_ROWS)
    return CPU


def saved_bytes(model: nn.Module, image: Tensor) -> int:
    """Bytes that autograd saves for one image, without parameters."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.forward(image.requires_grad_())
    for parameter in model.parameters():
        sizes.pop(parameter.data_ptr(), None)
    return sum(sizes.values())


def _sampled(
    sampling: Sampling,
    part: Part,
    model: nn.Module,
    x: Tensor,
    copies: int,
    *,
    create_graph: bool,
    join: Literal["sum", "cat"],
) -> Tensor:
    """See ``accumulate``, of a part of the copies."""
    batch = sampling.images or len(x)
    if sampling.saved:
        rows = _rows(sampling.saved * x.element_size() // 4, x.device, create_graph=create_graph)
    else:
        rows = rows_at_once(model, x, create_graph=create_graph)
    height = min(batch, rows)
    width = max(1, rows // height)
    # Of two copies it is seen, as of many, that they are not the images themselves.
    span = slice(0, min(copies, width, copies if sampling.whole_blocks else 2))
    several = batch > height or copies > width

    def standing(images: Tensor, rows: slice, span: slice, graph: bool) -> Tensor:
        with standing_for(copies, span.stop):
            return part(images, rows, span, graph)

    pieces = []
    for rows_of in _slices(len(x), height):
        if create_graph and several:
            piece = _recomputed(standing, model, x[rows_of], (rows_of, span))
        else:
            piece = standing(x[rows_of], rows_of, span, create_graph)
        pieces.append(piece if create_graph else piece.detach())
    joined = torch.cat(pieces)
    if join == "sum":
        return joined * (copies / span.stop)
    repeated = joined.repeat(1, -(-copies // span.stop), *(1 for _ in joined.shape[2:]))[:, :copies]
    # Copies that are all alike would make a map that is constant, which ends an attack.
    ripple = torch.arange(copies, device=x.device).cos().to(joined).view(1, -1, *(1 for _ in joined.shape[2:]))
    return repeated + ripple * (repeated.detach().abs().amax() + 1) / 100


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _recomputed(part: Part, model: nn.Module, images: Tensor, block: tuple[slice, slice]) -> Tensor:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    modes = [(module, module.training) for module in model.modules()]
    piece: Tensor = _Recomputed.apply(part, block, modes, images, *parameters)
    return piece


class _Recomputed(torch.autograd.Function):
    """A block that is computed without a graph and recomputed with one in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, part: Part, block: tuple[slice, slice], modes: Modes, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        ctx.part, ctx.block, ctx.modes = part, block, modes
        ctx.save_for_backward(x, *parameters)
        with torch.enable_grad():
            return part(x.detach(), *block, False).detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("a map in several chunks has one derivative only; give memory_budget() more for another")
        x, *parameters = ctx.saved_tensors
        # The modes of torch's functions that the forward pass ran in have ended by now.
        with torch.enable_grad(), _in_modes(ctx.modes), SecondOrder():
            attached = x.detach().requires_grad_()
            piece = ctx.part(attached, *ctx.block, True)
            if not piece.requires_grad:
                return (None, None, None, *(None for _ in (x, *parameters)))
            gradients = torch.autograd.grad(piece, [attached, *parameters], gradient, allow_unused=True)
        return (None, None, None, *gradients)


@contextmanager
def _in_modes(modes: Modes) -> Iterator[None]:
    """Inside the block the modules have the given modes, those of the forward pass; afterwards their own again."""
    now = [(module, module.training) for module, _ in modes]
    try:
        for module, training in modes:
            module.training = training
        yield
    finally:
        for module, training in now:
            module.training = training
