"""Retrieval: whether masking with the attacked map restores the clean prediction: Lim, Lee and Kim, CVPR 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from attrobust.metrics import register
from attrobust.metrics.base import Quality
from attrobust.metrics.shared.case import Case
from attrobust.networks.smoothed import input_mean


@register("retrieval")
@dataclass(frozen=True, kw_only=True)
class Retrieval(Quality):
    """Whether the attacked image times its map has the clean prediction, ``argmax f(x' ⊙ m) = argmax f(x)``.

    From RelEx, arXiv 2103.14332.

    The mask m is the attribution in absolute value, pixel by pixel and channel by channel, divided by its largest value
    in the image. It multiplies the normalised image: where it is 0, the mean colour of the channel remains. Undefined
    (NaN) where the attribution is zero everywhere or not finite.

    The official code explains the attacked image for the class of the clean one, which is unknown under attack; an
    explainer that optimises a mask to preserve a class then retrieves it almost by construction.

    Attributes:
        label: the class that is explained: ``predicted``, the prediction for the attacked image, or ``oracle``, that
            for the clean one.
    """

    label: Literal["predicted", "oracle"] = "predicted"

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scale: ClassVar[float] = 100.0
    decimals: ClassVar[int] = 1

    @property
    def title(self) -> str:
        """E.g. ``retrieval, predicted (%)``."""
        return f"retrieval, {self.label} (%)"

    def judge(self, case: Case) -> Tensor:
        """See ``Quality.judge``."""
        clean_class: Tensor = case.model(case.clean).argmax(dim=1)
        explained = clean_class if self.label == "oracle" else case.model(case.attacked).argmax(dim=1)
        size = case.explain(case.attacked, explained).abs()
        largest = size.amax(dim=(1, 2, 3), keepdim=True)
        usable = (largest > 0) & largest.isfinite()
        mean = input_mean(case.model)
        retrieved = case.model(mean + size / largest * (case.attacked - mean)).argmax(dim=1)
        score: Tensor = (retrieved == clean_class).to(case.clean)
        return score.masked_fill(~usable.flatten(), float("nan"))
