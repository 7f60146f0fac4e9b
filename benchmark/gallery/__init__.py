"""Pictures of attacked maps: a run's images before and after an attack, their maps, and what these scored."""

from collections.abc import Sequence
from pathlib import Path

from attrobust.benchmark.figures.style import save
from attrobust.benchmark.gallery.draw import gallery
from attrobust.benchmark.gallery.every import Gallery
from attrobust.benchmark.gallery.picking import Wanted, images_of, radii_of
from attrobust.benchmark.gallery.picture import Picture, Score
from attrobust.types import UsageError

__all__ = ["Picture", "Score", "gallery", "pictures", "save"]


def pictures(
    run: str | Path,
    *,
    methods: str = "",
    explainers: str = "",
    attacks: str = "",
    eps: str = "",
    images: str = "0,1,2,worst,median",
    metric: str = "",
    data_root: str | Path | None = None,
) -> Sequence[Picture]:
    """Pictures of attacked maps of a run, a sweep or a board, to be drawn by ``gallery``.

    Args:
        run: its folder.
        methods, explainers, attacks, eps, images, metric: as in ``run_benchmark.py gallery``.
        data_root: the folder that datasets are read from.

    Raises:
        UsageError: something is asked for that the run does not have, or a picture cannot be made.
    """
    wanted = Wanted(
        methods=methods,
        explainers=explainers,
        attacks=attacks,
        eps=radii_of(eps),
        images=images_of(images),
        metric=metric,
    )
    found = Gallery(Path(run), wanted, None if data_root is None else Path(data_root))
    made = found.pictures()
    if found.problems:
        raise UsageError("; ".join(found.problems))
    return made
