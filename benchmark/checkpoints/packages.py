"""Weights of other packages by name: torchvision, timm, RobustBench."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.source import Claim, Source
from attrobust.benchmark.checkpoints.state_dict import load_states, state_sha256
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.data.preparation import Interpolation, Preparation
from attrobust.benchmark.models import robustbench_names, timm_names
from attrobust.benchmark.models.base import ModelFamily
from attrobust.benchmark.models.constructors import constructor_settings
from attrobust.benchmark.models.normalization import text_of
from attrobust.benchmark.models.torchvision_names import AUXILIARY
from attrobust.naming.component import Component, resolve
from attrobust.naming.safe import reason
from attrobust.naming.spec import Spec, build
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError


@dataclass(frozen=True, kw_only=True)
class TorchvisionWeights(Source):
    """Weights of torchvision for one of its networks; downloaded to torch's hub folder.

    Attributes:
        name: of the network.
        weights: member of torchvision's enumeration of the network's weights.
    """

    name: str
    weights: Any

    @property
    def origin(self) -> str:
        """See ``Source.origin``."""
        return f"torchvision/{self.name}.{self.weights.name}"

    @property
    def classes(self) -> int | None:
        """See ``Source.classes``."""
        categories = self.weights.meta["categories"]
        return len(categories) if categories else None

    def fill(self, network: nn.Module, unused: Sequence[str] = ()) -> str:
        """See ``Source.fill``."""

        def fetch() -> Any:
            bar = sys.stderr.isatty()
            return self.weights.get_state_dict(progress=bar, check_hash=True, map_location="cpu", weights_only=True)

        state = _fetched(fetch, self.origin, f"put {self.weights.url} into {torch.hub.get_dir()}/checkpoints")
        load_states(network, {"": state}, self.origin, unused)
        return state_sha256(state)

    def claim(self, data: Loaded) -> Claim:  # noqa: ARG002
        """torchvision's accuracy on the validation images of ImageNet, and the normalisation."""
        preset, measured = self.weights.transforms(), self.weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
        percent = measured.get("acc@1")
        return Claim(
            source="torchvision",
            accuracy=None if percent is None else percent / 100,
            normalization=(tuple(preset.mean), tuple(preset.std)),
            preparation=_preparation(preset.crop_size[0], preset.resize_size[0], preset.interpolation.value),
        )


@dataclass(frozen=True, kw_only=True)
class TimmWeights(Source):
    """Weights of timm for one of its networks; timm states no accuracy.

    Attributes:
        name: of network and weights.
        config: timm's configuration of them.
        extra: see ``Timm``.
    """

    name: str
    config: Any
    extra: str = ""

    @property
    def origin(self) -> str:
        """See ``Source.origin``."""
        return f"timm/{self.name}"

    @property
    def classes(self) -> int:
        """See ``Source.classes``."""
        return int(self.config.num_classes)

    def fill(self, network: nn.Module, unused: Sequence[str] = ()) -> str:
        """See ``Source.fill``; timm fits the position embeddings of transformers to the size of the images."""

        def fetch() -> Any:
            size = int(network.image_shape[-1])  # type: ignore[index]
            settings = {**constructor_settings(self.extra), "pretrained": True}
            return timm_names.created(self.name, size, settings).state_dict()

        state = _fetched(fetch, self.origin, "timm keeps downloads in the cache of huggingface_hub")
        load_states(network, {"": state}, self.origin, unused)
        return state_sha256(state)

    def claim(self, data: Loaded) -> Claim:  # noqa: ARG002
        """Normalisation, scaling and crop; timm states no accuracy."""
        size = self.config.input_size[-1]
        resize = math.floor(size / self.config.crop_pct) if self.config.crop_mode == "center" else 0
        return Claim(
            source="timm",
            normalization=(tuple(self.config.mean), tuple(self.config.std)),
            preparation=_preparation(size, resize, self.config.interpolation),
        )


@dataclass(frozen=True, kw_only=True)
class RobustBenchWeights(Source):
    """Weights of RobustBench, which its network has already when it is built.

    Attributes:
        name, threat: as in RobustBench's tables.
    """

    name: str
    threat: str

    @property
    def origin(self) -> str:
        """See ``Source.origin``."""
        return f"robustbench/{self.name}"

    def fill(self, network: nn.Module, unused: Sequence[str] = ()) -> str:  # noqa: ARG002
        """See ``Source.fill``; the network has its weights already."""
        return state_sha256(network.eval().state_dict())

    def claim(self, data: Loaded) -> Claim | None:
        """The clean accuracy of RobustBench's model card; None where no card is found in or beside the package."""
        home = Path(robustbench_names.imported().utils.__file__).parent
        card = Path("model_info") / robustbench_names.dataset_of(len(data.classes)) / self.threat / f"{self.name}.json"
        for path in (home / card, home.parent / card):
            if path.is_file():
                model_card = json.loads(path.read_text(encoding="utf-8"))
                return Claim(source="RobustBench", accuracy=float(model_card["clean_acc"]) / 100)
        return None


Resolved = tuple[Source, Component[ModelFamily]]


def _torchvision(name: str, settings: dict[str, str]) -> Resolved:
    from torchvision.models import get_model_weights

    network, _, entry = name.partition(".")
    _model("torchvision", network, settings)
    offered = get_model_weights(network)
    entries = [weights.name for weights in offered]
    if not entries:
        raise ValueError("torchvision offers no weights for it")
    if entry and entry not in entries:
        raise ValueError(f"no weights {entry!r}.{did_you_mean(entry, entries)} There are: {', '.join(entries)}")
    weights = offered[entry] if entry else offered.DEFAULT
    preset = weights.transforms()
    if network in AUXILIARY:
        settings = {"transform_input": "true", **settings}
    model = _model("torchvision", network, _with_stated(settings, preset.mean, preset.std))
    return TorchvisionWeights(name=network, weights=weights), model


def _timm(name: str, settings: dict[str, str]) -> Resolved:
    _model("timm", name, settings)
    config = timm_names.imported().get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ValueError("timm offers no weights for it")
    model = _model("timm", name, _with_stated(settings, config.mean, config.std))
    return TimmWeights(name=name, config=config, extra=model.item.extra), model  # type: ignore[attr-defined]


def _robustbench(name: str, settings: dict[str, str]) -> Resolved:
    spec = Spec("robustbench", {"name": name, **settings})
    family = build(robustbench_names.RobustBench, spec)
    return RobustBenchWeights(name=name, threat=family.threat), Component("robustbench", family, str(spec))


def _with_stated(settings: dict[str, str], mean: Sequence[float], std: Sequence[float]) -> dict[str, str]:
    """The user's settings, with the normalisation of the weights where the user sets none."""
    return settings if "normalize" in settings else {**settings, "normalize": text_of(mean, std)}


def _model(family: str, name: str, settings: dict[str, str]) -> Component[ModelFamily]:
    return resolve(models.registry, [Spec(family, {"name": name, **settings})], ModelFamily)[0]


def _preparation(size: int, resize: int, interpolation: str) -> Preparation | None:
    """How a package prepares images; None where ``Preparation`` cannot say it."""
    known: dict[str, Interpolation] = {name: name for name in get_args(Interpolation)}
    if interpolation not in known or not resize >= size:
        return None
    return Preparation(size=size, resize=resize, interpolation=known[interpolation])


def _fetched(fetch: Callable[[], Any], origin: str, remedy: str) -> Any:
    try:
        return fetch()
    except Exception as error:  # whatever a package raises without a network
        raise UsageError(f"{origin} cannot be had ({reason(error)}); {remedy}") from error


PACKAGES: dict[str, Callable[[str, dict[str, str]], Resolved]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "robustbench": _robustbench,
}
"""By package, the function that resolves a network's name and settings to its weights and architecture."""
