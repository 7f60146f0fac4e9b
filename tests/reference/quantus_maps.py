"""Writes ``quantus_maps.json``; run by hand where Quantus is installed.

``PYTHONPATH=.:tests python tests/reference/quantus_maps.py``

Quantus is given our images, maps and random draws, so that what differs is what it computes of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import quantus
import torch
from quantus.metrics.faithfulness import irof
from torch import Tensor, nn

from attrobust.maps.segments import find
from attrobust.networks.smoothed import input_mean

from helpers.quantus_inputs import DRAWS, IMAGES, SETS, neighbours, quantus_case, sets_of_pixels


class Precise(nn.Module):
    """The network in float64, whatever it is given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.double())
        return logits


def main() -> None:
    """Compute everything and write it."""
    rows = [values_of(row) for row in range(IMAGES)]
    values = {name: [row[name] for row in rows] for name in rows[0]}
    text = json.dumps({"quantus": quantus.__version__, "values": values}, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n")


def values_of(row: int) -> dict[str, float]:
    """What Quantus says of one image. Of several, it would normalise maps by the largest value of all of them."""
    case, only = quantus_case(), slice(row, row + 1)
    model, x, y = Precise(case.model).eval(), case.clean[only].numpy(), case.target[only].numpy()
    maps, signed = case.clean_maps[only, None].numpy(), case.clean_attributions[only].numpy()
    colour = float(input_mean(case.model))

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        return case.explain(torch.as_tensor(inputs).double(), torch.as_tensor(targets)).numpy()

    def drawn() -> Callable[..., np.ndarray]:
        draws = iter([image[only].flatten(1).numpy() for image in neighbours(case)])
        return lambda **_: next(draws)

    given = {"model": model, "x_batch": x, "y_batch": y, "a_batch": signed, "explain_func": explain, "softmax": False}
    of_maps = given | {"a_batch": maps}
    quiet = {"disable_warnings": True, "return_aggregate": False}
    moving = {"nr_samples": DRAWS, "normalise": False, "abs": False, **quiet}
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Softplus)]
    found = {
        "entropy": quantus.Complexity(normalise=False, **quiet)(**of_maps),
        "effective-complexity": quantus.EffectiveComplexity(eps=0.1, normalise=True, **quiet)(**of_maps),
        "local-lipschitz none": quantus.LocalLipschitzEstimate(perturb_func=drawn(), **moving)(**given),
        "local-lipschitz largest": quantus.LocalLipschitzEstimate(
            perturb_func=drawn(), **(moving | {"normalise": True})
        )(**given),
        "relative-input-stability": quantus.RelativeInputStability(perturb_func=drawn(), **moving)(**given),
        "relative-output-stability": quantus.RelativeOutputStability(perturb_func=drawn(), **moving)(**given),
        "relative-representation-stability": quantus.RelativeRepresentationStability(
            perturb_func=drawn(), layer_names=layers[-1:], **moving
        )(**given),
    }
    sets = sets_of_pixels(case)
    chosen = iter([drawing[row].numpy() for drawing in sets])
    with patch("numpy.random.choice", lambda *_, **__: next(chosen)):
        found["sensitivity-n"] = quantus.FaithfulnessCorrelation(
            nr_runs=SETS,
            subset_size=sets[0].shape[1],
            perturb_baseline=colour,
            normalise=False,
            abs=False,
            **quiet,
        )(**given)
    labels = iter(find(case.clean[only], "slic", 4).numpy())
    # NumPy 2.4 has no ``trapz`` any more.
    with (
        patch.object(irof.utils, "get_superpixel_segments", lambda **_: next(labels)),
        patch("numpy.trapz", np.trapezoid, create=True),
    ):
        found["irof"] = quantus.IROF(perturb_baseline=colour, normalise=False, abs=False, **quiet)(
            **(of_maps | {"softmax": True})
        )
    return {name: float(np.ravel(scores)[0]) for name, scores in found.items()}


if __name__ == "__main__":
    main()
