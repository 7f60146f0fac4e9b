"""Protocols: named, versioned evaluation settings, the same for every row of a table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attrobust.naming import toml as settings
from attrobust.naming.file_names import unsuitable
from attrobust.naming.validate import check_types
from attrobust.numbers import parse_number
from attrobust.threat import ThreatModel
from attrobust.types import UsageError

FOLDER = Path(__file__).parent / "protocols"
PAPERS = FOLDER / "papers"
"""Protocols of papers, as far as what they did is known."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings of an evaluation, the same for every row.

    Attributes:
        name: of the file.
        version: raised whenever a number could change.
        summary: one line for ``--list``.
        dataset, model: specs, e.g. ``lenet:width=16``.
        images: number of images of the fixed test list that are attacked.
        methods, explainers, attacks, metrics: specs of the rows and columns.
        baselines: names of the sanity-check baselines among the rows, see ``checkpoints.untrained``.
        accuracy_attack: spec of the attack on the prediction for accuracy under attack; empty for none.
        reduction: channels to map, see ``attrobust.maps.reduction.reduce_map``.
        label: the class explained: ``predicted`` is the model's own clean prediction, ``true`` the dataset's.
        norm, eps: of the threat model; eps in pixel units, ``"8/255"``.
        keep_prediction: whether an attack must keep the prediction.
        seeds: of training; each is a row.
        evaluation_seed: of everything random in the evaluation.
        modified: names of the fields that the command line changed.
    """

    name: str
    version: int
    summary: str
    dataset: str
    model: str
    images: int
    methods: tuple[str, ...]
    explainers: tuple[str, ...]
    attacks: tuple[str, ...]
    metrics: tuple[str, ...]
    baselines: tuple[str, ...] = ()
    accuracy_attack: str = ""
    reduction: Literal["abs-sum", "sum", "abs-max"] = "abs-sum"
    label: Literal["predicted", "true"] = "predicted"
    norm: Literal["linf", "l2"] = "linf"
    eps: str
    keep_prediction: bool = True
    seeds: tuple[int, ...] = (0,)
    evaluation_seed: int = 0
    modified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        if self.images < 1:
            raise ValueError(f"images={self.images} must be at least 1")
        for name in ("explainers", "attacks", "metrics", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")
        if any(seed < 0 for seed in self.seeds) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} must be different whole numbers, not negative")
        _ = self.threat

    @property
    def threat(self) -> ThreatModel:
        """The threat model of attacks; raises ValueError where norm or eps are invalid."""
        return ThreatModel(norm=self.norm, eps=parse_number(self.eps), keep_prediction=self.keep_prediction)

    @property
    def accuracy_threat(self) -> ThreatModel:
        """The threat model of attacks on the prediction: the same ball, without keeping the prediction."""
        return dataclasses.replace(self.threat, keep_prediction=False)

    @property
    def title(self) -> str:
        """Name and version, e.g. ``quick v1``, with the fields that the command line changed."""
        changed = f" (modified: {', '.join(self.modified)})" if self.modified else ""
        return f"{self.name} v{self.version}{changed}"

    def override(self, **values: Any) -> Protocol:
        """This protocol with other values; those that differ are listed in ``modified``.

        Raises:
            UsageError: an invalid value.
        """
        changed = {key: value for key, value in values.items() if value is not None and value != getattr(self, key)}
        # Choosing the rows of a table does not change how a row is evaluated.
        modified = sorted({*self.modified, *changed} - {"methods", "seeds", "baselines"})
        try:
            return dataclasses.replace(self, **changed, modified=tuple(modified))
        except ValueError as error:
            raise UsageError(str(error)) from error


def protocol_file(name: str) -> Path:
    """The file of a shipped protocol, or of a path ending in ``.toml``.

    Raises:
        UsageError: there is none, or its name, which is that of the folder of the run, is none on some system.
    """
    path = settings.find_file("protocol", name, FOLDER, PAPERS)
    if problem := unsuitable(path.stem if path.suffix else path.name):
        raise UsageError(f"protocol file {path}: its name, of which the run's folder is called, {problem}; rename it")
    return path


def load_protocol(name: str) -> Protocol:
    """The shipped protocol of a name, or that in the file of a path ending in ``.toml``; raises UsageError.

    Of a protocol with parts it is what they have in common, see ``request.parts``.
    """
    path = protocol_file(name)
    values = {key: value for key, value in settings.table(path).items() if key != "parts"}
    return protocol_from(values, path.stem, str(path))


def protocol_from(values: dict[str, Any], name: str, where: str) -> Protocol:
    """A protocol from the values of a table; raises UsageError, which begins with ``where``."""
    return settings.settings_from(Protocol, values, where, {"name": name, "modified": ()})
