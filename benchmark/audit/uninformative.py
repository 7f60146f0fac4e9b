"""Flags about maps that say nothing of what the network does: manipulated networks and empty explainers.

A network can be trained so that its maps are a pattern of somebody's choice while its predictions stay (Heo et al.
2019, arXiv:1902.02041; Anders et al. 2020, arXiv:2007.09969), and an explainer can draw edges of the image. Such maps
hardly move under attack.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attrobust.benchmark.audit.case import STILL, AuditCase
from attrobust.benchmark.audit.filling import filled
from attrobust.benchmark.statistics.signflip import sign_flip
from attrobust.metrics.similarity.pearson import Pearson
from attrobust.networks.copying import independent_copy
from attrobust.types import Flag

SAME = 0.95
"""Correlation of the maps of two networks from which on they count as the same."""
ALIKE = 0.7
"""Correlation of the maps of images of different classes from which on they count as alike."""
SHARES = (0.05, 0.1, 0.2)
"""Shares of the pixels that are replaced."""
ORDERS = 8
"""Number of random orders of the pixels that a map's order is held against."""
LEVEL = 0.01
"""P-value below which the effects of two orders differ."""
ENOUGH = 8
"""Number of images without which no p-value is below LEVEL."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What replacing pixels does to the log-odds of the explained class: means over ``SHARES``, float[B].

    Attributes:
        marked: how far they fall when the pixels of largest value in the map are replaced.
        random: the same for random pixels, the mean of ``ORDERS`` orders.
    """

    marked: Tensor
    random: Tensor

    @property
    def gain(self) -> float:
        """How much more the marked pixels matter than random ones, on average."""
        return float((self.marked - self.random).mean())

    @property
    def p(self) -> float:
        """P-value of the paired test that marked and random pixels matter alike."""
        return float(sign_flip((self.marked - self.random).double().cpu().numpy()[None])[0])

    @property
    def words(self) -> str:
        """Both effects as a flag says them."""
        marked, random = float(self.marked.mean()), float(self.random.mean())
        return f"log-odds fall by {marked:.3g} and by {random:.3g} for random ones, p = {self.p:.2g}"


def uninformative(case: AuditCase) -> list[Flag]:
    """The flags of maps that do not depend on the network, or on the image, or mark what does not matter.

    An explainer that says itself that it ignores the network is a sanity-check baseline and raises none.
    """
    if type(case.explainer).ignores_network:
        return []
    removal = removed(case)
    return maps_ignore_weights(case) + maps_ignore_image(case, removal) + marks_unused_pixels(removal)


def maps_ignore_weights(case: AuditCase) -> list[Flag]:
    """Raised where maps stay when the weights are shuffled (Adebayo et al. 2018, arXiv:1810.03292)."""
    alike = correlation(case.maps, case.scored.maps(case.x, case.y, model=shuffled(case.scored.model)))
    if not alike >= SAME:
        return []
    reason = f"maps of the network with its weights shuffled have a mean correlation of {alike:.3f} with the network's"
    return [Flag(name="maps-ignore-weights", reason=reason)]


def maps_ignore_image(case: AuditCase, removal: Removal) -> list[Flag]:
    """Raised where images of different classes have like maps, and these mark nothing that matters.

    It is not raised where maps are exactly the same whatever the image, as gradients of a linear network are.
    """
    if case.apart <= STILL or len(case.y) < ENOUGH:
        return []
    partners = case.scored.partners
    alike = correlation(case.maps, case.scored.maps(partners, case.scored.predict(partners)))
    if not alike >= ALIKE or (removal.gain > 0 and removal.p < LEVEL):
        return []
    reason = (
        f"maps of images of different classes have a mean correlation of {alike:.3f}, and the pixels that they mark "
        f"matter no more than random ones ({removal.words})"
    )
    return [Flag(name="maps-ignore-image", reason=reason)]


def marks_unused_pixels(removal: Removal) -> list[Flag]:
    """Raised where the pixels that maps mark matter less than random ones."""
    if removal.gain >= 0 or removal.p >= LEVEL:
        return []
    reason = f"the pixels that maps mark matter less to the prediction than random ones ({removal.words})"
    return [Flag(name="marks-unused-pixels", reason=reason)]


def removed(case: AuditCase) -> Removal:
    """Replace pixels in the order of the maps, and in random orders."""
    generator, size = torch.Generator().manual_seed(0), case.maps.flatten(1).shape
    maps = case.maps.flatten(1).nan_to_num()

    def draws() -> Tensor:
        return torch.rand(size, generator=generator, dtype=torch.float64).to(maps.device)

    # Pixels of equal value are in a random order.
    shuffle = draws().argsort(dim=1)
    order = shuffle.gather(1, maps.gather(1, shuffle).argsort(dim=1, descending=True, stable=True))
    with torch.no_grad():
        before = log_odds(case.scored.model, case.x, case.y)
        marked = before - _after(case, order)
        random = before - torch.stack([_after(case, draws().argsort(dim=1)) for _ in range(ORDERS)]).mean(dim=0)
    return Removal(marked=marked, random=random)


def _after(case: AuditCase, order: Tensor) -> Tensor:
    """The log-odds when the first pixels of an order, int64 B×HW, are replaced: the mean over ``SHARES``, float[B]."""
    found = []
    for share in SHARES:
        kept = torch.ones_like(order, dtype=torch.bool)
        kept.scatter_(1, order[:, : round(share * order.shape[1])], value=False)
        images = filled(case.x, kept.view(len(order), 1, *case.x.shape[2:]))
        found.append(log_odds(case.scored.model, images, case.y))
    return torch.stack(found).mean(dim=0)


def log_odds(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Logarithm of the odds of classes int64[B] against all others, float[B]."""
    logits: Tensor = model(x)
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(dim=1)


def shuffled(model: nn.Module) -> nn.Module:
    """A copy in which every tensor of weights has its numbers in a random order; buffers stay as they are."""
    copy, generator = independent_copy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copy.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return copy


def correlation(a: Tensor, b: Tensor) -> float:
    """Mean Pearson correlation of maps B×H×W over the images for which it is defined; NaN where there are none."""
    return float(Pearson()(a, b).nanmean())
