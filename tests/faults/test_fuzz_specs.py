"""Specs: whatever is typed for a name and its settings is taken, or refused in words."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from attrobust import attacks, explainers, methods, metrics
from attrobust.attacks.base import Attack
from attrobust.benchmark import data, models
from attrobust.benchmark.data.base import Dataset
from attrobust.benchmark.models.base import ModelFamily
from attrobust.explainers.base import Explainer
from attrobust.methods.base import Method
from attrobust.metrics.base import Metric
from attrobust.naming.component import resolve
from attrobust.naming.spec import parse_specs

from helpers.fuzz import ODD, refused_or_taken, tried

AXES = {
    "methods": (methods.registry, Method),
    "explainers": (explainers.registry, Explainer),
    "attacks": (attacks.registry, Attack),
    "metrics": (metrics.registry, Metric),
    "datasets": (data.registry, Dataset),
    "models": (models.registry, ModelFamily),
}
VALUES = st.one_of(
    ODD, st.integers(-3, 10**6).map(str), st.floats().map(str), st.sampled_from(["true", "none", "8/255"])
)


@pytest.mark.parametrize("axis", AXES)
def test_a_list_of_specs_is_resolved_or_refused(axis: str, request: pytest.FixtureRequest) -> None:
    registry, base = AXES[axis]

    def with_settings(name: str) -> st.SearchStrategy[str]:
        fields = sorted(registry.get(name).__dataclass_fields__) or ["none"]
        pair = st.tuples(st.sampled_from(fields) | ODD, VALUES).map("=".join)
        return st.lists(pair, max_size=3).map(lambda pairs: f"{name}:{','.join(pairs)}")

    spec = st.sampled_from(registry.names()).flatmap(with_settings)
    listed = st.lists(spec | spec | ODD, min_size=1, max_size=3).map(",".join)

    def attempt(text: str) -> None:
        refused_or_taken(lambda: resolve(registry, parse_specs(text, f"--{axis}"), base))

    tried(request, listed, attempt)
