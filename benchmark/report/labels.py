"""Whether a label says what a row says of a component; no class has to be at hand for that, plug-ins may be gone."""

from __future__ import annotations

import functools

from attrobust.benchmark.store.rows import MetricFacts, Ways
from attrobust.naming.spec import Spec
from attrobust.numbers import parse_number
from attrobust.types import Amount, Named, UsageError

PRESET = "preset"


def fits(label: str, named: Named, ways: Ways = ()) -> bool:
    """Whether a label stands for a component, with nothing wrong and nothing left out.

    Args:
        label: as typed.
        named: the component with all its settings.
        ways: what the label has to say; where there are none, as in rows of older versions, it may leave anything out.
    """
    try:
        spec = _spec(label)
    except UsageError:
        return False
    settings = named.get("settings", {})
    typed = {key: text for key, text in spec.settings.items() if key != PRESET or PRESET in settings}
    wrong = any(key not in settings or not says(text, settings[key]) for key, text in typed.items())
    if wrong or spec.name != named.get("name"):
        return False
    presets = {f"{PRESET}={text}" for key, text in spec.settings.items() if key not in typed}
    said = {*typed, *presets}
    return not ways or any(said.issuperset(way) and presets.issubset(way) for way in ways)


_spec = functools.lru_cache(maxsize=1024)(Spec.parse)


def fits_metric(facts: MetricFacts, row: MetricFacts, ways: Ways) -> bool:
    """Whether a column's facts are those of a row's metric; it may have been typed in another way for the row."""
    differs = any(getattr(facts, key) != getattr(row, key) for key in row.__struct_fields__ if key != "label")
    named = Named(name=row.name, settings=row.settings)
    return not differs and (facts.label == row.label or fits(facts.label, named, ways))


def says(text: str, value: object) -> bool:
    """Whether a setting as typed has a value, see ``naming.spec.build``."""
    if value is None or isinstance(value, bool):
        return text.lower() == str(value).lower()
    try:
        number = isinstance(value, (int, float))
        return parse_number(text) == value if number else value in (text, str(Amount.parse(text)))
    except ValueError:
        return text == value
