from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

# Every core has a worker of its own; more threads than cores only wait for each other. NumPy looks when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from attrobust import load
from attrobust.attacks.base import Context
from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.models.lenet import LeNet
from attrobust.benchmark.training.recipe import load_recipe
from attrobust.maps.reduction import reduce_map
from attrobust.threat import ThreatModel

from helpers.cases import MakeCase, maker
from helpers.light import trained
from helpers.shared import Guard

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="inject faults everywhere and try thousands of inputs: tests/faults"
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it runs in the background with these signals ignored, and so would be what tests start.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    config.pluginmanager.register(Guard())


# Nothing is timed: a busy machine draws its examples as slowly as it must.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _registries_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plug-in registers in one test is unknown in the next."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_entries", dict(registry._found()))


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged as a warning."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("attrobust").addHandler(handler)
    yield lines
    logging.getLogger("attrobust").removeHandler(handler)


@pytest.fixture(scope="session")
def digits() -> Loaded:
    return Digits().load(None)


@pytest.fixture(scope="session")
def real_images(digits: Loaded) -> tuple[Tensor, Tensor]:
    """Twelve test digits and their classes."""
    return digits.splits["test"].batch(range(12))


@pytest.fixture(scope="session", params=["digits/natural", "digits/aga"], ids=["relu", "softplus"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A trained network of either kind of activation; tests must leave it as it is."""
    return load(request.param)


@pytest.fixture(scope="session")
def coarse() -> Loaded:
    """The digits in a third of the pixels, where no claim speaks of a size."""
    return Digits(size=16).load(None)


@pytest.fixture(scope="session")
def coarse_images(coarse: Loaded) -> tuple[Tensor, Tensor]:
    """Twelve coarse test digits and their classes."""
    return coarse.splits["test"].batch(range(12))


@pytest.fixture(scope="session")
def coarse_networks(coarse: Loaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, nn.Module]:
    """Networks that know coarse digits, by kind of activation."""
    recipe, folder = replace(load_recipe("digits"), epochs=4), tmp_path_factory.mktemp("coarse")
    return {
        name: trained(method, LeNet(width=8, hidden=32), coarse, recipe, folder).model
        for name, method in (("relu", "natural"), ("softplus", "softplus"))
    }


@pytest.fixture(scope="session", params=["relu", "softplus"])
def coarse_network(coarse_networks: dict[str, nn.Module], request: pytest.FixtureRequest) -> nn.Module:
    """A network of either kind of activation that knows coarse digits; tests must leave it as it is."""
    return coarse_networks[request.param]


@pytest.fixture(scope="session")
def make_case(network: nn.Module, real_images: tuple[Tensor, Tensor]) -> MakeCase:
    """See ``cases.maker``."""
    return maker(network, real_images[0])


@pytest.fixture(scope="session")
def make_relu_case(real_images: tuple[Tensor, Tensor]) -> MakeCase:
    """See ``cases.maker``; of one network, where claims do not speak of its activations."""
    return maker(load("digits/natural"), real_images[0])


@pytest.fixture(scope="session")
def make_coarse_case(coarse_network: nn.Module, coarse_images: tuple[Tensor, Tensor]) -> MakeCase:
    """See ``cases.maker``; of coarse digits, where no claim speaks of a size."""
    return maker(coarse_network, coarse_images[0])


@pytest.fixture(scope="session")
def make_context(coarse_networks: dict[str, nn.Module]) -> Callable[..., Context]:
    source_models = {28: load("digits/natural"), 16: coarse_networks["relu"]}

    def make(model: nn.Module, explainer: object, x: Tensor, **changes: object) -> Context:
        given: dict[str, object] = {
            "model": model,
            "explainer": explainer,
            "reduce": lambda maps: reduce_map(maps, "abs-sum"),
            "threat": ThreatModel(eps=16 / 255),
            "ids": range(len(x)),
            "partners": x.roll(1, 0),
            "source_model": source_models.get(x.shape[-1]),
        }
        return Context(**(given | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def cifar_root() -> Path:
    """The folder of a real CIFAR-10 image tree named by ATTROBUST_DATA; tests that need it are skipped without."""
    root = Path(os.environ.get("ATTROBUST_DATA", "/nowhere"))
    if not (root / "train").is_dir() or not (root / "test").is_dir():
        pytest.skip("ATTROBUST_DATA names no folder with CIFAR-10 in train/ and test/")
    return root


@pytest.fixture(scope="session")
def fashion_root() -> Path:
    """The data root named by ATTROBUST_DATA, with Fashion-MNIST in it; tests that need it are skipped without."""
    root = Path(os.environ.get("ATTROBUST_DATA", "/nowhere"))
    if not (root / "FashionMNIST" / "raw").is_dir():
        pytest.skip("ATTROBUST_DATA names no folder with FashionMNIST/raw in it")
    return root
