"""The subject of an audit: a network, an explainer and a few images, with distances between maps."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.signed import SignedDescent
from attrobust.attacks.topk import TopK
from attrobust.benchmark.evaluation.evaluate import evaluate, scored_copy
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.explainers.base import Explainer
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.metrics.similarity.cosine import Cosine
from attrobust.networks.copying import independent_copy
from attrobust.threat import ThreatModel

IMAGES = 16
"""Number of images that are audited, the first ones."""
SHARE = 0.1
"""Share of the images that must show a fault before its flag is raised."""
STILL = 1e-9
"""Distance between maps below which they count as equal."""


@dataclass(frozen=True, kw_only=True)
class Probe(SignedDescent):
    """The attack of the audit: plain descent of the top-k objective with a few short steps.

    Attacks with adaptive steps come close to their final result in a few steps; with this one, more steps must help.
    """

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """Share of the map's mass on the clean map's top 10 %."""
        return TopK().objective(context, x, y)


PROBE = Probe(steps=3)


class AuditCase:
    """A network, an explainer and a few images to audit.

    Args:
        model: in evaluation mode, on any device; the audit works on copies.
        explainer: whose maps are scored.
        images: of which at most ``IMAGES`` are used.
        rules: of the run.

    Attributes:
        attacked: context of attacks, with a copy of the network.
        scored: the same with a copy in the precision of scores, float64 where the device has it.
        x: images in the precision of ``scored``, B×C×H×W.
        y: the explained classes, int64[B].
    """

    def __init__(self, model: nn.Module, explainer: Explainer, images: Images, rules: Rules) -> None:
        self._model, self._explainer, self._rules = model, explainer, rules
        self._images = Images(x=images.x[:IMAGES], y=images.y[:IMAGES], partners=images.partners[:IMAGES])
        self.attacked, self.scored = self._context(independent_copy(model)), self._context(scored_copy(model))
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
    def explainer(self) -> Explainer:
        """Whose maps are audited."""
        return self._explainer

    @property
    def threat(self) -> ThreatModel:
        """The threat model of the run."""
        return self._rules.threat

    @functools.cached_property
    def maps(self) -> Tensor:
        """Maps of the images, B×H×W, in the precision of scores."""
        return self.scored.maps(self.x, self.y)

    @functools.cached_property
    def apart(self) -> float:
        """Distance between the maps of the images and those of their partners for the same classes."""
        return distance(self.maps, self.scored.maps(self.scored.partners, self.y))

    @property
    def movable(self) -> bool:
        """Whether an attack can change the maps: eps is above 0 and maps differ between images."""
        return self.threat.eps > 0 and self.apart > STILL

    def moved(self, attack: Attack, threat: ThreatModel) -> float:
        """Distance between clean and attacked maps, computed as the scores of a run are."""
        rules = replace(self._rules, threat=threat)
        scores = evaluate(self._model, self._explainer, attack, [Cosine()], self._images, rules, progress="audit")
        if scores.failures:
            raise RuntimeError(scores.failures[0].error)
        return _distance(scores.values[0])


def distance(a: Tensor, b: Tensor) -> float:
    """One minus the mean cosine of maps B×H×W over the images for which it is defined; 0 where there are none."""
    return _distance(Cosine()(a, b))


def _distance(cosines: Tensor) -> float:
    return 0.0 if bool(cosines.isnan().all()) else float(1 - cosines.nanmean())


def enough(wrong: Tensor) -> bool:
    """Whether at least ``SHARE`` of the images, and at least one, show a fault, bool[B]."""
    return int(wrong.sum()) >= max(1.0, SHARE * len(wrong))


def count(wrong: Tensor) -> str:
    """The number of True among bool[B] in words, e.g. ``3 of 16 images``."""
    return f"{int(wrong.sum())} of {len(wrong)} images"


def relative(difference: Tensor, values: Tensor) -> Tensor:
    """The largest difference as a share of the largest value, image by image, both B×…; 0 where both are 0."""
    return largest(difference) / largest(values).clamp_min(torch.finfo(values.dtype).tiny)


def largest(values: Tensor) -> Tensor:
    """The largest magnitude of B×…, image by image."""
    return values.flatten(1).abs().amax(dim=1)
