"""The weight card, a TOML file beside a checkpoint: how it was trained, and the hash of its weights."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from attrobust.files import read_plain, write_atomically
from attrobust.naming import toml as settings
from attrobust.naming.suggest import did_you_mean
from attrobust.types import DatasetFacts, ImageFacts, Named, Settings, UsageError

SHIPPED = Path(__file__).parent / "shipped"
LONGEST = 60
"""Letters of settings in the name of a file."""
LOCAL = ("localhost", "127.0.0.1")
"""Hosts that weights are downloaded from without encryption."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of weights once they are published.

    Attributes:
        test_accuracy: share of the whole test split that the published weights classify correctly.
        test_images: number of images of that split.
        commit: of attrobust that trained them, or ``"unknown"``.
        precision: of the numbers in the weight file; networks compute in float32.
        size: of the weight file, in bytes.
        version: raised when other weights take the place of these.
        url: where the weight file is downloaded from, by ``https`` or from a ``file``; empty where it lies beside the
            card.
    """

    test_accuracy: float
    test_images: int
    commit: str
    precision: Literal["float16", "float32"]
    size: int
    version: int = 1
    url: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.test_accuracy <= 1 or self.test_images < 1 or self.size < 1 or self.version < 1:
            raise ValueError("test_accuracy is a share, and test_images, size and version are at least 1")
        place = urlsplit(self.url)
        local = place.scheme == "http" and place.hostname in LOCAL
        if self.url and place.scheme not in ("https", "file") and not local:
            raise ValueError(f"url {self.url} must begin with https:// or file://")


@dataclass(frozen=True, kw_only=True)
class WeightCard:
    """Facts about one checkpoint.

    Attributes:
        sha256: of the weight file.
        seed: of training.
        epoch: the chosen epoch, counted from 1.
        val_accuracy: on the validation split, by which the epoch was chosen.
        licence: of the weights.
        code: digest of the training sources.
        method, model, dataset: with all their settings.
        images: facts the network was built from: channels, size, classes, normalisation.
        recipe: schedule, optimiser, augmentation.
        plugins: sha256 of the files of a method and a model that are plug-ins; empty for those of this project.
        versions: of the libraries it was trained with.
        start: method, with all its settings, whose trained weights training started from; empty for fresh weights.
        start_sha256: of these weights.
        job: key of the training, which the names of its files are made of; empty for shipped weights.
        manipulation: what the weights were made to do afterwards, in words, so that maps say something else than what
            the network does; empty for the weights of a method.
        published: what is known of shipped weights beside all that; None for those of a run.
    """

    sha256: str
    seed: int
    epoch: int
    val_accuracy: float
    licence: str
    code: str
    method: Named
    model: Named
    dataset: DatasetFacts
    images: ImageFacts
    recipe: Settings
    plugins: tuple[str, ...]
    versions: dict[str, str]
    start: Named = field(default_factory=Named)
    start_sha256: str = ""
    job: str = ""
    manipulation: str = ""
    published: Published | None = None

    def __post_init__(self) -> None:
        if any({"name", "settings"} - set(item) for item in (self.method, self.model)):
            raise ValueError("method and model must have a name and settings")

    def is_of(self, stem: str) -> bool:
        """Whether files of this name, without its suffix, in a run's folder are those of this training.

        The settings in the name are for people. Older names have none, and older cards do not say whose place they
        belong in but for method, seed and code.
        """
        method = self.method["name"]
        tail = tail_of(self.seed, self.job or stem[-21:-9], self.code)
        between = stem.removeprefix(method).removesuffix(tail)
        return stem == f"{method}{between}{tail}" and (not between or between.startswith("-"))

    @property
    def words(self) -> str:
        """What was trained, as errors call it."""
        return f"{self.method['name']} with seed {self.seed}"

    def write(self, path: Path) -> None:
        """Write the card as TOML, atomically; that of a run begins with a digest of its text."""
        facts = asdict(self)
        for name in ("manipulation", "published"):
            if not facts[name]:
                del facts[name]
        text = _to_toml(facts).encode()
        write_atomically(path, text if self.published else _digest_line(text) + text)

    @classmethod
    def read(cls, path: Path) -> WeightCard:
        """Read a card; raises UsageError naming the file where it is damaged."""
        try:
            return settings.settings_from(cls, settings.values(_unsigned(path), str(path)), str(path))
        except UsageError as error:
            raise UsageError(f"not a weight card: {error}") from error


def stem_of(label: str, seed: int, job: str, code: str) -> str:
    """The name of the files of a training in a run's folder, without a suffix.

    Args:
        label: of the method, as typed; its settings are in the name, as far as there is room.
        seed, job, code: of the training.
    """
    method, _, settings = label.partition(":")
    words = re.sub(r"[^\w.]+", "-", settings.replace("=", ""))[:LONGEST].strip("-.")
    return f"{method}{f'-{words}' if words else ''}{tail_of(seed, job, code)}"


def tail_of(seed: int, job: str, code: str) -> str:
    """What the names of the files of a training end with, without a suffix."""
    return f"-seed{seed}-{job[:12]}-{code[:8]}"


def as_written(value: Any) -> Any:
    """A setting, or settings, as a card has them: None, which TOML lacks, is ``"none"``."""
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    if value is None:
        return "none"
    return list(value) if isinstance(value, tuple) else value


def shipped() -> dict[str, Path]:
    """Names and cards of the checkpoints that come with the package, e.g. ``digits/aga``."""
    return {f"{path.parent.name}/{path.stem}": path for path in sorted(SHIPPED.glob("*/*.toml"))}


def shipped_folders() -> tuple[tuple[Path, int], ...]:
    """The folders of shipped cards, and when a card was last added to each, in nanoseconds."""
    return tuple((path, path.stat().st_mtime_ns) for path in sorted(SHIPPED.iterdir()) if path.is_dir())


def shipped_path(name: str) -> Path:
    """The card of a shipped checkpoint; raises UsageError, with the nearest names, where there is none."""
    known = shipped()
    if name not in known:
        of_dataset = [other for other in known if other.partition("/")[0] == name.partition("/")[0]]
        raise UsageError(
            f"unknown checkpoint {name!r}.{did_you_mean(name, known)} Known: {', '.join(of_dataset or known)}"
        )
    return known[name]


def checkpoints() -> dict[str, WeightCard]:
    """The cards of all checkpoints that ``load`` knows, by name."""
    return {name: WeightCard.read(path) for name, path in shipped().items()}


def _unsigned(path: Path) -> bytes:
    """The text of a card without its digest; raises UsageError where that is another's.

    Cards of older versions, and shipped ones, have none; they begin with the first field.
    """
    text = read_plain(path)
    first, newline, rest = text.partition(b"\n")
    signed = first.startswith(b"digest = ")
    if (first + newline != _digest_line(rest)) if signed else not first.startswith(b"sha256 = "):
        raise UsageError(f"{path}: not as it was written")
    return rest if signed else text


def _digest_line(text: bytes) -> bytes:
    return f'digest = "{hashlib.sha256(text).hexdigest()}"\n'.encode()


def _to_toml(table: Settings, prefix: str = "") -> str:
    """Nested tables of strings, numbers, booleans and lists as TOML, see ``as_written``."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    text = "".join(f"{key} = {json.dumps(as_written(value))}\n" for key, value in plain.items())
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{prefix}{key}"
            text += f"\n[{name}]\n{_to_toml(value, f'{name}.')}"
    return text
