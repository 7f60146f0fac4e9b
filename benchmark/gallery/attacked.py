"""Pictures of a cell: its images are attacked, explained and scored as its run did, and drawn as they were scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from attrobust.arrays import Floats
from attrobust.benchmark.boards.given import Given
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.sample import StoredCell
from attrobust.benchmark.evaluation.kept import KeptResults, decoded, some_of
from attrobust.benchmark.evaluation.watching import Sight
from attrobust.benchmark.gallery.picking import Image, named_among, ranked
from attrobust.benchmark.gallery.picture import Origin, Picture, Score
from attrobust.benchmark.gallery.planning import Batch, planned
from attrobust.benchmark.gallery.watching import watched
from attrobust.benchmark.run.pieces import name_of
from attrobust.benchmark.store.contests import read_images
from attrobust.benchmark.store.pieces import Pieces
from attrobust.maps.reduction import Reduction, reduce_map
from attrobust.types import UsageError

REDUCED = {"channels": "sum", "abs-channels": "abs-sum"}
"""How maps are drawn that a metric compares channel by channel."""


class CellPictures:
    """Makes the pictures of a cell.

    Args:
        cell: on disk, with the rows that tables show.
        opener: of its board.
        images: positions and ranks, by position of the metric by which the worst and the median image are found. Where
            the cell was contested it may be one metric only.
        again: whether images whose attack is not kept are attacked again; else they are left out.

    Attributes:
        count: of pictures that there will be.
        missing: one line for every image that there is no picture of.
        attacked_again: images that have to be attacked again.
        seconds: that these attacks took where the cell was computed.

    Raises:
        UsageError: the network, the images or the scores are not there.
    """

    def __init__(
        self, cell: StoredCell, opener: Opener, images: Mapping[int, Sequence[Image]], *, again: bool = True
    ) -> None:
        self._cell, self._opener = cell, opener
        self._stored = [cell.store.load(row).scores for row in cell.standing]
        opener.network(cell)
        self._name = name_of(cell.rows[0].cell, opener.images(cell.rows[0]).split.sha256)
        self.missing: list[str] = []
        places = dict(self._found(images))
        plan = list(planned(cell, next(iter(images), 0), sorted(set(places.values())), self._name))
        self._batches = [batch for batch in plan if again or batch.origin != "computed again"]
        there = {place for batch in self._batches for place in batch.rows}
        self._places = {asked: place for asked, place in places.items() if place in there}
        self.count = len(self._places)
        self.attacked_again = sum(len(batch.rows) for batch in self._batches if batch.origin == "computed again")
        self.seconds = cell.rows[0].seconds * self.attacked_again / max(1, cell.images)

    def pictures(self) -> Iterator[Picture]:
        """In the order of the metrics and images; raises UsageError where one cannot be made."""
        made: dict[tuple[int, Image], Picture] = {}
        for batch in self._batches:
            seen, feasible = self._seen(batch)
            for (metric, image), place in self._places.items():
                if place in batch.rows:
                    index = batch.rows.index(place)
                    found = self._picture(
                        metric, place, seen, index, feasible=bool(feasible[index]), origin=batch.origin
                    )
                    made[metric, image] = found.chosen_as(image)
        yield from (made[asked] for asked in self._places)

    def _found(self, images: Mapping[int, Sequence[Image]]) -> Iterator[tuple[tuple[int, Image], int]]:
        """The position of every image that there is."""
        for metric, image in ((metric, image) for metric, some in images.items() for image in some):
            facts, scores = self._cell.standing[metric].metric, self._stored[metric]
            place = image if isinstance(image, int) else ranked(scores, image, higher=facts.higher_is_better)
            if place is None:
                self.missing.append(f"no {image} image, since {facts.title} is undefined for all")
            elif place >= self._cell.images:
                self.missing.append(f"no image {place}, since there are {self._cell.images}")
            else:
                yield (metric, image), place

    def _seen(self, batch: Batch) -> tuple[list[Sight], Tensor]:
        cell, rows, part = self._cell, batch.rows, batch.part
        if batch.contest:
            shown = read_images(cell.store.folder, batch.contest)
            return watched(cell, self._opener, rows, attack=Given.of(shown.x, shown.ids))
        if not part:
            return watched(cell, self._opener, rows)
        clean, data = self._opener.images(cell.rows[0]).take(part).x, Pieces(cell.store.folder)
        try:
            whole = decoded(data.results(self._name, part), clean)
        except ValueError as error:
            raise UsageError(f"its kept images cannot be read: {error}") from error
        known = some_of(whole, range(rows.start - part.start, rows.stop - part.start))
        return watched(cell, self._opener, rows, attack=Given(images={}), kept=KeptResults(known, wanted=False))

    def _picture(
        self, metric: int, place: int, seen: Sequence[Sight], index: int, *, feasible: bool, origin: Origin
    ) -> Picture:
        """The picture of an image: of the result of the attack whose score the metric takes."""
        cell, opener, standing = self._cell, self._opener, self._cell.standing
        row, facts, comparison = standing[metric], cell.rows[0].cell, cell.store.plan().comparison
        values = np.array([float(sight.scores[metric][index]) for sight in seen])
        sight = seen[ranked(values, "worst", higher=row.metric.higher_is_better) or 0]
        how = reduction_of(row.metric.settings.get("maps", "protocol"), facts.reduction)
        order = [metric, *(other for other in range(len(standing)) if other != metric)]
        classes = opener.data(facts).classes
        return Picture(
            table=cell.run,
            row=row.fingerprint,
            scores_sha256=row.scores_sha256,
            method=named_among(cell),
            explainer=cell.explainer,
            attack=cell.attack,
            dataset=comparison.dataset,
            threat=comparison.threat,
            image=place,
            chosen=place,
            images=cell.images,
            explained=classes[int(sight.target[index])],
            true=classes[int(opener.images(cell.rows[0]).split.labels[place])],
            clean=_array(sight.clean[index]),
            attacked=_array(sight.attacked[index]),
            clean_map=_array(reduce_map(sight.clean_attributions[index : index + 1], how)[0]),
            attacked_map=_array(reduce_map(sight.attacked_attributions[index : index + 1], how)[0]),
            reduction=how,
            scores=tuple(
                Score(
                    metric=standing[other].metric,
                    value=float(sight.scores[other][index]),
                    stored=float(self._stored[other][place]),
                    of_same_result=len(seen) == 1 or other == metric,
                )
                for other in order
            ),
            feasible=feasible,
            origin=origin,
        )


def reduction_of(maps: str, protocol: str) -> Reduction:
    """How maps are drawn that a metric compares.

    Args:
        maps: the setting of the metric.
        protocol: the reduction of the protocol.
    """
    return cast("Reduction", protocol if maps == "protocol" else REDUCED.get(maps, maps))


def _array(values: Tensor) -> Floats:
    return values.to(torch.float64).numpy()
