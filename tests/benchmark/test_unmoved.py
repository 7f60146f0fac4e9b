"""The flag of an attack that left every map where it was."""

from __future__ import annotations

import numpy as np
import pytest

from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.report.unmoved import unmoved

NAN = float("nan")


def column(label: str, *, higher: bool = True) -> Metric:
    return Metric(label=label, title=label, higher_is_better=higher, scale=1.0, decimals=3, unit=False, scope="attack")


TOPK, COSINE, L2 = column("topk:k=10%"), column("cosine"), column("normalized-l2", higher=False)
RETRIEVAL, TARGET = column("retrieval"), column("target-similarity", higher=False)


@pytest.mark.parametrize(
    ("scores", "raised"),
    [
        ({TOPK: [1, 1, 1], COSINE: [1, 1 - 1e-12, 1], L2: [0, 0, 0]}, True),
        ({TOPK: [1, NAN, 1]}, True),
        ({TOPK: [1, 1, 1], RETRIEVAL: [1, 0, 0], TARGET: [0.3, 0.2, 0.1]}, True),
        ({TOPK: [1, 1, 1], COSINE: [1, 1, 0.9999]}, False),
        ({COSINE: [1, 1, 1], L2: [0, 0.1, 0]}, False),
        ({RETRIEVAL: [1, 1, 1]}, False),
        ({TARGET: [0, 0, 0]}, False),
        ({TOPK: [NAN, NAN, NAN]}, False),
        ({}, False),
    ],
)
def test_an_attack_moved_nothing_where_every_similarity_is_that_of_equal_maps(
    scores: dict[Metric, list[float]], raised: bool
) -> None:
    flag = unmoved([np.array(values, dtype=np.float64) for values in scores.values()], list(scores))
    assert (flag is not None) is raised
    if flag:
        assert flag.name == "attack-moved-nothing"
        assert f"all {sum(not np.isnan(value) for value in scores[TOPK])} images" in flag.reason
