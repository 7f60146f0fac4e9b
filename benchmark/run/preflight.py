"""Whether settings, networks and weights suit the images: found out before anything is trained.

Settings and weights are held against the images by every command. Networks and components are tried out where there is
something left to compute.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.benchmark.checkpoints.source import activation_kinds
from attrobust.benchmark.data.base import Loaded, image_facts
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.benchmark.request.request import Request
from attrobust.benchmark.run.blame import blamed_on
from attrobust.benchmark.run.derivative_check import check_curvature, check_maps, check_training
from attrobust.benchmark.run.grid import Grid
from attrobust.benchmark.run.item_check import check_items, check_logits, items_of
from attrobust.benchmark.training.loop import fresh_network
from attrobust.explainers.base import Explainer
from attrobust.explainers.shared.chunks import Sampling, sampled
from attrobust.methods.base import SCRATCH, Method
from attrobust.naming.component import Component
from attrobust.networks.copying import independent_copy
from attrobust.networks.spelled import function_kinks
from attrobust.types import UsageError


def check_settings(request: Request, data: Loaded, grids: Sequence[Grid]) -> None:
    """Hold attacks and metrics against the images.

    Args:
        request: of the run.
        data: its images.
        grids: what is measured.

    Raises:
        UsageError: one does not suit; says which and why.
    """
    facts = image_facts(data)
    for attack in (item for grid in grids for item in grid.attacks):
        with blamed_on(attack.label):
            attack.item.check_size(facts.size, facts.size)
            attack.item.check_threat(request.protocol.threat)
    if request.accuracy_attack:
        with blamed_on(f"--accuracy-attack {request.accuracy_attack.label}"):
            request.accuracy_attack.item.check_size(facts.size, facts.size)
            request.accuracy_attack.item.check_threat(request.protocol.accuracy_threat)
    for metric in (item for grid in grids for item in grid.metrics):
        with blamed_on(metric.label):
            metric.item.check_size(facts.size, facts.size)
            if type(metric.item).needs_masks and not data.splits["test"].has_masks:
                raise ValueError(f"{request.dataset.label} does not know what its images show; use --dataset shapes")


def open_checkpoints(request: Request, data: Loaded) -> dict[str, tuple[nn.Module, str]]:
    """By name, the network of every user's checkpoint and the sha256 of its weights.

    Raises:
        UsageError: weights cannot be read, do not fit or are not what is claimed of them.
    """
    found = {}
    for item in request.checkpoints:
        with blamed_on(item.name):
            found[item.name] = item.open(image_facts(data))
            item.source.claim(data)
    return found


def try_out(
    request: Request, data: Loaded, grids: Sequence[Grid], theirs: Sequence[nn.Module]
) -> tuple[list[nn.Module], list[str]]:
    """Build architectures, and try networks, explainers and what people bring.

    Args:
        request: of the run.
        data: its images.
        grids: what is measured.
        theirs: the networks of users' checkpoints.

    Returns:
        One network for every method, then those of users' checkpoints; and a line for each explainer that does not suit
        one of them.

    Raises:
        UsageError: something does not suit; says what.
    """
    networks = []
    if request.methods or request.source_models:
        with blamed_on(request.model.label):
            check_logits(request.model.item.build(image_facts(data)).eval(), data)
    for name, source_model in request.source_models.items():
        with blamed_on(f"source model {name}"):
            _network(source_model, request, data)
    for method in request.methods:
        with blamed_on(method.label):
            networks.append(_network(method, request, data))
            check_training(networks[-1], method.item, data, request.recipe)
            check_logits(networks[-1].eval(), data)
    for item, network in zip(request.checkpoints, theirs, strict=True):
        with blamed_on(item.name):
            check_logits(network.eval(), data)
            networks.append(network)
    check_items(list(items_of(request, grids)), request, data, networks[0].eval())
    names = [*(item.label for item in request.methods), *(item.name for item in request.checkpoints)]
    explainers = list({item.label: item for grid in grids for item in grid.explainers}.values())
    for explainer in explainers:
        with blamed_on(explainer.label):
            check_items([explainer], request, data, networks[0])
    return networks, _check_pairs(dict(zip(names, networks, strict=True)), explainers, request, data, grids)


def _check_pairs(
    networks: Mapping[str, nn.Module],
    explainers: Sequence[Component[Explainer]],
    request: Request,
    data: Loaded,
    grids: Sequence[Grid],
) -> list[str]:
    """Try every explainer with every network, and what is differentiated of them.

    An explainer that suits some networks only is a line of what is returned; its cells of the others will be failed
    rows.

    Raises:
        UsageError: an explainer suits no network, or with ``--strict`` not all of them.
    """
    image = data.splits["test"].batch([0])[0].double()
    problems: dict[str, list[str]] = {explainer.label: [] for explainer in explainers}
    pairs = list(itertools.product(networks.items(), explainers))
    for (name, network), explainer in tqdm(pairs, desc="checking explainers", leave=False, disable=None):
        try:
            # Two copies of the image show what all of them would, of explainers that take thousands.
            with blamed_on(f"{explainer.label} of {name}"), sampled(Sampling()):
                # In the precision that maps are scored in, which tells rounding from what cannot be explained.
                scored = scored_copy(network.eval())
                explainer.item(scored, image, torch.zeros(1, dtype=torch.int64))
                for grid in grids:
                    check_maps(scored, explainer, grid, image)
        except UsageError as error:
            problems[explainer.label].append(str(error))
    for found in problems.values():
        if found and (request.strict or len(found) == len(networks)):
            raise UsageError(found[0])
    for name, network in networks.items():
        with blamed_on(name):
            for grid in grids:
                check_curvature(network, grid, image)
    _check_metrics(networks, grids, image.float())
    unsuitable = [line for found in problems.values() for line in found]
    return [f"{line}; its cells will fail, the others are computed (--strict stops here)" for line in unsuitable]


def _check_metrics(networks: Mapping[str, nn.Module], grids: Sequence[Grid], image: Tensor) -> None:
    """Raise UsageError for a metric that suits no network; where it suits some, its rows of the others will fail."""
    for metric in {item.label: item for grid in grids for item in grid.metrics}.values():
        problems = []
        for name, network in networks.items():
            try:
                with blamed_on(f"{metric.label} of {name}"):
                    metric.item.check_network(network, image)
            except UsageError as error:
                problems.append(error)
        if problems and len(problems) == len(networks):
            raise problems[0]


def _network(method: Component[Method], request: Request, data: Loaded) -> nn.Module:
    """The network of a method that can be trained on these images; raises ValueError where it cannot."""
    facts, family, item = image_facts(data), request.model.item, independent_copy(method.item)
    item.check_images(
        channels=facts.channels, size=facts.size, classes=facts.classes, gaze=data.splits["train"].has_gaze
    )
    network = fresh_network(item, family, data, seed=0)
    replaces = method.name == "softplus" or getattr(item, "softplus", None) is not None
    if replaces and not any(isinstance(module, nn.ReLU) for module in family.build(facts).modules()):
        raise ValueError(f"{request.model.label} has no ReLU that softplus could replace")
    kinks = function_kinks(network, data.splits["train"].batch([0])[0])
    left = [kind for kind in kinks if kind != nn.MaxPool2d.__name__]
    if left and activation_kinds(family.build(facts)) != activation_kinds(network):
        raise ValueError(
            f"{request.model.label} calls {left[0]} as a function, which the method cannot replace; write a module"
        )
    start = item.start
    if start != SCRATCH:
        before = fresh_network(request.starts[start].item, family, data, seed=0)
        if before.state_dict().keys() != network.state_dict().keys():
            raise ValueError(f"start={start} has other parameters than this method's network")
        theirs, ours = activation_kinds(before), activation_kinds(network)
        if theirs != ours and getattr(item, "softplus", None) is None:
            raise ValueError(
                f"start={start} has activations {', '.join(theirs)}, this method {', '.join(ours)}; set softplus=3"
            )
    return network
