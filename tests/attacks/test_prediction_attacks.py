"""Attacks on the prediction: how strong they are, what they keep, what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import load
from attrobust.attacks.apgd import Apgd, Loss, objective
from attrobust.attacks.base import Attack, Context
from attrobust.attacks.engine.feasible import margins
from attrobust.attacks.engine.prediction import LowestMargin
from attrobust.attacks.pgd import Pgd
from attrobust.benchmark.data.base import Loaded
from attrobust.explainers.saliency import Saliency
from attrobust.threat import ThreatModel

ContextMaker = Callable[..., Context]


def free(norm: str, eps: float) -> ThreatModel:
    return ThreatModel(norm=norm, eps=eps, keep_prediction=False)  # type: ignore[arg-type]


def reached(attack: Attack, context: Context, x: Tensor) -> Tensor:
    """Margins of the clean prediction on what an attack returns, float[B]."""
    predicted = context.predict(x)
    images = attack(context, x, predicted).x
    with torch.no_grad():
        return margins(context.model(images), predicted)


@pytest.mark.parametrize("name", ["digits/natural", "digits/pgd-at"])
@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 8 / 255), ("linf", 24 / 255), ("linf", 40 / 255), ("l2", 0.5), ("l2", 1.5)]
)
def test_apgd_is_at_least_as_strong_as_pgd_with_as_many_passes(
    name: str, norm: str, eps: float, digits: Loaded, make_context: ContextMaker
) -> None:
    x, _ = digits.splits["test"].batch(range(48))
    context = make_context(load(name), Saliency(), x, threat=free(norm, eps))
    y = context.predict(x)
    auto, plain = Apgd(steps=20)(context, x, y), Pgd(steps=41)(context, x, y)
    assert auto.passes.forward <= plain.passes.forward
    assert auto.passes.backward <= plain.passes.backward
    kept = [int((context.predict(output.x) == y).sum()) for output in (auto, plain)]
    assert kept[0] <= kept[1]


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])
def test_pgd_takes_steps_of_its_share_of_the_ball(
    norm: str, eps: float, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    """Each from where it is, but for pixels whose slope is within rounding of zero."""
    model, x = load("digits/natural").double(), real_images[0][:4].double()
    y, seen = model(x).argmax(dim=1), list[Tensor]()
    context = make_context(model, Saliency(), x, threat=free(norm, eps))
    handle = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    try:
        Pgd(steps=6, step=0.3).run(context, x, y)
    finally:
        handle.remove()
    assert len(seen) == 1 + 1 + 6, "the clean images, the start and every step"
    for here, there in itertools.pairwise(seen[1:]):
        attached = here.clone().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(attached), y, reduction="sum"), attached)
        size = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        delta = here + 0.3 * eps * (slope.sign() if norm == "linf" else slope / size) - x
        if norm == "linf":
            delta = delta.clamp(-eps, eps)
        else:
            delta = delta * (eps / delta.flatten(1).norm(dim=1)).clamp_max(1.0).view(-1, 1, 1, 1)
        clear = slope.abs() > 1e-9 * size
        assert clear.double().mean() > 0.5
        assert ((x + delta).clamp(0, 1) - there)[clear].abs().max() < 1e-9


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_both_losses_lower_margins_and_more_steps_lower_them_further(
    loss: Loss, norm: str, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    context = make_context(network, Saliency(), x, threat=free(norm, 2 / 255 if norm == "linf" else 0.15))
    clean = margins(network(x), context.predict(x)).detach()
    few, many = (reached(Apgd(loss=loss, steps=steps), context, x) for steps in (2, 40))
    assert (many <= clean).all()
    # The ratio may fall by its denominator alone.
    assert (many < clean).sum() >= len(x) - (loss == "dlr")
    assert many.mean() < few.mean()


@pytest.mark.parametrize("attack", [Pgd(steps=7, step=0.6), Apgd(steps=7, loss="dlr")], ids=["pgd", "apgd"])
def test_what_is_kept_is_the_lowest_margin_of_all_that_was_tried(
    attack: Attack, network: nn.Module, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0][:1]
    context = make_context(network, Saliency(), x, threat=free("linf", 1 / 255))
    label, tried = int(context.predict(x)), list[float]()

    def watch(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        logits = output.detach()[0].tolist()
        tried.append(logits[label] - max(value for place, value in enumerate(logits) if place != label))

    handle = network.register_forward_hook(watch)
    try:
        images = attack(context, x, context.predict(x)).x
    finally:
        handle.remove()
    logits = network(images).detach()[0]
    left = logits[label] - logits[torch.arange(len(logits)) != label].max()
    assert len(tried) > 7
    assert abs(float(left) - min(tried)) < 1e-4


def test_margins_of_what_is_kept_are_those_of_the_clean_prediction() -> None:
    """Positive while it holds, and one image's iterate never displaces another's."""
    generator = torch.Generator().manual_seed(0)
    clean, *later = (torch.randn(5, 4, generator=generator) for _ in range(6))
    best = LowestMargin(torch.zeros(5, 1, 1, 1), clean)
    assert torch.equal(best.predicted, clean.argmax(dim=1))
    assert (best.margin > 0).all()
    rows = torch.tensor([3, 0, 4])
    for step, logits in enumerate(later, start=1):
        best.offer(torch.full((3, 1, 1, 1), float(step)), logits[:3], rows)
    for place, image in enumerate(rows.tolist()):
        seen = [clean[image], *(logits[place] for logits in later)]
        label = int(clean[image].argmax())
        values = [float(row[label] - max(row[other] for other in range(4) if other != label)) for row in seen]
        assert float(best.margin[image]) == min(values)
        assert float(best.x[image]) == values.index(min(values))
    assert float(best.x[[1, 2]].abs().max()) == 0


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_losses_are_those_of_the_paper(scale: float) -> None:
    logits = scale * torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    classes = torch.tensor([0, 1, 2, 3, 4, 0])
    for row, label, ce, dlr in zip(
        logits.tolist(), classes.tolist(), objective(logits, classes, "ce"), objective(logits, classes, "dlr"),
        strict=True,
    ):  # fmt: skip
        ordered = sorted(row, reverse=True)
        other = max(value for place, value in enumerate(row) if place != label)
        assert abs(float(dlr) - (row[label] - other) / (ordered[0] - ordered[2])) < 1e-9
        assert abs(float(ce) - float(F.log_softmax(torch.tensor(row, dtype=torch.float64), dim=0)[label])) < 1e-9


def test_two_classes_have_a_margin_where_the_ratio_has_no_third_logit(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    class Two(nn.Module):
        """Even against odd digits."""

        def __init__(self) -> None:
            super().__init__()
            self.model = load("digits/natural")

        def forward(self, x: Tensor) -> Tensor:
            logits = self.model(x)
            return torch.stack([logits[:, ::2].amax(dim=1), logits[:, 1::2].amax(dim=1)], dim=1)

    x = real_images[0]
    context = make_context(Two().eval(), Saliency(), x, threat=free("linf", 24 / 255))
    left = reached(Apgd(loss="dlr", steps=20), context, x)
    assert (left < 0).sum() >= len(x) / 2


def test_images_that_have_flipped_leave_the_batch(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    context = make_context(load("digits/natural"), Saliency(), x, threat=free("linf", 0.3))
    output = Apgd(steps=50)(context, x, context.predict(x))
    assert (context.predict(output.x) != context.predict(x)).all()
    assert output.passes.backward < 10 * len(x)


def test_restarts_are_further_walks_of_those_that_held(
    real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x = real_images[0]
    context = make_context(load("digits/pgd-at"), Saliency(), x, threat=free("linf", 20 / 255))
    once, thrice = (reached(Apgd(steps=5, restarts=restarts), context, x) for restarts in (1, 3))
    assert (thrice <= once + 1e-6).all()
    assert (thrice < once - 1e-3).any()


@pytest.mark.parametrize("attack", [Pgd(), Apgd()], ids=["pgd", "apgd"])
def test_rules_that_keep_the_prediction_leave_nothing_to_do(
    attack: Attack, real_images: tuple[Tensor, Tensor], make_context: ContextMaker
) -> None:
    x, y = (part[:2] for part in real_images)
    name = type(attack).__name__.lower()
    with pytest.raises(ValueError, match=f"{name} changes predictions; allow it with --allow-flips"):
        attack(make_context(load("digits/natural"), Saliency(), x), x, y)


@pytest.mark.parametrize(
    ("make", "message"),
    [(lambda: Apgd(steps=0), "steps=0 must be at least 1"), (lambda: Apgd(restarts=0), "restarts=0 must be")],
)
def test_bad_settings_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
