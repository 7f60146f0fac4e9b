"""What a run measures decides what ``auto`` descends: in the columns, in the choice from sweeps, and in labels."""

from __future__ import annotations

import pytest

from attrobust.attacks.auto import Auto
from attrobust.benchmark.request.protocol import load_protocol
from attrobust.types import UsageError

from helpers.requests import request_of

USUAL = load_protocol("quick").override(attacks=("noise", "auto"))


def test_the_usual_metrics_leave_the_label_as_it_was_typed() -> None:
    assert [attack.label for attack in request_of(USUAL).attacks] == ["noise", "auto"]


def test_a_further_metric_is_descended_and_the_label_says_so() -> None:
    noise, auto = request_of(USUAL.override(metrics=("cosine", "pearson", "topk:k=5%"))).attacks
    assert (noise.label, auto.label) == ("noise", "auto:also=pearson+topk-5%")
    assert auto.item == Auto(also="pearson+topk-5%")


@pytest.mark.parametrize("attacks", [("noise",), ("noise", "auto")])
def test_the_attack_that_sweeps_are_chosen_by_descends_the_metric_that_they_are_chosen_by(
    attacks: tuple[str, ...],
) -> None:
    swept = USUAL.override(methods=("aga:cosd={0.1,1}",), metrics=("cosine", "pearson"), attacks=attacks)
    criterion = request_of(swept, choose="pearson@auto").criterion
    assert criterion is not None
    assert criterion.attack.item == Auto(also="pearson")


def test_two_attacks_that_come_to_the_same_are_refused() -> None:
    twice = USUAL.override(metrics=("cosine", "pearson"), attacks=("auto", "auto:also=pearson"))
    with pytest.raises(UsageError, match="two attacks are auto:also=pearson"):
        request_of(twice)
