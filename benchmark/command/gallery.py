"""``gallery``: pictures of attacked maps of finished runs as files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from attrobust.benchmark.command.saying import say, tell
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.request.plugins import load_plugin
from attrobust.naming.lists import listed
from attrobust.types import UsageError


def gallery(options: argparse.Namespace) -> int:
    """Write pictures; returns the exit code: 1 where there was nothing to draw at all."""
    from attrobust.benchmark.figures.style import formats_of, save
    from attrobust.benchmark.gallery.picking import Wanted, images_of, radii_of

    wanted = Wanted(
        methods=options.methods,
        explainers=options.explainers,
        attacks=options.attacks,
        eps=radii_of(options.eps),
        images=images_of(options.images),
        metric=options.metric,
    )
    formats = formats_of(listed(options.format, "--format"))
    folder: Path = options.out or options.run / "gallery"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; name a folder")
    for path in options.plugin:
        load_plugin(path)
    # Imported late, so that mistakes in what was typed are answered at once.
    from tqdm import tqdm

    from attrobust.benchmark.boards.board import stores_of
    from attrobust.benchmark.gallery.draw import gallery as draw
    from attrobust.benchmark.gallery.every import Gallery, pages
    from attrobust.benchmark.gallery.thumbnails import keep

    found = Gallery(options.run, wanted, options.data_root)
    cost = ", of attacks that the run kept"
    if again := found.attacked_again:
        cost = f"; {again} images are attacked again; where the run was made this took {found.seconds:.0f} s"
    tell(f"{options.run}: {found.count} pictures of {len(found.cells)} cells{cost}")
    with tqdm(total=found.count, desc="pictures", unit="picture", leave=False, disable=None) as bar:
        made = found.pictures(bar.update)
    for line in found.problems:
        tell(f"note: {line}")
    for page in pages(made, options.by):
        figure = draw(page.pictures, by=options.by)
        for kind in formats:
            path = folder / f"{page.name}.{kind}"
            save(figure, path)
            say(str(path))
    if options.out is None and made:
        # A page made later takes them in.
        keep(made, stores_of(options.run))
    return 0 if made else 1


def page_pictures(
    boards: Sequence[Leaderboard], runs: Sequence[Path], data_root: Path | None, plugins: Sequence[Path]
) -> None:
    """Draw the worst images that a page of runs names, as far as these kept their attacks.

    Args:
        boards: of the page.
        runs: folders.
        data_root: the folder that datasets are read from.
        plugins: that the runs were made with.
    """
    for path in plugins:
        load_plugin(path)
    from tqdm import tqdm

    from attrobust.benchmark.boards.board import stores_of
    from attrobust.benchmark.gallery.thumbnails import PagePictures

    for run in runs:
        found = PagePictures(boards, stores_of(run), run, data_root)
        with tqdm(total=len(found.cells), desc="pictures", unit="cell", leave=False, disable=None) as bar:
            count = found.write(bar.update)
        for line in found.problems:
            tell(f"note: {line}")
        hint = "" if count else "; it keeps no attacked images, but gallery draws some that the page then has"
        tell(f"{run}: {count} small pictures of the worst images{hint}")
