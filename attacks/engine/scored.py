"""Base class of attacks that lower one score named by a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from torch import Tensor

from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.feasible import Objective
from attrobust.attacks.objectives import scores
from attrobust.maps import ssim
from attrobust.maps.rows import Norm
from attrobust.types import Amount

Score = Literal["topk", "spearman", "kendall", "pearson", "cosine", "normalized-l2", "ssim"]


@dataclass(frozen=True, kw_only=True)
class Scored(Attack):
    """An attack on one score that compares the attacked map with the clean one; scores are named like metrics.

    Attributes:
        score: name of the score that is lowered; ``normalized-l2``, a distance, is raised.
        k: pixels of ``topk``, a count or a percentage.
        by: the norm that ``normalized-l2`` divides maps by.
    """

    score: Score = "cosine"
    k: Amount = Amount(10, percent=True)
    by: Norm = "l2"

    def __post_init__(self) -> None:
        parent = getattr(super(), "__post_init__", None)
        if parent is not None:
            parent()
        for name, score in (("k", "topk"), ("by", "normalized-l2")):
            if self.score != score and getattr(self, name) != getattr(Scored, name):
                raise ValueError(f"{name} has no effect with score={self.score}; it is of score={score}")

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError where k is more than a map has or all of it, or the map is smaller than SSIM's window."""
        if self.score == "topk" and self.k.of(height * width) == height * width:
            raise ValueError(f"k={self.k} is every pixel of a map, of which any other has as many")
        if self.score == "ssim" and min(height, width) < ssim.SIZE:
            raise ValueError(f"ssim needs maps of at least {ssim.SIZE}×{ssim.SIZE}, not {height}×{width}")

    def objective(self, context: Context, x: Tensor, y: Tensor) -> Objective:
        """The score itself."""
        return self.measure(context.maps(x, y))

    def measure(self, clean: Tensor) -> Objective:
        """The score against clean maps, B×H×W."""
        match self.score:
            case "topk":
                return scores.topk(clean, self.k.of(clean[0].numel()))
            case "spearman":
                return scores.spearman(clean)
            case "kendall":
                return scores.kendall(clean)
            case "pearson":
                return scores.pearson(clean)
            case "cosine":
                return scores.cosine(clean)
            case "normalized-l2":
                return scores.normalized_l2(clean, self.by)
            case "ssim":
                return scores.ssim(clean)
            case _:
                assert_never(self.score)
