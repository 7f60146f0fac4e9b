"""What is left of a row of the table when all its jobs are done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from attrobust.benchmark.run.cells import PlacedCell, rows_of
from attrobust.benchmark.run.subjects import Subject
from attrobust.benchmark.store.plan import Entry
from attrobust.types import Settings


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A row of the table whose cells are all on disk, computed or failed.

    Attributes:
        position: of the row in its plan.
        subject: the row.
        sha256: of its weights; empty where there are none.
        cells: with the hashes of weights filled in.
        failures: one line for everything that went wrong.
        findings: what was found of a user's checkpoint, by its label.
    """

    position: int
    subject: Subject
    sha256: str
    cells: tuple[PlacedCell, ...]
    failures: list[str]
    findings: dict[str, Settings]

    @property
    def keys(self) -> list[str]:
        """Fingerprints of its rows, in the order of the table."""
        return [key for cell in self.cells for key, _ in rows_of(cell.job)]

    def keys_of(self, explainer: str) -> list[str]:
        """Fingerprints of its rows of one explainer."""
        return [key for cell in self.cells if cell.column == explainer for key, _ in rows_of(cell.job)]

    @property
    def entries(self) -> Iterator[Entry]:
        """Where each row stands in the table of a run: its subject's position, explainer, attack and metric."""
        for cell in self.cells:
            for key, facts in rows_of(cell.job):
                yield Entry(
                    subject=self.position,
                    explainer=cell.column,
                    attack=cell.job.attack.label if cell.job.attack else "",
                    metric=facts.label,
                    row=key,
                )
