"""Of an attack's results the one that is worst by a metric, image by image, with its maps."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from attrobust.benchmark.evaluation.scores import harm
from attrobust.benchmark.evaluation.watching import Sight
from attrobust.maps.reduction import Reduction, reduce_map


@dataclass(kw_only=True, eq=False)
class Pairs:
    """Images before and after an attack, with the maps that are scored.

    Attributes:
        clean, attacked: images, B×C×H×W.
        clean_maps, attacked_maps: B×H×W, in float64 where the device has it.
        target: the explained classes, int64[B].
    """

    clean: Tensor
    attacked: Tensor
    clean_maps: Tensor
    attacked_maps: Tensor
    target: Tensor


class Worst:
    """Takes in what is seen of the results of an attack on one batch, see ``Watch``, and keeps the worst of each image.

    Args:
        reduction: of attributions to maps.
        higher_is_better: of the one metric that is watched.
    """

    def __init__(self, reduction: Reduction, *, higher_is_better: bool) -> None:
        self._reduction, self._higher_is_better = reduction, higher_is_better
        self._pairs: Pairs | None = None
        self._harm = torch.empty(0)

    def take(self, sight: Sight) -> None:
        """A further result of the attack."""
        done = harm(sight.scores[0], higher_is_better=self._higher_is_better)
        found = Pairs(
            clean=sight.clean,
            attacked=sight.attacked,
            clean_maps=reduce_map(sight.clean_attributions, self._reduction),
            attacked_maps=reduce_map(sight.attacked_attributions, self._reduction),
            target=sight.target,
        )
        if self._pairs is None:
            self._pairs, self._harm = found, done
            return
        # As where a score is taken: of equally bad results the first.
        worse = done > self._harm
        self._pairs.attacked[worse] = found.attacked[worse]
        self._pairs.attacked_maps[worse] = found.attacked_maps[worse]
        self._harm = torch.maximum(done, self._harm)

    @property
    def pairs(self) -> Pairs:
        """The clean images with the worst results."""
        if self._pairs is None:
            raise RuntimeError("no result of the attack was scored")
        return self._pairs


def joined(parts: list[Pairs]) -> Pairs:
    """The pairs of all batches."""
    return Pairs(**{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Pairs)})
