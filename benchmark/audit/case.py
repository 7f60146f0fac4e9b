"""What the audit tries out: a network, an explainer and a few images, and distances between maps."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.signed import SignedDescent
from attrobust.attacks.topk import TopK
from attrobust.benchmark.evaluation.evaluate import Images, Rules, evaluate
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.threat import ThreatModel

IMAGES = 16
"""Images looked at, from the first."""
SHARE = 0.1
"""Of the images, what must show a fault of single images before a flag is raised."""
STILL = 1e-9
"""A distance between maps that is none."""


@dataclass(frozen=True, kw_only=True)
class Probe(SignedDescent):
    """The attack of the audit: plain descent of the top-k objective.

    Attacks that choose their own steps get far in a few. Those of this one are short, so more have something to add.
    """

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Share of the map's mass on the tenth of the pixels that had most of it."""
        return TopK().objective(context, x, y)


PROBE = Probe(steps=3)


class Trial:
    """A network, an explainer and a few images.

    Args:
        model: in evaluation mode, on any device; what is tried are copies.
        explainer: whose maps are scored.
        images: of which at most ``IMAGES`` are taken.
        rules: of the run.

    Attributes:
        attacked: what attacks are told, with a copy of the network.
        scored: the same with a copy as scores are computed with, in float64 where the device has it.
        x: images as ``scored`` takes them, B×C×H×W.
        y: the explained classes, int64[B].
    """

    def __init__(self, model: nn.Module, explainer: Explainer, images: Images, rules: Rules) -> None:
        self._model, self._explainer, self._rules = model, explainer, rules
        self._images = Images(x=images.x[:IMAGES], y=images.y[:IMAGES], partners=images.partners[:IMAGES])
        precise = copy.deepcopy(model)
        if next(model.parameters()).device.type != "mps":
            precise.double()
        self.attacked, self.scored = self._context(copy.deepcopy(model)), self._context(precise)
        self.x, y = self._images.x.to(self.scored.partners), self._images.y.to(self.scored.partners.device)
        self.y = self.scored.predict(self.x) if rules.label == "predicted" else y

    def _context(self, model: nn.Module) -> Context:
        return Context(
            model=model.requires_grad_(False),
            explainer=self._explainer,
            reduce=functools.partial(reduce_map, how=self._rules.reduction),
            threat=self._rules.threat,
            ids=range(len(self._images.y)),
            partners=self._images.partners.to(next(model.parameters())),
            seed=self._rules.seed,
            surrogate=None if self._explainer.differentiable else Saliency(),
        )

    @property
    def threat(self) -> ThreatModel:
        """What the attacks of the run may do."""
        return self._rules.threat

    @functools.cached_property
    def maps(self) -> Tensor:
        """Of the images, B×H×W, as precise as scores are."""
        return self.scored.maps(self.x, self.y)

    @functools.cached_property
    def apart(self) -> float:
        """How far the maps of the images are from those that other images have of the same classes."""
        return distance(self.maps, self.scored.maps(self.scored.partners, self.y))

    @property
    def movable(self) -> bool:
        """Whether an attack has anything to do: maps that are the same whatever the image cannot be moved."""
        return self.threat.eps > 0 and self.apart > STILL

    def moved(self, attack: Attack, threat: ThreatModel) -> float:
        """How far an attack moves the maps, measured as the scores of a run are."""
        rules = replace(self._rules, threat=threat)
        found = evaluate(self._model, self._explainer, attack, [Cosine()], self._images, rules, progress="audit")
        return _distance(found.values[0])


def distance(a: Tensor, b: Tensor) -> float:
    """One minus the mean cosine of maps B×H×W, over the images where it is defined; 0 where it is for none."""
    return _distance(Cosine()(a, b))


def _distance(cosines: Tensor) -> float:
    return 0.0 if bool(cosines.isnan().all()) else float(1 - cosines.nanmean())


def enough(wrong: Tensor) -> bool:
    """Whether so many of the images, bool[B], show a fault that it is told."""
    return int(wrong.sum()) >= max(1.0, SHARE * len(wrong))


def count(wrong: Tensor) -> str:
    """How many of the images, bool[B], that are."""
    return f"{int(wrong.sum())} of {len(wrong)} images"


def relative(difference: Tensor, values: Tensor) -> Tensor:
    """The largest of the differences as a share of the largest value, image by image, both B×…; 0 of nothing."""
    return largest(difference) / largest(values).clamp_min(torch.finfo(values.dtype).tiny)


def largest(values: Tensor) -> Tensor:
    """The largest magnitude of B×…, image by image."""
    return values.flatten(1).abs().amax(dim=1)
