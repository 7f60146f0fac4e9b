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
from quantus.functions.complexity_func import discrete_entropy
from quantus.functions.perturb_func import noisy_linear_imputation
from quantus.functions.similarity_func import correlation_spearman
from quantus.helpers.model.pytorch_model import PyTorchModel
from quantus.metrics.faithfulness import irof
from torch import Tensor, nn

from attrobust.maps.segments import find
from attrobust.metrics.shared.case import Case
from attrobust.networks.randomised import randomised
from attrobust.networks.smoothed import input_mean

from helpers.quantus_inputs import (
    DRAWS,
    IMAGES,
    LEVELS,
    SETS,
    neighbours,
    other_classes,
    quantus_case,
    sets_of_pixels,
)


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
    found |= of_other_networks_and_classes(case, row)
    found["road-morf"] = [imputed_probability(case, row)]
    return {name: float(np.ravel(scores)[0]) for name, scores in found.items()}


def of_other_networks_and_classes(case: Case, row: int) -> dict[str, Any]:
    """What Quantus says of maps of networks that we randomised, and of another class that we drew."""
    only = slice(row, row + 1)

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        raw = case.explain_with(model, torch.as_tensor(inputs).double(), torch.as_tensor(targets).flatten())
        return case.reduce(raw)[:, None].numpy()

    given = {
        "model": Precise(case.model).eval(),
        "x_batch": case.clean[only].numpy(),
        "y_batch": case.target[only].numpy(),
        "a_batch": case.clean_maps[only, None].numpy(),
        "explain_func": explain,
    }
    same = {"normalise": False, "abs": False, "disable_warnings": True}
    copies = randomised(case.model, case.clean[:1], case.seed)
    networks = [(str(place), Precise(network).eval()) for place, network in enumerate(copies)]
    with patch.object(PyTorchModel, "get_random_layer_generator", lambda *_, **__: iter(networks)):
        by_layer = quantus.MPRT(**same)(**given)
        efficient = quantus.EfficientMPRT(
            complexity_func=discrete_entropy, complexity_func_kwargs={"n_bins": 100}, **same
        )(**given)
    # Its own average counts the map of the unchanged network, whose correlation is 1, as one of a layer.
    layers = [values for name, values in by_layer.items() if name != "original"]
    label, target = int(other_classes(case)[row]), int(case.target[row])
    with patch("numpy.random.randint", lambda *_: np.array([label - (label > target)])):
        logit = quantus.RandomLogit(similarity_func=correlation_spearman, num_classes=10, **same)(**given)
    return {"mprt": [float(np.mean(layers))], "efficient-mprt": efficient, "random-logit": logit}


def imputed_probability(case: Case, row: int) -> float:
    """The class's mean probability of images that Quantus imputed, the most relevant pixels first."""
    image, order = case.clean[row].numpy(), np.argsort(-case.clean_maps[row].flatten().numpy())
    filled = [noisy_linear_imputation(image, order[: int(len(order) * level / 100)], noise=0.0) for level in LEVELS]
    probabilities = case.model(torch.from_numpy(np.stack(filled))).softmax(dim=1)
    return float(probabilities[:, case.target[row]].mean())


if __name__ == "__main__":
    main()
