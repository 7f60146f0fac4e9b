"""The lines of ``rows.jsonl``: one metric of one cell each, with the facts that decide it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec

from attrobust.naming.spec import fingerprint
from attrobust.naming.validate import as_json
from attrobust.types import Cell, DatasetFacts, Flag, ImageFacts, Named, Scope, Settings, SplitName

Ways = tuple[tuple[str, ...], ...]
"""Names of the settings that a label has to say, for every way of saying it; a preset is ``preset=NAME``."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What files of a run are made of; a key that no field stands for is an error."""


class Signed(Record, frozen=True, kw_only=True):
    """A record that carries a fingerprint of itself.

    Attributes:
        digest: fingerprint of all of it, but for the digest and an interval; absent in records of older versions.
    """

    UNSIGNED: ClassVar[tuple[str, ...]] = ("digest",)
    ADDED: ClassVar[tuple[str, ...]] = ()
    """Fields that older records of the same schema lack, and that are not signed where they are null."""

    digest: str = ""

    def signed(self) -> Self:
        """With its digest."""
        return msgspec.structs.replace(self, digest=self._fingerprint())

    @property
    def is_as_written(self) -> bool:
        """Whether it is as the run wrote it, as far as it says."""
        return self.digest == "" or self._quick_fingerprint() == self.digest or self._fingerprint() == self.digest

    def _quick_fingerprint(self) -> str:
        """The fingerprint, where no number of it is written in another way by the faster encoder."""
        whole = msgspec.json.encode(self, order="sorted")
        return hashlib.sha256(whole.replace(f'"digest":"{self.digest}",'.encode(), b"", 1)).hexdigest()

    def _fingerprint(self) -> str:
        signed = {key: value for key, value in as_json(self).items() if key not in self.UNSIGNED}
        return fingerprint({key: value for key, value in signed.items() if value is not None or key not in self.ADDED})


class MetricFacts(Record, frozen=True, kw_only=True):
    """What decides a metric's value, and what a table has to know of it.

    Attributes:
        name, settings: with the settings of every field, defaults included.
        plugin: digest of its file where it is a plug-in; empty for those of this project.
        label: as typed, e.g. ``topk:k=10%``; unique in a run.
        title: what a header says.
        higher_is_better: whether a larger value speaks for the model.
        scale, decimals: a value is printed times ``scale`` with so many digits after the point.
        unit: whether the smallest and the largest possible value are 0 and 1.
        scope: what a value belongs to; accuracy is the network's on the whole split.
    """

    name: str
    settings: Settings
    plugin: str
    label: str
    title: str
    higher_is_better: bool
    scale: float
    decimals: Annotated[int, msgspec.Meta(ge=0, le=30)]
    unit: bool
    scope: Scope | Literal["accuracy"]


ACCURACY = MetricFacts(
    name="accuracy",
    settings={},
    plugin="",
    label="accuracy",
    title="accuracy (%)",
    higher_is_better=True,
    scale=100.0,
    decimals=1,
    unit=True,
    scope="accuracy",
)
"""Clean accuracy, described like a metric."""


class PassCounts(Record, frozen=True, kw_only=True):
    """Numbers of images that an attack sent through the network.

    Attributes:
        forward: evaluations of the network.
        backward: gradients pulled back to the input.
        double_backward: gradients of such a gradient, of whatever order.
    """

    forward: int
    backward: int
    double_backward: int


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which code, versions and machine wrote a row; decides no number, and later versions may say more.

    Attributes:
        commit, dirty: of the checkout and whether it had changes; absent where the package is installed.
        versions: of this package, of Python and of the libraries that compute.
        device: as torch calls it.
        threads: of torch.
        machine: operating system and processor.
        utc: when, in ISO 8601.
        batch_size: images attacked together.
    """

    commit: str | None = None
    dirty: bool | None = None
    versions: dict[str, str]
    device: str
    threads: int
    machine: str
    utc: str
    batch_size: int


class Contest(Record, frozen=True, kw_only=True):
    """Stronger images, which make a number worse for the network.

    Attributes:
        by: the finder's name.
        images_sha256: of the file ``contests/IMAGES_SHA256.npz``, which holds the images.
        improved: on how many images the score became worse for the network.
        code: digest of the sources that scored them, and versions of the libraries.
    """

    by: str
    images_sha256: str
    improved: int
    code: str


class Training(Record, frozen=True, kw_only=True):
    """How weights were trained; with method, model and images all that decides them.

    Attributes:
        seed: of training.
        recipe: schedule, optimiser, augmentation; with ``tuning_epochs`` and ``tuning_rate`` where it went on from
            trained weights.
        start: the method whose trained weights it went on from; empty for fresh weights.
        dataset: what was trained on; empty where an older version did not say.
        plugins: of method, model, dataset and start, digests of their files where these are plug-ins.
    """

    seed: int
    recipe: Settings
    start: Named
    dataset: DatasetFacts
    plugins: tuple[str, ...]

    def key(self, method: Named | None, model: Named, images: ImageFacts) -> str:
        """Fingerprint of all that decides the weights beside the seed."""
        facts = {"method": method, "model": model, "dataset": self.dataset, "images": asdict(images)}
        return fingerprint([{**facts, "recipe": self.recipe, "start": self.start}, self.plugins])


class RowBase(Signed, frozen=True, kw_only=True, tag_field="status", omit_defaults=True):
    """What every row has, beside ``status``.

    Attributes:
        schema: version of the form of the row.
        fingerprint: the key of cell and metric.
        cell: everything that decides the scores.
        split: whose images; ``val`` for what choosing from a sweep measured.
        metric: which score.
        error: what went wrong; empty unless the row failed.
        provenance: who computed it.
        trained: how the weights of the network were; absent where nothing was trained.
        wording: by part of the cell, what its label has to say of it, see ``Ways``; absent in rows of older versions.
        follows_gradient: whether the gradients that the attack follows are the network's own; absent without one.
    """

    schema: Literal[4]
    fingerprint: str
    cell: Cell
    split: SplitName
    metric: MetricFacts
    error: str
    provenance: Provenance
    trained: Training | None = None
    wording: dict[str, Ways] = msgspec.field(default_factory=dict)
    follows_gradient: bool | None = None


class ScoredRow(RowBase, frozen=True, kw_only=True, tag="ok", omit_defaults=True):
    """A metric that was computed; its per-image scores are in ``scores/FINGERPRINT.npz``.

    Attributes:
        mean: over the images with a defined score; null where there is none.
        ci: 95 % percentile bootstrap interval of the mean, or Wilson's; null where there is none.
        n: images asked for.
        n_defined: images with a score.
        n_feasible: images whose attack obeyed the rules; all where nothing attacked.
        passes: what the attack cost.
        seconds: that all metrics of the cell took together.
        scores_sha256: of the file with the per-image scores.
        repeats: for a metric that trains networks anew, the mean over images of every repeat.
        members: for an attack of several members, the share of images on which each is the worst.
        flags: what the audit found of the network and its explainer; absent where nothing was audited.
        audit: digest of the sources that looked for flags; absent where nothing was audited.
        guessing: for clean accuracy, the share of its images that are of their most frequent class.
        contests: of a number that stronger images made worse after the run, whose, in that order; such a row stands
            beside the one that the run wrote.
    """

    mean: float | None
    ci: tuple[float | None, float | None]
    n: int
    n_defined: int
    n_feasible: int
    passes: PassCounts
    seconds: float
    scores_sha256: str
    repeats: tuple[float | None, ...] | None = None
    members: dict[str, float] | None = None
    flags: tuple[Flag, ...] | None = None
    audit: str | None = None
    guessing: float | None = None
    contests: tuple[Contest, ...] = ()


class FailedRow(RowBase, frozen=True, kw_only=True, tag="failed", omit_defaults=True):
    """A metric that could not be computed; ``error`` says why."""


Row = ScoredRow | FailedRow


def row_fingerprint(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The key of one metric of one cell, both as JSON values."""
    return fingerprint([cell, named_metric(metric)])


def contested_fingerprint(row: str, contests: Any) -> str:
    """The key of a contested row.

    Args:
        row: key of its metric and cell, under which the run wrote it.
        contests: as JSON values, in their order.
    """
    return fingerprint([row, contests])


def named_metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    """What of a metric decides its value."""
    return {key: metric[key] for key in ("name", "settings", "plugin")}
