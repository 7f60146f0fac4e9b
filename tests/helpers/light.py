"""Training methods made cheap without leaving out any part of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.training.loop import Trained, train
from attrobust.benchmark.training.recipe import Recipe
from attrobust.methods import registry
from attrobust.methods.base import SCRATCH, Method
from attrobust.naming.spec import Spec, build

FEW: dict[str, Any] = {"steps": 2, "points": 2, "attack_points": 1, "draws": 2, "copies": 2}
"""Settings that decide how many passes a step takes."""


def light(name: str, **settings: Any) -> Method:
    """A method with few passes a step."""
    cls = registry.get(name)
    return cls(**{key: value for key, value in FEW.items() if key in cls.__dataclass_fields__}, **settings)


def trained(name: str, family: ModelFamily, data: Loaded, recipe: Recipe, folder: Path) -> Trained:
    """A network trained by a method with few passes a step and the recipe's settings, after what it goes on from."""
    cls = registry.get(name)
    few = {key: str(value) for key, value in FEW.items() if key in cls.__dataclass_fields__}
    method = build(cls, Spec(name, few), recipe.methods.get(name))
    scratch = method.start == SCRATCH
    start = None if scratch else trained(method.start, family, data, recipe, folder).model
    return train(
        method,
        family,
        data,
        recipe if scratch else recipe.tuning(),
        seed=0,
        device=torch.device("cpu"),
        resume=folder / name,
        start=start,
    )
