"""Small pictures in a page: those of the worst images behind its numbers that runs have, up to a size."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrobust.benchmark.report.page.evidence import WORST
from attrobust.benchmark.report.table import Leaderboard
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.thumbnails import Thumbnails

CAP = 3_000_000
"""Bytes that pictures add to a page at most."""
ELEMENT = re.compile(r'<script type="application/json" id="pictures">[^<]*</script>')


def pictures(boards: Sequence[Leaderboard], data: Mapping[str, Any], cap: int = CAP) -> dict[str, object]:
    """Pictures as URIs, and by fingerprint of the row and image which is which; empty where there are none.

    The worst image of every number comes first, then the second of every number, until the cap is reached.

    Args:
        boards: of the page.
        data: what the page shows, see ``payload``.
        cap: bytes of all URIs.
    """
    known = _known(boards)
    uris: dict[str, int] = {}
    found: dict[str, dict[str, int]] = {}
    size = 0
    for row, image in _worst(data) if known else ():
        png = known[row][0].of(known[row][1], image) if row in known else None
        if png is None:
            continue
        uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        if uri not in uris and size + len(uri) > cap:
            break
        size += 0 if uri in uris else len(uri)
        found.setdefault(row, {})[str(image)] = uris.setdefault(uri, len(uris))
    return {"uris": [*uris], "of": found} if found else {}


def without_pictures(page: str) -> str:
    """A page without its pictures, which come and go with files of the run, and are not held to its rows."""
    return ELEMENT.sub("", page)


def _known(boards: Sequence[Leaderboard]) -> dict[str, tuple[Thumbnails, ScoredRow]]:
    """By fingerprint the rows of runs that have pictures."""
    stores = {store.folder: store for board in boards for store in board.stores}
    return {
        row.fingerprint: (thumbnails, row)
        for store in stores.values()
        if (thumbnails := Thumbnails(store.folder)).exist
        for row in store.rows().values()
        if isinstance(row, ScoredRow)
    }


def _worst(data: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Row and image behind every number, the worst images of all first."""
    numbers = [number for cells in data["cells"] for number in cells.values() if number.get("worst")]
    for rank in range(WORST):
        for number in numbers:
            if rank < len(number["worst"]):
                yield number["row"], number["worst"][rank][0]
