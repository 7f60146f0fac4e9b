"""Pictures of an evaluation, as the gallery of a run has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from attrobust.arrays import Floats
from attrobust.benchmark.gallery.picking import RANKS, Image, ranked
from attrobust.benchmark.gallery.picture import Picture, Score
from attrobust.types import UsageError

if TYPE_CHECKING:
    from attrobust.benchmark.notebook.result import Evaluation


def pictures(result: Evaluation, images: Sequence[Image]) -> list[Picture]:
    """A picture for each image.

    Args:
        result: of an evaluation.
        images: positions, and ranks by the first metric.

    Raises:
        UsageError: no image is asked for, or one that there is not.
    """
    if not images:
        raise UsageError("name an image, e.g. plot([0, 'worst'])")
    return [_picture(result, image) for image in images]


def _picture(result: Evaluation, image: Image) -> Picture:
    place = _place(result, image)
    explained = str(int(result.explained[place]))
    return Picture(
        table="",
        row="",
        scores_sha256="",
        method=result.name,
        explainer=result.explainer,
        attack=result.attack,
        dataset="own images",
        threat=str(result.threat),
        image=place,
        chosen=image,
        images=len(result),
        explained=explained,
        true=explained if result.y is None else str(int(result.y[place])),
        clean=_array(result.x[place]),
        attacked=_array(result.attacked[place]),
        clean_map=_array(result.maps.clean[place]),
        attacked_map=_array(result.maps.attacked[place]),
        reduction=result.reduction,
        scores=tuple(
            Score(metric=scored.facts, value=float(scored.values[place]), stored=float(scored.values[place]))
            for scored in result.scores
        ),
        feasible=bool(result.feasible[place]),
        origin="computed",
    )


def _place(result: Evaluation, image: Image) -> int:
    if isinstance(image, str):
        if image not in RANKS:
            raise UsageError(f"{image!r} is neither a position nor {' or '.join(map(repr, RANKS))}")
        first = result.scores[0]
        place = ranked(first.values, image, higher=first.facts.higher_is_better)
        if place is None:
            raise UsageError(f"there is no {image} image: {first.facts.title} is undefined for all; name a position")
        return place
    if not 0 <= image < len(result):
        raise UsageError(f"there is no image {image}; there are {len(result)}, from 0")
    return image


def _array(values: Tensor) -> Floats:
    return values.double().numpy()
