"""Metrics on the images, maps and draws that Quantus was given in ``tests/reference/quantus_maps.py``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrobust.maps.segments import counts, find
from attrobust.metrics.base import Quality
from attrobust.metrics.complexity.effective_complexity import EffectiveComplexity
from attrobust.metrics.complexity.entropy import Entropy
from attrobust.metrics.faithfulness.irof import Irof, removal_steps
from attrobust.metrics.faithfulness.road import RoadMorf
from attrobust.metrics.faithfulness.sensitivity_n import SensitivityN
from attrobust.metrics.randomisation.efficient_mprt import EfficientMprt
from attrobust.metrics.randomisation.mprt import Mprt
from attrobust.metrics.randomisation.random_logit import RandomLogit
from attrobust.metrics.sensitivity.local_lipschitz import LocalLipschitz
from attrobust.metrics.sensitivity.relative_stability import (
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
)
from attrobust.networks.smoothed import input_mean
from attrobust.types import Amount

from helpers.quantus_inputs import DRAWS, LEVELS, RADIUS, SETS, SHARE, quantus_case

VALUES: dict[str, list[float]] = json.loads(
    (Path(__file__).parents[1] / "reference" / "quantus_maps.json").read_text()
)["values"]
# Quantus has no floor but where a value is exactly zero.
MOVED = {"radius": RADIUS, "samples": DRAWS, "floor": 1e-30}
METRICS: dict[str, Quality] = {
    "entropy": Entropy(),
    "effective-complexity": EffectiveComplexity(threshold=0.1),
    "local-lipschitz none": LocalLipschitz(radius=RADIUS, samples=DRAWS, normalize="none"),
    "local-lipschitz largest": LocalLipschitz(radius=RADIUS, samples=DRAWS, normalize="largest"),
    "relative-input-stability": RelativeInputStability(**MOVED),  # type: ignore[arg-type]
    "relative-output-stability": RelativeOutputStability(**MOVED),  # type: ignore[arg-type]
    "relative-representation-stability": RelativeRepresentationStability(**MOVED),  # type: ignore[arg-type]
    "sensitivity-n": SensitivityN(n=Amount(100 * SHARE, percent=True), samples=SETS, attribution="share"),
    "mprt": Mprt(),
    "efficient-mprt": EfficientMprt(),
    "random-logit": RandomLogit(),
    "road-morf": RoadMorf(noise=0.0, levels="/".join(map(str, LEVELS))),
}


@pytest.mark.parametrize("name", METRICS)
def test_scores_are_those_of_quantus(name: str) -> None:
    """Up to rounding: Quantus sends images through networks in float32."""
    scores = METRICS[name].score(quantus_case())
    assert scores.tolist() == pytest.approx(VALUES[name], rel=2e-6, abs=2e-8)


def test_irof_is_that_of_quantus_with_the_point_at_zero_and_divided_by_the_segments() -> None:
    case = quantus_case()
    labels = find(case.clean, "slic", 4)
    first = removal_steps(case.clean_maps, labels) == 1
    shown = torch.where(first[:, None], torch.as_tensor(input_mean(case.model)).to(case.clean), case.clean)
    chosen = (range(len(shown)), case.target.tolist())
    ratio = case.model(shown).softmax(1)[chosen] / case.model(case.clean).softmax(1)[chosen]
    segments = counts(labels)
    ours = Irof().score(case)
    assert (segments * ours + (1 + ratio) / 2).tolist() == pytest.approx(VALUES["irof"], rel=2e-6)
    # A map without that segment's lead is another order.
    assert not torch.equal(Irof().score(replace(case, reduce=lambda raw: -raw.abs().sum(dim=1))), ours)
