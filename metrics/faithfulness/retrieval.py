"""Whether an explanation leads back to the decision an attack has changed: Lim, Lee and Kim, CVPR 2021."""

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
    """``1[argmax f(x' ⊙ m) = argmax f(x)]``, m the attacked image's explanation (RelEx, arXiv 2103.14332).

    The mask is the signed attribution in absolute value, pixel by pixel and channel by channel, divided by its largest
    value in the image. It multiplies the normalised image: where it is 0, the mean colour of the channel remains.
    Undefined (NaN) where there is no mask, an attribution being zero everywhere or not finite.

    The official code explains the attacked image for the class of the clean one, which nobody who is attacked knows; an
    explainer that looks for what keeps a class retrieves it then almost by construction.

    Attributes:
        label: the class that is explained: ``predicted``, what the network says of the attacked image, or ``oracle``,
            what it says of the clean one.
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
        wanted: Tensor = case.model(case.clean).argmax(dim=1)
        explained = wanted if self.label == "oracle" else case.model(case.attacked).argmax(dim=1)
        size = case.explain(case.attacked, explained).abs()
        largest = size.amax(dim=(1, 2, 3), keepdim=True)
        usable = (largest > 0) & largest.isfinite()
        mean = input_mean(case.model)
        retrieved = case.model(mean + size / largest * (case.attacked - mean)).argmax(dim=1)
        score: Tensor = (retrieved == wanted).to(case.clean)
        return score.masked_fill(~usable.flatten(), float("nan"))
