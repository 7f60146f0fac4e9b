"""The contract of an attack: an author writes ``run``; the base class enforces the threat model on its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor, nn

from attrobust.images import check_like, check_pixels, pixels_trusted
from attrobust.maps.seeds import ImageStreams, derive_seed
from attrobust.networks.copying import independent_copy, without_inference
from attrobust.networks.findings import steady
from attrobust.networks.forward_only import ForwardOnly
from attrobust.networks.passes import Passes, counted
from attrobust.networks.state import untouched
from attrobust.places import ours
from attrobust.process import normal, seeded, standard
from attrobust.storage import check_floats
from attrobust.threat import ThreatModel
from attrobust.types import Named


class Explain(Protocol):
    """The interface of an explainer that attacks use; see ``explainers.base.Explainer``."""

    stochastic: ClassVar[bool]
    varies_within_region: ClassVar[bool]
    ignores_image: ClassVar[bool]

    @property
    def differentiable(self) -> bool:
        """Whether the map can be differentiated with respect to the image."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        target: Tensor,
        *,
        create_graph: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """B×C×H×W signed attributions."""


class Observer(Protocol):
    """A callback that receives the iterates of attacks."""

    def __call__(self, context: Context, x: Tensor, maps: Tensor, feasible: Tensor) -> None:
        """Take images B×C×H×W of the context's ids, their scored maps B×H×W, and which are feasible, bool[B]."""


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What is known of the clean images of a context, so that an attack computes it once.

    Attributes:
        x: the images, B×C×H×W.
        y: explained classes, int64[B].
        maps: of these, B×H×W.
        logits: B×K.
        of: the network, the explainer, the reduction and the seed that they are of.
        versions: torch's counts of changes in place: of the images, the classes, and the network's weights and buffers.
    """

    x: Tensor
    y: Tensor
    maps: Tensor
    logits: Tensor
    of: tuple[object, ...]
    versions: tuple[int, ...]

    def take(self, rows: list[int]) -> Clean:
        """What is known of some of the images."""
        x, y = self.x[rows], self.y[rows]
        versions = (x._version, y._version, *self.versions[2:])
        return replace(self, x=x, y=y, maps=self.maps[rows], logits=self.logits[rows], versions=versions)


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything an attack is given besides images and classes.

    Attributes:
        model: the network whose maps are scored, in evaluation mode, parameters frozen.
        explainer: the explainer whose maps are scored.
        reduce: B×C×H×W attributions to B×H×W maps, as the protocol scores them.
        threat: what the attacker may do.
        ids: position of every image in the fixed evaluation list; random numbers belong to positions, not to batches.
        partners: for every image another one of the list, of another class, B×C×H×W; targets are made of them.
        seed: of the evaluation.
        surrogate: where the scored explainer has no derivative, the explainer that is differentiated instead.
        source_model: the source model of a transfer attack, a network for the same images and classes; set for attacks
            that name one by ``Attack.source_model``.
        observer: called with the iterates whose scored maps an attack has computed; an ensemble collects its members'
            iterates so.
        clean: what is known of the clean images; see ``remembering``.
    """

    model: nn.Module
    explainer: Explain
    reduce: Callable[[Tensor], Tensor]
    threat: ThreatModel
    ids: Sequence[int]
    partners: Tensor
    seed: int = 0
    surrogate: Explain | None = None
    source_model: nn.Module | None = None
    observer: Observer | None = None
    clean: Clean | None = None

    @property
    def followed(self) -> Context:
        """The context with the explainer that is differentiated: the surrogate if there is one, else this context."""
        return self if self.surrogate is None else replace(self, explainer=self.surrogate, surrogate=None)

    def take(self, rows: Sequence[int]) -> Context:
        """The context for some of the images, in the order of ``rows``; an image may be taken several times."""
        chosen = list(rows)
        clean = None if self.clean is None else self.clean.take(chosen)
        return replace(self, ids=[self.ids[row] for row in chosen], partners=self.partners[chosen], clean=clean)

    def remembering(self, x: Tensor, y: Tensor) -> Context:
        """The context with maps and logits of its clean images, which ``maps`` and ``maps_and_logits`` then return.

        They are returned for these very tensors only, and no longer where network, explainer or reduction are replaced,
        or where the images, the classes or the network's weights were changed in place.
        """
        if self._known(x, y) is not None:
            return self
        maps, logits = self.maps_and_logits(x, y)
        known = Clean(x=x, y=y, maps=maps, logits=logits, of=self._of, versions=self._versions(x, y))
        return replace(self, clean=known)

    @property
    def images(self) -> tuple[Tensor, Tensor]:
        """The clean images and the explained classes of a context that remembers them."""
        if self.clean is None:
            raise ValueError("the context knows no clean images; see Context.remembering")
        return self.clean.x, self.clean.y

    @property
    def _of(self) -> tuple[object, ...]:
        return self.model, self.explainer, self.reduce, self.seed

    def _known(self, x: Tensor, y: Tensor) -> Clean | None:
        """What is known of the maps and logits of ``x``; None where it is not the clean images themselves."""
        known = self.clean
        if known is None or known.x is not x or known.y is not y:
            return None
        same = all(a is b for a, b in zip(known.of, self._of, strict=True))
        return known if same and known.versions == self._versions(x, y) else None

    def _versions(self, x: Tensor, y: Tensor) -> tuple[int, ...]:
        tensors = (x, y, *self.model.parameters(), *self.model.buffers())
        return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)

    def maps(
        self, x: Tensor, y: Tensor, *, model: nn.Module | None = None, create_graph: bool = False, draw: int = 0
    ) -> Tensor:
        """B×H×W maps of class ``y`` as the attacker computes them, of the scored network or of ``model``.

        The random numbers of a stochastic explainer depend on the seed and on ``draw``, and are never those that the
        result is scored with.
        """
        known = None if model is not None or create_graph or draw else self._known(x, y)
        if known is not None:
            return known.maps.clone()
        generator = torch.Generator().manual_seed(derive_seed("attacker's explanation", self.seed, draw))
        network = self.model if model is None else model
        return self.reduce(self.explainer(network, x, y, create_graph=create_graph, generator=generator))

    def maps_and_logits(
        self, x: Tensor, y: Tensor, *, model: nn.Module | None = None, create_graph: bool = False, draw: int = 0
    ) -> tuple[Tensor, Tensor]:
        """As ``maps``, with the logits B×K of the same images; from the explainer's own pass where it has one at ``x``.

        With ``create_graph`` both can be differentiated with respect to ``x``.
        """
        known = None if model is not None or create_graph or draw else self._known(x, y)
        if known is not None:
            return known.maps.clone(), known.logits.clone()
        network, seen, same = self.model if model is None else model, list[Tensor](), [False]

        def enter(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # With a graph it must be x itself: an equal tensor may be the leaf of another graph.
            images = inputs[0]
            same[0] = images is x if create_graph else _same_pixels(images, x)

        def leave(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if same[0] and not seen:
                seen.append(output)

        handles = [network.register_forward_pre_hook(enter, prepend=True), network.register_forward_hook(leave)]
        try:
            maps = self.maps(x, y, model=network, create_graph=create_graph, draw=draw)
        finally:
            for handle in handles:
                handle.remove()
        if not seen or (create_graph and not seen[0].requires_grad):
            with torch.set_grad_enabled(create_graph):
                seen = [network(x)]
        return maps, seen[0] if create_graph else seen[0].detach()

    def predict(self, x: Tensor) -> Tensor:
        """The class predicted by the scored network, int64[B]."""
        with torch.no_grad():
            classes: Tensor = self.model(x).argmax(dim=1)
        return classes

    def streams(self, purpose: str) -> ImageStreams:
        """The random streams of this batch's images for one purpose, e.g. ``"start"``."""
        return ImageStreams(self.seed, self.ids, purpose)


@dataclass(frozen=True, kw_only=True)
class AttackOutput:
    """The results of an attack after the threat model was enforced.

    Attributes:
        x: images, B×C×H×W, each finite, inside the ball and the pixel box, and with its prediction kept where the
            threat model requires that.
        feasible: feasible, bool[B]: whether the attack's result, projected onto ball and box, was finite and kept its
            prediction where required; where not, ``x`` is the clean image.
        passes: images sent through the network.
        others: further results, N×B×C×H×W, checked alike; every metric is scored on whichever result is worst for the
            model, image by image.
        members: names of an ensemble's attacks.
        sources: int64[1 + N, B], index of the member that ``x`` and each of ``others`` come from, -1 where no member
            improved on the clean image; all 0 for a single attack.
    """

    x: Tensor
    feasible: Tensor
    passes: Passes
    others: Tensor
    members: tuple[str, ...]
    sources: Tensor


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results of an attack before the threat model is enforced.

    Attributes:
        images: one tensor B×C×H×W for each result, the first that of the attack itself.
        members: names of an ensemble's attacks.
        sources: int64[len(images), B], index of the member each image comes from, -1 where no member improved on the
            clean image; None where all are of the first.
    """

    images: Sequence[Tensor]
    members: tuple[str, ...]
    sources: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Changes an image's explanation within a threat model. Subclasses are frozen dataclasses of their settings.

    Attributes:
        on_prediction: whether the attack is on the prediction and not on its explanation.
    """

    on_prediction: ClassVar[bool] = False

    @property
    def batch_dependent(self) -> bool:
        """Whether an image's result depends on the images it is attacked together with, beyond rounding."""
        return False

    @property
    def most_results(self) -> int:
        """How many results ``results`` returns at most for each image: what disk space is estimated from."""
        return 1

    def aimed_at(self, metrics: Sequence[Named]) -> Attack:  # noqa: ARG002
        """The attack for a run that measures these metrics: itself, unless its settings depend on them.

        Args:
            metrics: name and settings of each.
        """
        return self

    def check_size(self, height: int, width: int) -> None:  # noqa: B027
        """Raise ValueError where the settings are invalid for maps of this size; called before anything is run."""

    def check_threat(self, threat: ThreatModel) -> None:  # noqa: B027
        """Raise ValueError where the attack cannot work under this threat model; called before anything is run."""

    @property
    def follows_gradient(self) -> bool:
        """Whether it differentiates the scored network's own maps."""
        return False

    @property
    def source_model(self) -> str:
        """Training method of the source model, ``Context.source_model``; empty where the attack needs none."""
        return ""

    @abstractmethod
    def run(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The attack itself, which an author writes: images whose explanation differs, B×C×H×W.

        Args:
            context: the network, the explainer and the threat model.
            x: clean images, B×C×H×W in [0, 1].
            y: the explained class of each, int64[B].
        """

    def results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        """The result of ``run``; an ensemble overrides this and returns several, for different scores."""
        return Results(images=[self.run(context, x, y)], members=(type(self).__name__,), sources=None)

    @final
    def __call__(self, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        """Run the attack and enforce the threat model on its results, image by image.

        Each result is projected onto the ball and the pixel box and checked; an image that is not finite or, with
        ``keep_prediction``, predicted differently is replaced by the clean one and reported as not feasible. The
        model, see ``untouched``, the settings of the process and random states are restored. What the caller's are
        changes no result: gradients may be off, and images and networks may be from ``torch.inference_mode()``.

        Raises:
            ValueError: the images or their partners are not floats B×C×H×W, finite and in [0, 1]; or the attack cannot
                work under this threat model, see ``check_threat``.
            TypeError, ValueError: ``run`` did not return a tensor shaped like the images.
        """
        check_pixels(x, "images")
        check_pixels(context.partners, "partners")
        check_like(x, context.model, "images")
        self.check_threat(context.threat)
        with seeded(derive_seed("attack", context.seed)):
            return self._enforced(_ordinary(context), normal(x.detach()), normal(y))

    def _enforced(self, context: Context, x: Tensor, y: Tensor) -> AttackOutput:
        networks = [context.model] if context.source_model is None else [context.model, context.source_model]
        with ExitStack() as stack:
            for network in networks:
                stack.enter_context(untouched(network))
            passes = stack.enter_context(counted(*networks))
            predicted = context.predict(x)
            # Restored at once, so that the check is made on the network as it was before the attack.
            with untouched(context.model):
                results = self._results(context, x, y)
            checked = [self._checked(context, x, predicted, images) for images in results.images]
        sources = results.sources
        if sources is None:
            sources = torch.zeros(len(checked), len(x), dtype=torch.int64)
        images = torch.stack([images for images, _ in checked])
        return AttackOutput(
            x=images[0],
            feasible=checked[0][1],
            passes=passes,
            others=images[1:],
            members=results.members,
            sources=sources,
        )

    def _results(self, context: Context, x: Tensor, y: Tensor) -> Results:
        """The results of the attack, or the clean images where the map does not depend on the image."""
        if context.explainer.ignores_image and not self.on_prediction:
            return Results(images=[x.clone()], members=(type(self).__name__,), sources=None)
        known = ours(type(self))
        own = context if known else _own(context)
        with standard(), pixels_trusted(known), steady(known), ForwardOnly():
            return self.results(own, x.clone(), y.clone())

    def _checked(self, context: Context, x: Tensor, predicted: Tensor, result: Tensor) -> tuple[Tensor, Tensor]:
        """One result with infeasible images replaced by the clean ones, B×C×H×W, and which were feasible, bool[B]."""
        if not isinstance(result, Tensor):
            raise TypeError(f"{type(self).__name__}.run returned {type(result).__name__}, not a tensor of images")
        result = result.detach()
        if result.shape != x.shape:
            raise ValueError(f"{type(self).__name__}.run returned {tuple(result.shape)} for {tuple(x.shape)}")
        check_floats(result, f"what {type(self).__name__}.run returns")
        finite = result.flatten(1).isfinite().all(dim=1)
        candidate = context.threat.project(x, torch.where(finite.view(-1, 1, 1, 1), result, x))
        feasible = finite & context.threat.contains(x, candidate)
        if context.threat.keep_prediction:
            feasible &= context.predict(candidate) == predicted
        return torch.where(feasible.view(-1, 1, 1, 1), candidate, x), feasible


def _same_pixels(a: Tensor, b: Tensor) -> bool:
    """Whether two batches of images are equal; those in the same memory are, without waiting for a GPU to compare."""
    if a.shape != b.shape:
        return False
    in_place = (a.data_ptr(), a.stride(), a.dtype, a.device) == (b.data_ptr(), b.stride(), b.dtype, b.device)
    return in_place or torch.equal(a, b)


def _ordinary(context: Context) -> Context:
    """The context with copies of those of its networks and images that were made in ``torch.inference_mode()``."""
    source_model = None if context.source_model is None else without_inference(context.source_model)
    model, partners = without_inference(context.model), normal(context.partners)
    return replace(context, model=model, partners=partners, source_model=source_model)


def _own(context: Context) -> Context:
    """The context with copies of all that an attack could change; passes of its networks count all the same."""
    return replace(
        context,
        model=independent_copy(context.model),
        explainer=independent_copy(context.explainer),
        threat=replace(context.threat),
        ids=[*context.ids],
        partners=context.partners.clone(),
        surrogate=independent_copy(context.surrogate),
        source_model=independent_copy(context.source_model),
    )
