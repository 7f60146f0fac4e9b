"""The walk of APGD point by point: the paper's algorithm written out plainly, held to numbers of the official code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attrobust.attacks.apgd import Apgd
from attrobust.attacks.base import Context
from attrobust.attacks.engine.adaptive import AdaptiveDescent, Control
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.engine.walk import Point
from attrobust.explainers.saliency import Saliency
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]
Array = NDArray[np.float64]
Norm = Literal["linf", "l2"]
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.2}
STEPS = 100

CLEAN = np.array([[1.0, 0.62, 0.69, 0.34, 1.0, 0.72], [0.34, 0.26, 0.48, 0.03, 0.87, 0.22]])
CENTRE = np.array([[1.0, 0.73, 0.69, 0.44, 0.97, 0.84], [0.2, 0.3, 0.49, 0.14, 0.77, 0.08]])
CURVATURE = np.array([[81.7, 29.1, 43.5, 1.9, 32.6, 1.1], [3.0, 83.7, 11.5, 1.5, 20.2, 1.1]])
COUPLING = 2.0

OFFICIAL: dict[Norm, dict[int, list[float]]] = {
    "linf": {
        0: [0.9, 0.574225472247, 0.74857903955, 0.270225651603, 1.0, 0.74323514299],
        1: [1.0, 0.72, 0.59, 0.44, 0.9, 0.82],
        2: [1.0, 0.72, 0.700355240113, 0.44, 0.95, 0.82],
        23: [1.0, 0.72, 0.638658337729, 0.44, 0.975, 0.82],
        42: [1.0, 0.72, 0.660592703601, 0.430625, 0.991666650772, 0.811666412354],
        58: [1.0, 0.72, 0.696300424192, 0.44, 0.97444009902, 0.82],
        100: [1.0, 0.72, 0.69059247209, 0.439290108209, 0.97087905216, 0.82],
    },
    "l2": {
        0: [0.977820321101, 0.634940388943, 0.758151948435, 0.287631820741, 0.838454595145, 0.643836921557],
        1: [1.0, 0.753596098229, 0.616567300458, 0.318101207091, 1.0, 0.681662129171],
        2: [1.0, 0.711584352889, 0.778133461169, 0.34677156038, 1.0, 0.709991719201],
        23: [1.0, 0.73606094608, 0.643099266115, 0.367384994408, 0.971356531364, 0.738643583642],
        42: [1.0, 0.728266989924, 0.665238165195, 0.414250283937, 0.972305112729, 0.788242101492],
        58: [1.0, 0.730896571186, 0.703910936869, 0.411158125338, 0.972830983889, 0.781003146533],
        100: [1.0, 0.730018065614, 0.690274048504, 0.439669487603, 0.970145464926, 0.835772336382],
    },
}
"""Where the official code (fra31/auto-attack, ``attack_single_run``) is after so many steps on ``CoupledBowl``."""


class CoupledBowl(nn.Module):
    """Logits (0, q, -1), q the negative of a bowl around each image's centre, so that class 0 is always predicted."""

    def forward(self, x: Tensor) -> Tensor:
        """B×1×1×6 to B×3."""
        d = x.flatten(1) - torch.from_numpy(CENTRE)
        q = -(torch.from_numpy(CURVATURE) * d**2).sum(dim=1) - COUPLING * (d * d.roll(1, 1)).sum(dim=1)
        return torch.stack([torch.zeros_like(q), q, torch.full_like(q, -1.0)], dim=1)


def cross_entropy(image: int, x: Array) -> tuple[float, Array]:
    """Of class 0 of ``CoupledBowl`` and its gradient, by hand."""
    d = x - CENTRE[image]
    exp_q = math.exp(-(CURVATURE[image] * d**2).sum() - COUPLING * (d * np.roll(d, 1)).sum())
    total = 1 + exp_q + math.exp(-1)
    slope_of_q = -2 * CURVATURE[image] * d - COUPLING * (np.roll(d, 1) + np.roll(d, -1))
    return math.log(total), exp_q / total * slope_of_q


def checkpoints(steps: int) -> list[int]:
    """``w_j = ceil(p_j N)`` of section 3.2 of the paper."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [math.ceil(round(share * steps, 6)) for share in shares[1:] if share < 1]


@dataclass
class Algorithm1:
    """Algorithm 1 of arXiv 2003.01690, of one image, as large a loss as possible.

    Attributes:
        loss: and its gradient.
        clean, start: points.
        norm: of the ball, of radius ``EPS[norm]``.
        whole_first_step: whether the first step is taken without the factor of momentum, as in the paper.
        jump_is_a_move: whether going back to the best point counts as the last move, as in the paper.
        gaps: by how much each comparison was decided.
    """

    loss: Callable[[Array], tuple[float, Array]]
    clean: Array
    start: Array
    norm: Norm
    whole_first_step: bool = True
    jump_is_a_move: bool = True
    gaps: list[float] = field(default_factory=list)

    def nearest(self, x: Array) -> Array:
        """The projection onto ball and box."""
        delta, eps = x - self.clean, EPS[self.norm]
        inside = (
            np.clip(delta, -eps, eps) if self.norm == "linf" else delta * min(1.0, eps / float(np.linalg.norm(delta)))
        )
        return np.clip(self.clean + inside, 0, 1)

    def points(self) -> Array:
        """The start and the point after every step."""
        step, ends = 2 * EPS[self.norm], checkpoints(STEPS)
        before = here = best = self.start
        best_then, halved, rises, since = self.loss(best)[0], False, 0, 0
        visited = [here]
        for k in range(1, STEPS + 1):
            value, slope = self.loss(here)
            unit = np.sign(slope) if self.norm == "linf" else slope / np.linalg.norm(slope)
            target = self.nearest(here + step * unit)
            share = 1.0 if k == 1 and self.whole_first_step else 0.75
            reached = self.nearest(here + share * (target - here) + (1 - share) * (here - before))
            before, here = here, reached
            visited.append(here)
            found = self.loss(here)[0]
            self.gaps += [abs(found - value), float(np.abs(slope).min())]
            rises, since = rises + (found > value), since + 1
            if found > self.loss(best)[0]:
                best = here
            if k in ends:
                best_now = self.loss(best)[0]
                halved = rises < 0.75 * since or (not halved and best_now == best_then)
                rises, since, best_then = 0, 0, best_now
                if halved:
                    step, here = step / 2, best
                    before = before if self.jump_is_a_move else best
        return np.array(visited)


def ours(loss: Callable[[int, Array], tuple[float, Array]], walked: Array, norm: Norm) -> Array:
    """The walks of all images from where ``walked`` (steps × B × 6) starts, with the two differences of our descent.

    These are said in ``AdaptiveDescent``: the first step has the factor of momentum too, and the jump back to the best
    point is no move to go on with.
    """
    paths = []
    for image in range(len(CLEAN)):
        walk = Algorithm1(
            loss=lambda x, image=image: loss(image, x),  # type: ignore[misc]
            clean=CLEAN[image],
            start=walked[0, image],
            norm=norm,
            whole_first_step=False,
            jump_is_a_move=False,
        )
        paths.append(walk.points())
        assert min(walk.gaps) > 1e-9, "no comparison is a matter of rounding"
    return np.stack(paths, axis=1)


def watched(network: nn.Module) -> list[Array]:
    """What the network is asked from now on, B×6 each."""
    seen: list[Array] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(1).numpy().copy()))
    return seen


def images() -> Tensor:
    return torch.from_numpy(CLEAN).view(-1, 1, 1, 6)


def free(norm: Norm) -> ThreatModel:
    return ThreatModel(norm=norm, eps=EPS[norm], keep_prediction=False)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_papers_algorithm_written_out_here_goes_where_the_official_code_goes(norm: Norm) -> None:
    official = {k: np.array(point) for k, point in OFFICIAL[norm].items()}
    walk = Algorithm1(lambda x: cross_entropy(0, x), CLEAN[0], official[0], norm)
    points = walk.points()
    assert min(walk.gaps) > 1e-9
    for k, point in official.items():
        assert np.abs(points[k] - point).max() < 1e-9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_attack_on_predictions_takes_the_steps_of_the_algorithm(norm: Norm, make_context: ContextMaker) -> None:
    network, x = CoupledBowl().eval(), images()
    context = make_context(network, Saliency(), x, threat=free(norm), source_model=None)
    seen = watched(network)
    Apgd(steps=STEPS, loss="ce").run(context, x, torch.zeros(len(x), dtype=torch.int64))
    walked = np.stack(seen[1:])  # After the clean images.
    assert len(walked) == 1 + STEPS
    assert np.abs(walked - ours(cross_entropy, walked, norm)).max() < 1e-9


INNER = CENTRE - 0.013
"""Off the pixel box, so that no slope is zero there."""


class CubicBowl(nn.Module):
    """A first logit ``Σ a (x - c)³ / 3``, whose saliency map is ``a (x - c)²``."""

    def forward(self, x: Tensor) -> Tensor:
        """B×1×1×6 to B×2."""
        cubes = (torch.from_numpy(CURVATURE) * (x.flatten(1) - torch.from_numpy(INNER)) ** 3).sum(dim=1) / 3
        return torch.stack([cubes, torch.zeros_like(cubes)], dim=1)


@dataclass(frozen=True, kw_only=True)
class LeastMass(AdaptiveDescent):
    """Least sum of the map."""

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        return lambda maps: maps.sum(dim=(1, 2))


def minus_mass(image: int, x: Array) -> tuple[float, Array]:
    """Minus the sum of the saliency map of ``CubicBowl``, and its gradient, by hand."""
    d = x - INNER[image]
    return -float((CURVATURE[image] * d**2).sum()), -2 * CURVATURE[image] * d


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_attack_on_maps_takes_the_steps_of_the_algorithm(norm: Norm, make_context: ContextMaker) -> None:
    network, x = CubicBowl().eval(), images()
    visited: list[Array] = []

    def note(_context: Context, points: Tensor, _maps: Tensor, _feasible: Tensor) -> None:
        visited.append(points.flatten(1).numpy().copy())

    context = make_context(network, Saliency(), x, threat=free(norm), source_model=None, observer=note)
    LeastMass(steps=STEPS, differentiate="own").run(context, x, torch.zeros(len(x), dtype=torch.int64))
    walked = np.stack(visited)
    assert len(walked) == 1 + STEPS
    assert np.abs(walked - ours(minus_mass, walked, norm)).max() < 1e-9


def test_a_best_score_that_stays_halves_a_step_that_was_not_halved_before() -> None:
    """The second of the paper's two conditions alone: four of five steps improve, none beats the best."""

    def point(score: float) -> Point:
        image = torch.full((1, 1, 1, 1), score)
        return Point(x=image, gradient=torch.ones_like(image), score=torch.tensor([score]))

    control = Control.begin(point(10.0), 2.0)
    for periods, step in itertools.pairwise([2.0, 1.0, 1.0, 0.5]):
        assert control.step.tolist() == [periods]
        for score in (20.0, 19.0, 18.0, 17.0, 16.0):
            control.move(point(score))
        control.check()
        assert control.step.tolist() == [step]
    assert control.point.score.tolist() == [10.0], "halved, so back at the best"
