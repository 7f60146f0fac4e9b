"""Feature maps of a network: which layers have them, and where channels, height and width lie in their outputs.

A tensor of four axes need not be a feature map: attention has heads × tokens × width, and some networks keep channels
last. So an output counts as a map only where it comes from a layer that makes maps, or fits the grid of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from attrobust.networks.findings import remembered
from attrobust.networks.known import is_known
from attrobust.networks.pooling import LogSumExpPool
from attrobust.networks.smoothed import PIECEWISE_LINEAR, SMOOTH, shared_copy

Layout = Literal["channels first", "channels last", "tokens", "none"]
"""Of an output: B×C×h×w, B×h×w×C, B×(k + h·w)×C with k further tokens in front, or no map of the image."""
MAKERS = (
    *(_ConvNd, _BatchNorm, nn.GroupNorm, nn.InstanceNorm2d, nn.Upsample),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.FractionalMaxPool2d),
    LogSumExpPool,
)
"""Layers whose output of four axes is B×C×h×w."""
FURTHER = 8
"""Class, distillation and register tokens that may stand before those of the grid."""


@dataclass(frozen=True)
class Named:
    """A layer and how its output lies.

    Attributes:
        name: dotted path.
        layout: of its output.
        grid: ``(h, w)`` of tokens; ``(0, 0)`` elsewhere.
    """

    name: str
    layout: Layout
    grid: tuple[int, int] = (0, 0)

    def maps(self, output: Tensor) -> Tensor:
        """An output of the layer as B×C×h×w."""
        if self.layout == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            height, width = self.grid
            return output[:, -height * width :].transpose(1, 2).reshape(len(output), -1, height, width)
        return output


def feature_map(model: nn.Module, network: nn.Module, image: Tensor, how: str, name: str = "") -> Named:
    """A layer of a copy of a network that has a feature map: one by its path, or the last, see ``Outputs``.

    Args:
        model: the network.
        network: a copy of it.
        image: 1×C×H×W. Of a known network only the shapes are asked for, by a batch of no images.
        how: names the way in which copies like ``network`` are made.
        name: of the layer; empty for the last one.

    Raises:
        ValueError: there is none, or the output of the layer is none.
    """
    images = image[:0] if is_known(model) else image

    def find() -> tuple[str, ...]:
        outputs = Outputs.of(network, images)
        found = outputs.named(name) if name else outputs.last()
        return found.name, found.layout, *map(str, found.grid)

    path, layout, height, width = remembered(model, image, f"feature map {name or 'last'} {how}", find)
    return Named(path, layout, (int(height), int(width)))  # type: ignore[arg-type]


@dataclass
class Outputs:
    """How the outputs of a network's modules lie.

    Attributes:
        calls: of each module.
        found: modules with a map or with tokens, in the order in which they ended.
        shapes: by path, the shapes of outputs that are no maps.
        norms: paths of layer normalisations of tokens, in the order in which they ended.
    """

    calls: Counter[str] = field(default_factory=Counter)
    found: list[Named] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)
    norms: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, network: nn.Module, images: Tensor) -> Outputs:
        """Send images through a copy of a network and look at the outputs of its modules."""
        copied, outputs = shared_copy(network), cls()
        watch = _Watch(outputs, images)
        for name, module in copied.named_modules():
            if name:
                watch.attach(module, name)
        with torch.no_grad():
            # ``forward`` and not a call, so that this pass is not counted by the network's hooks.
            copied.forward(images)
        return outputs

    def once(self) -> Iterator[Named]:
        """Maps of modules that are called once."""
        return (item for item in self.found if self.calls[item.name] == 1)

    def last(self) -> Named:
        """The last module, among those called once, whose output is a map of more than one pixel.

        Raises:
            ValueError: there is none, or what follows it are tokens, which one has to be named of.
        """
        maps = [item for item in self.once() if item.layout != "tokens"]
        tokens = [item for item in self.once() if item.layout == "tokens"]
        order = list(self.once())
        if tokens and (not maps or order.index(maps[-1]) < order.index(tokens[0])):
            # A block has two normalisations, and one follows the last block. After attention in the last block only the
            # token of the class counts, and all others have a gradient of zero.
            example = self.norms[-3] if len(self.norms) > 2 else tokens[0].name
            raise ValueError(
                f"the network computes with tokens, and no layer of it is the usual one; name one, e.g. layer={example}"
            )
        if not maps:
            raise ValueError("no module of the network has an output with height and width; name one, layer=PATH")
        return maps[-1]

    def named(self, name: str) -> Named:
        """A module by its path.

        Raises:
            ValueError: its output is no feature map.
        """
        for item in reversed(self.found):
            if item.name == name:
                return item
        shape = self.shapes.get(name)
        what = "is never called" if shape is None else f"has an output of {shape}, which is no map of the image"
        raise ValueError(f"layer {name!r} {what}; name one with height and width, or with tokens on a grid")


class _Watch:
    """Decides of every output what it is, from the layers that made it."""

    def __init__(self, outputs: Outputs, images: Tensor) -> None:
        self._outputs, self._images = outputs, images
        self._size = (int(images.shape[2]), int(images.shape[3]))
        self._maps: list[Tensor] = []
        """Outputs that are maps; kept, so that no other tensor takes the place of one in memory."""
        self._inside: list[set[tuple[int, ...]]] = []
        """For each module that is running, shapes of the maps that layers in it have made."""
        self._shapes: set[tuple[int, ...]] = set()
        self._grids: set[tuple[int, int]] = set()

    def attach(self, module: nn.Module, name: str) -> None:
        """Watch a module."""

        def enter(_module: nn.Module, _inputs: object) -> None:
            self._outputs.calls[name] += 1
            self._inside.append(set())

        def leave(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            inside = self._inside.pop()
            if isinstance(output, Tensor):
                self._note(name, module, inputs, output, inside)
            if self._inside:
                self._inside[-1] |= inside

        module.register_forward_pre_hook(enter, prepend=True)
        module.register_forward_hook(leave)

    def _note(
        self, name: str, module: nn.Module, inputs: tuple[object, ...], output: Tensor, inside: set[tuple[int, ...]]
    ) -> None:
        if self._is_map(module, inputs, output, inside):
            shape = tuple(output.shape)
            self._maps.append(output)
            inside.add(shape)
            self._shapes.add(shape)
            self._grids.add((shape[2], shape[3]))
            if shape[2] * shape[3] > 1:
                self._outputs.found.append(Named(name, "channels first"))
            return
        named = self._on_grid(name, output)
        if named is None:
            self._outputs.shapes[name] = "×".join(map(str, output.shape[1:])) or "a number"
        else:
            self._outputs.found.append(named)
            if named.layout == "tokens" and isinstance(module, nn.LayerNorm):
                self._outputs.norms.append(name)

    def _is_map(
        self, module: nn.Module, inputs: tuple[object, ...], output: Tensor, inside: set[tuple[int, ...]]
    ) -> bool:
        if output.dim() != 4 or len(output) != len(self._images) or not self._is_in_proportion(*output.shape[2:]):
            return False
        if isinstance(module, MAKERS) or tuple(output.shape) in inside:
            return True
        # What enters an activation may be a sum of two maps, which no module has made.
        made = self._shapes if isinstance(module, (*PIECEWISE_LINEAR, *SMOOTH)) else ()
        # As many channels as rows and columns do not tell which axis is which; what enters does.
        cube = len(set(output.shape[1:])) == 1
        known = [x for x in inputs if isinstance(x, Tensor) and self._is_known(x)]
        return any(cube or x.shape == output.shape for x in known) or tuple(output.shape) in made

    def _is_known(self, x: Tensor) -> bool:
        return any(x is known for known in self._maps)

    def _is_in_proportion(self, height: int, width: int) -> bool:
        """Whether a grid has the image's proportions, to one pixel of rounding."""
        tall, wide = self._size
        return abs(height * wide - width * tall) <= max(tall, wide)

    def _on_grid(self, name: str, output: Tensor) -> Named | None:
        """Channels last, or tokens, on the grid of a map or one that is halved a few times."""
        if len(output) != len(self._images) or not self._grids:
            return None
        if output.dim() == 4:
            grid = (int(output.shape[1]), int(output.shape[2]))
            fits = grid[0] * grid[1] > 1 and any(_halves(grid, other) for other in self._grids)
            return Named(name, "channels last", grid) if fits else None
        if output.dim() == 3:
            for height, width in sorted(self._grids, key=lambda grid: -grid[0] * grid[1]):
                if height * width > 1 and 0 <= output.shape[1] - height * width <= FURTHER:
                    return Named(name, "tokens", (height, width))
        return None


def _halves(grid: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a grid is another one, or that halved, quartered and so on, rounded up."""
    return any(all(-(-size // 2**k) == mine for mine, size in zip(grid, other, strict=True)) for k in range(6))
