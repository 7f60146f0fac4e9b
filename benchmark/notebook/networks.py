"""``attrobust.load_run``: the networks of a run, by the names that its tables give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import nn

from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.sample import StoredCell, cells_of
from attrobust.naming.suggest import did_you_mean
from attrobust.types import UsageError


class RunNetworks(Mapping[str, nn.Module]):
    """The networks of a run by name, each opened when it is asked for: pixels in [0, 1] to logits, evaluating.

    Args:
        run: folder of a run, a sweep or a board.
        data_root: the folder that datasets are read from, which only some networks need: those of users' checkpoints
            and the untrained baseline.

    Raises:
        UsageError: there is no run, or it is not finished.
    """

    def __init__(self, run: Path, data_root: Path | None = None) -> None:
        self._opener, self._run = Opener(run, data_root), run
        first: dict[tuple[str, int | None], StoredCell] = {}
        for cell in cells_of(stores_of(run)):
            if not cell.subject.baseline or cell.subject.is_untrained:
                first.setdefault((cell.subject.label, cell.subject.seed), cell)
        several = len({seed for _, seed in first if seed is not None}) > 1
        self._cells = {
            f"{label} (seed {seed})" if several and seed is not None else label: cell
            for (label, seed), cell in first.items()
        }

    def __getitem__(self, name: str) -> nn.Module:
        """The network of that name.

        Raises:
            UsageError: there is none, or its weights are not there or others.
        """
        if name not in self._cells:
            known = ", ".join(self._cells)
            raise UsageError(
                f"{self._run} has no network {name!r}.{did_you_mean(name, list(self._cells))} It has {known}"
            )
        return self._opener.network(self._cells[name])

    def __contains__(self, name: object) -> bool:
        return name in self._cells

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"networks of {self._run}: {', '.join(self._cells)}"


def load_run(run: str | Path, data_root: str | Path | None = None) -> RunNetworks:
    """The networks of a run by the names of its rows; with several training seeds, ``aga (seed 1)``.

    Args:
        run: folder of a run, a sweep or a board.
        data_root: the folder that datasets are read from, see ``RunNetworks``.

    Raises:
        UsageError: there is no finished run.

    Example::

        model = attrobust.load_run("results/runs/mine")["aga:eps=8/255"]
    """
    return RunNetworks(Path(run).expanduser(), None if data_root is None else Path(data_root))
