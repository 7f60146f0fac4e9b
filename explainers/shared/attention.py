"""Attention probabilities of a transformer, in whatever spelling: what is computed is recorded call by call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.layers import FURTHER, Named
from attrobust.explainers.shared.written_out import WRITTEN_OUT
from attrobust.networks.function_mode import FunctionMode
from attrobust.networks.private_copy import private_copy

PRODUCTS = {"matmul", "bmm"}


@dataclass(frozen=True)
class Step:
    """A call of a torch function on the way from the image to the logits.

    Attributes:
        name: of the function, without underscores around it: ``add`` for ``+``.
        function, args, settings: what was called.
        sources: arguments that depend on the image, each once.
        outputs: tensors that it returned.
        versions: of the sources when it was called; torch counts what is written into a tensor.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    settings: dict[str, Any]
    sources: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: tuple[int, ...]

    def of(self, *sources: Tensor) -> Any:
        """What the call returns for other sources."""
        swapped = {id(old): new for old, new in zip(self.sources, sources, strict=True)}
        args, settings = tree_map(lambda value: swapped.get(id(value), value), (self.args, self.settings))
        return self.function(*args, **settings)


class Tape(FunctionMode):
    """While active on this thread, records the calls that depend on an image; attention functions are written out.

    Attributes:
        steps: the calls, in order.
        attention: by the index of the step that multiplies them by values, probabilities: the output of a softmax.
        unused: matrices of a softmax that were not multiplied so.
        grids: height and width of the outputs of convolutions, in order.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.attention: dict[int, Tensor] = {}
        self.unused: dict[int, Tensor] = {}
        self.grids: list[tuple[int, int]] = []
        # The steps hold the tensors, so that no other takes their place in memory.
        self._image = image
        self._live = {id(image): 0}
        """By tensor that depends on the image, after how many attentions."""
        self._made_by: dict[int, int] = {}
        """The softmax that made probabilities, perhaps followed by dropout."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Run every call and record it."""
        if func in WRITTEN_OUT:
            with self:
                return WRITTEN_OUT[func](*args, **settings)
        name = plain_name(func)
        given = [leaf for leaf in tree_leaves((args, settings)) if isinstance(leaf, Tensor)]
        sources = tuple({id(leaf): leaf for leaf in given if id(leaf) in self._live}.values())
        depth = max((self._live[id(source)] for source in sources), default=0)
        if sources and name in PRODUCTS and id(args[0]) in self._made_by:
            if depth != len(self.attention):
                raise ValueError("the network has attentions side by side, which this explainer has no formula for")
            depth += 1
            self.unused.pop(self._made_by[id(args[0])], None)
            self.attention[len(self.steps)] = args[0] if args[0].requires_grad else args[0].requires_grad_()
        versions = tuple(source._version for source in sources)
        result = func(*args, **settings)
        outputs = tuple(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        if sources and outputs:
            self.steps.append(Step(name, func, args, settings, sources, outputs, versions))
            self._live |= dict.fromkeys(map(id, outputs), depth)
            self._note(name, sources[0], outputs[0])
        return result

    def _note(self, name: str, source: Tensor, output: Tensor) -> None:
        if name == "softmax":
            self._made_by[id(output)] = id(output)
            if output.dim() >= 3 and output.shape[-1] == output.shape[-2]:
                self.unused[id(output)] = output
        elif name == "dropout" and id(source) in self._made_by:
            self._made_by[id(output)] = self._made_by[id(source)]
        elif name == "conv2d":
            self.grids.append((int(output.shape[-2]), int(output.shape[-1])))


def plain_name(function: Callable[..., Any]) -> str:
    """The name of a function, operator or attribute: ``add`` for ``Tensor.__radd__``, ``mT`` for that of ``x.mT``."""
    name = str(getattr(function, "__name__", function))
    if name == "__get__":
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    if not (name.startswith("__") and name.endswith("__")):
        return name
    name = name.strip("_")
    return name[1:] if name in ("radd", "rmul", "rmatmul") else name


@dataclass(frozen=True)
class Attended:
    """A pass of images through a transformer.

    Attributes:
        tape: of its calls.
        logits: B×K.
        layers: attention probabilities of every layer, B×H×N×N, the first one first.
        grid: ``(h, w)`` of the tokens, of which further ones stand in front.
    """

    tape: Tape
    logits: Tensor
    layers: tuple[Tensor, ...]
    grid: tuple[int, int]

    @classmethod
    def of(cls, model: nn.Module, x: Tensor) -> Attended:
        """Send images through a copy of a network.

        Raises:
            ValueError: it has no attention, or attention not of all tokens of an image to each other, or tokens that
                lie on no grid.
        """
        network, tape = private_copy(model, x), Tape(x)
        with tape:
            logits = network(x)
        layers = tuple(tape.attention.values())
        kind = type(model).__name__
        matrices = (*layers, *tape.unused.values())
        if not matrices:
            raise ValueError(f"{kind} has no attention, a softmax that is multiplied by values: explain a transformer")
        tokens = (layers or matrices)[-1].shape[-1]
        for layer in matrices:
            if layer.dim() not in (3, 4) or layer.shape[0] != len(x) or layer.shape[-2:] != (tokens, tokens):
                shape = "×".join(map(str, layer.shape))
                raise ValueError(
                    f"{kind} has attention of {shape} for {len(x)} images; this explainer needs that of the same "
                    "tokens to each other in every layer, as in ViT and DeiT"
                )
        if tape.unused:
            raise ValueError(
                f"{kind} has attention that multiplies no values by matmul: write it as scores.softmax(-1) @ v"
            )
        grids = [grid for grid in tape.grids if grid[0] * grid[1] > 1 and 0 <= tokens - grid[0] * grid[1] <= FURTHER]
        if not grids:
            raise ValueError(f"{kind} has {tokens} tokens, which lie on no grid that a convolution makes of the image")
        return cls(tape, logits, layers, grids[-1])

    def gradients(self, target: Tensor, layers: Sequence[Tensor], *, create_graph: bool) -> list[Tensor]:
        """Derivatives of the explained logits by the probabilities of layers, in their shapes."""
        total = self.logits.gather(1, target[:, None]).sum()
        return list(
            torch.autograd.grad(total, layers, create_graph=create_graph, retain_graph=True, materialize_grads=True)
        )

    def read(self, target: Tensor) -> Tensor:
        """The tokens on which the explained logits depend after the last attention, bool[B, N].

        Of an image whose logits depend on none, it is the first token, or all where none stands before the grid.
        """
        (gradient,) = self.gradients(target, self.layers[-1:], create_graph=False)
        found = (heads(gradient) != 0).any(dim=3).any(dim=1)
        usual = torch.zeros_like(found)
        usual[:, : 1 if found.shape[1] > self.grid[0] * self.grid[1] else None] = True
        return torch.where(found.any(dim=1, keepdim=True), found, usual)

    def on_image(self, rollout: Tensor, target: Tensor, x: Tensor) -> Tensor:
        """The rows of the tokens that are read, averaged, put on the grid and upsampled, B×C×H×W.

        Args:
            rollout: B×N×N, of the last layer's tokens in rows and the first layer's in columns.
            target: the class explained, int64[B].
            x: the images; each channel gets an equal share.
        """
        rows = self.read(target).to(rollout)
        row = (rows / rows.sum(dim=1, keepdim=True))[:, None] @ rollout
        coarse = Named("", "tokens", self.grid).maps(row.transpose(1, 2))
        return F.interpolate(coarse, x.shape[2:], mode="bilinear").expand_as(x) / x.shape[1]


class AttentionExplainer(Explainer):
    """An explainer that multiplies a matrix of tokens for every layer of a transformer, see ``Attended``."""

    needs_attention: ClassVar[bool] = True
    varies_within_region: ClassVar[bool] = True

    @abstractmethod
    def matrices(self, attended: Attended, target: Tensor, *, create_graph: bool) -> Sequence[Tensor]:
        """A matrix B×N×N for every layer, the first one first.

        Args:
            attended: the pass.
            target: the class explained, int64[B].
            create_graph: whether the result must be differentiable with respect to the images.
        """

    def attribute(
        self, model: nn.Module, x: Tensor, target: Tensor, *, create_graph: bool, generator: torch.Generator
    ) -> Tensor:
        """B×C×H×W."""
        attended = Attended.of(model, x)
        joint, *further = self.matrices(attended, target, create_graph=create_graph)
        for matrix in further:
            joint = matrix @ joint
        return attended.on_image(joint, target, x)


def heads(layer: Tensor) -> Tensor:
    """Probabilities or what belongs to them as B×H×N×N, with one head where there is no axis of heads."""
    return layer if layer.dim() == 4 else layer[:, None]
