"""Names of scores with their setting: ``topk``, ``topk-5%``, ``normalized-l2-sum``."""

from __future__ import annotations

from typing import Any, get_args

from attrobust.attacks.engine.scored import Score, Scored
from attrobust.types import Amount, Named

SETTINGS = {"topk": "k", "normalized-l2": "by"}
"""The setting of a score that has one."""


def score_settings(name: str) -> dict[str, Any]:
    """The settings of ``Scored`` that a name stands for.

    Args:
        name: of a score, and after a hyphen its setting where that is not the default.

    Raises:
        ValueError: it stands for none, or the default is written out.
    """
    for score in sorted(get_args(Score), key=len, reverse=True):
        if name == score:
            return {"score": score}
        if score in SETTINGS and name.startswith(f"{score}-"):
            key, text = SETTINGS[score], name.removeprefix(f"{score}-")
            value = Amount.parse(text) if score == "topk" else text
            if value == getattr(Scored, key):
                raise ValueError(f"{name} is {score}; write it so")
            return {"score": score, key: value}
    raise ValueError(f"{name!r} is no score; scores are {', '.join(get_args(Score))}, with a setting as in topk-5%")


def score_of_metric(metric: Named) -> str:
    """Name of the score that a metric is, empty where it is none that attacks can follow."""
    name, settings = metric["name"], metric["settings"]
    if name not in get_args(Score):
        return ""
    if name not in SETTINGS:
        return name
    key = SETTINGS[name]
    default = str(getattr(Scored, key))
    value = str(settings.get(key, default))
    return name if value == default else f"{name}-{value}"
