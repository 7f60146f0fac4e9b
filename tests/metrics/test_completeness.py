"""Completeness against sums by hand, on networks and explainers that have it and that do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attrobust.explainers.baselines import Constant
from attrobust.explainers.ig import IG
from attrobust.explainers.saliency import Saliency
from attrobust.metrics import registry
from attrobust.metrics.faithfulness.completeness import Completeness
from attrobust.naming.spec import Spec, build
from attrobust.networks.smoothed import input_mean

from helpers.cases import MakeCase


@pytest.mark.parametrize("fill", ["black", "mean"])
@pytest.mark.parametrize("attribution", ["share", "slope"])
@pytest.mark.parametrize("error", ["relative", "absolute"])
def test_errors_are_those_of_sums_over_pixels(fill: str, attribution: str, error: str, make_case: MakeCase) -> None:
    case = make_case(slice(0, 3))
    metric = build(
        registry.get("completeness"), Spec("completeness", {"fill": fill, "attribution": attribution, "error": error})
    )
    assert isinstance(metric, Completeness)
    colour = 0.0 if fill == "black" else float(input_mean(case.model))
    maps = case.explain(case.clean, case.target)
    for row, score in enumerate(metric.score(case).tolist()):
        total, target = 0.0, int(case.target[row])
        pixels = zip(maps[row].flatten().tolist(), case.clean[row].flatten().tolist(), strict=True)
        for value, pixel in pixels:
            total += value * (pixel - colour) if attribution == "slope" else value
        flat = torch.full_like(case.clean[row : row + 1], colour)
        change = float((case.model(case.clean[row : row + 1]) - case.model(flat)).detach()[0, target])
        wanted = abs(total - change) / (abs(change) if error == "relative" else 1.0)
        assert score == pytest.approx(wanted, rel=1e-9)


def test_integrated_gradients_are_complete_gradients_and_constant_maps_are_not(make_case: MakeCase) -> None:
    errors = {
        name: float(Completeness().score(make_case(slice(0, 4), explainer=explainer)).median())
        for name, explainer in {"ig": IG(steps=128), "gradient": Saliency(), "constant": Constant()}.items()
    }
    assert errors["ig"] < 0.02
    assert errors["gradient"] > 0.2
    assert errors["constant"] > 1.0


@pytest.mark.parametrize("spoil", [lambda x: x * 0, lambda x: x * torch.nan], ids=["zeros", "nan"])
def test_a_map_of_zeros_scores_one_and_one_that_is_not_finite_nothing(
    spoil: Callable[[Tensor], Tensor], make_relu_case: MakeCase
) -> None:
    case = make_relu_case(slice(0, 2))
    scores = Completeness().score(replace(case, explain=lambda x, _: spoil(x)))
    assert torch.equal(scores.nan_to_num(7), torch.full((2,), 7.0 if spoil(torch.ones(1)).isnan() else 1.0).double())


def test_an_image_that_is_the_baseline_has_no_relative_error(make_relu_case: MakeCase) -> None:
    case = make_relu_case(slice(0, 2))
    black = replace(case, clean=torch.zeros_like(case.clean))
    assert Completeness().score(black).isnan().all()
    absolute = Completeness(error="absolute").score(replace(black, explain=lambda x, _: x + 0.5))
    assert absolute.tolist() == pytest.approx([0.5 * 784] * 2)
