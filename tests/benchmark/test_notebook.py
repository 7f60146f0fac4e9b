"""``attrobust.evaluate`` and ``compare`` give the numbers of runs, for networks and tensors as people have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import attrobust
from attrobust import Evaluation, UsageError, load
from attrobust.attacks.topk import TopK
from attrobust.benchmark.data.digits import Digits
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.similarity.spearman import Spearman

QUICK: dict[str, Any] = {"attack": "topk:steps=2", "metrics": "topk:k=10%,spearman", "eps": "16/255", "audit": False}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return Digits().load(None).splits["test"].batch(range(6))


@pytest.fixture(scope="module")
def natural() -> nn.Module:
    return load("digits/natural")


@pytest.fixture(scope="module")
def result(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> Evaluation:
    metrics = "topk:k=10%,spearman,normalized-l2,insertion,deletion"
    return attrobust.evaluate(natural, *digits, **{**QUICK, "metrics": metrics, "name": "natural"})


def test_scores_are_those_of_a_run_to_the_last_digit(result: Evaluation, sweep_of_radii: Path) -> None:
    stored = attrobust.scores(sweep_of_radii)
    stored = stored[(stored.table == "eps 16/255") & (stored.method == "natural") & (stored.explainer == "saliency")]
    for title in result.titles:
        of = stored[(stored.metric == title) & stored.attack.isin(["topk:steps=2", ""])]
        assert len(of) == len(result)
        assert result.frame[title].tolist() == of.score.tolist(), title


def test_means_and_intervals_are_those_of_the_table(result: Evaluation, sweep_of_radii: Path) -> None:
    table = attrobust.results(sweep_of_radii)
    table = table[(table.table == "eps 16/255") & (table.method == "natural") & (table.explainer == "saliency")]
    table = table[(table.attack == "topk:steps=2") & (table.subset == "all")].set_index("metric")
    columns = {"mean": "mean", "low": "ci_low", "high": "ci_high", "median": "median", "worst": "worst"}
    for title, scored in zip(result.titles[:3], result.scores[:3], strict=True):
        mine, line = result.summary().loc[title], table.loc[title]
        for name, other in columns.items():
            assert round(mine[name], scored.facts.decimals) == line[other], name


def test_maps_and_images_are_what_was_scored(result: Evaluation, natural: nn.Module) -> None:
    ranks = [
        stats.spearmanr(a.flatten(), b.flatten()).statistic
        for a, b in zip(result.maps.clean.numpy(), result.maps.attacked.numpy(), strict=True)
    ]
    assert result.frame["Spearman"].to_numpy() == pytest.approx(ranks, abs=1e-12)
    assert (result.attacked - result.x).abs().max() <= 16 / 255 + 1e-6
    assert torch.equal(natural(result.attacked).argmax(dim=1), result.prediction)
    x = result.attacked[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(natural(x)[0, result.explained[0]], x)
    saliency = gradient.abs().sum(dim=1)
    assert torch.allclose(saliency, result.maps.attacked[:1].float(), rtol=1e-3, atol=1e-4)


def test_of_several_results_the_worst_by_the_first_metric_is_kept(
    natural: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    alone = [
        attrobust.evaluate(natural, *digits, **{**QUICK, "attack": "noise:draws=4", "metrics": metrics})
        for metrics in ("spearman,topk:k=10%", "topk:k=10%,spearman")
    ]
    for found in alone:
        first = found.scores[0]
        assert first.facts.name in ("spearman", "topk")
        pairs = zip(found.maps.clean.flatten(1), found.maps.attacked.flatten(1), strict=True)
        if first.facts.name == "spearman":
            assert first.values == pytest.approx([stats.spearmanr(a, b).statistic for a, b in pairs], abs=1e-12)
        else:
            top = [
                {*a.argsort(descending=True)[:78].tolist()} & {*b.argsort(descending=True)[:78].tolist()}
                for a, b in pairs
            ]
            assert first.values == pytest.approx([len(both) / 78 for both in top], abs=2 / 78)
    assert np.array_equal(alone[0].scores[0].values, alone[1].scores[1].values)


def test_names_and_objects_are_the_same(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    by_name = attrobust.evaluate(natural, *digits, **{**QUICK, "metrics": "spearman"})
    by_object = attrobust.evaluate(
        natural, *digits, explainer=Saliency(), attack=TopK(steps=2), metrics=Spearman(), eps=16 / 255, audit=False
    )
    assert by_name.frame.equals(by_object.frame)
    assert (by_object.explainer, by_object.attack) == ("saliency", "topk:steps=2")


def test_the_size_of_a_batch_decides_nothing(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    one, other = (attrobust.evaluate(natural, *digits, **{**QUICK, "batch_size": size}) for size in (2, 6))
    for a, b in zip(one.scores, other.scores, strict=True):
        assert a.values == pytest.approx(b.values, abs=1e-6)


def test_a_network_stays_as_it_is(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    network, x = load("digits/natural").train(), digits[0].clone()
    state, before = {key: value.clone() for key, value in network.state_dict().items()}, torch.get_rng_state()
    found = attrobust.evaluate(network, x, **QUICK)
    assert network.training
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, digits[0])
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(weights.grad is None for weights in network.parameters())
    assert "the network was in training mode; a copy in evaluation mode is evaluated" in found.notes


class Meddling(nn.Module):
    """Sets and draws what belongs to the process whenever it computes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(mode=True)
        np.random.seed(0)
        return logits + 0 * torch.rand(())


def test_what_a_network_sets_in_the_process_is_put_back(digits: tuple[Tensor, Tensor], result: Evaluation) -> None:
    drawn, of_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with torch.no_grad():
        found = attrobust.evaluate(Meddling(load("digits/natural")), *digits, **QUICK)
        assert not torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), drawn)
    assert np.random.get_state()[1].tolist() == of_numpy
    assert found.frame["Spearman"].equals(result.frame["Spearman"])


def test_a_single_image_is_its_own_partner_which_is_noted(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    found = attrobust.evaluate(natural, digits[0][:1], **QUICK)
    assert [note for note in found.notes if "has no other image for a partner" in note]
    given = attrobust.evaluate(natural, digits[0][:1], partners=digits[0][1:2], **QUICK)
    assert not [note for note in given.notes if "partner" in note]


class Tupled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(x), x.mean()


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (Tupled, "what Tupled returns was made into one logit for each of 10 classes"),
        (nn.DataParallel, "DataParallel computes the same as the network inside, which is used"),
        (lambda network: network.double(), "x was float32 and is now float64, as the network's weights"),
    ],
)
def test_what_is_adapted_is_said_and_changes_no_score(
    wrap: Callable[[nn.Module], nn.Module], note: str, result: Evaluation, digits: tuple[Tensor, Tensor]
) -> None:
    found = attrobust.evaluate(wrap(load("digits/natural")), *digits, **QUICK)
    assert note in found.notes
    assert f"note: {note}" in " ".join(repr(found).split())
    assert found.frame["Spearman"].to_numpy() == pytest.approx(result.frame["Spearman"].to_numpy(), abs=1e-3)


def test_a_plain_network_and_a_transformer_are_evaluated_without_labels() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 16, 16)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    vit = VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    nn.init.normal_(vit.heads[0].weight)
    for network in (plain, vit):
        found = attrobust.evaluate(network, x, **QUICK)
        assert found.accuracy is None
        assert found.frame.label.isna().all()
        assert np.isfinite(found.scores[0].values).all()


class Returning(nn.Module):
    """Returns the same row for every image, or raises what it was made of."""

    def __init__(self, row: Tensor | Exception) -> None:
        super().__init__()
        self.row, self.weight = row, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.row, Exception):
            raise self.row
        return x.mean(dim=(1, 2, 3))[:, None] * self.row * self.weight


class Overwriting(nn.Module):
    """A network that subtracts a mean from its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = load("digits/natural")

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.sub_(0.1))  # type: ignore[no-any-return]


class Bad(NamedTuple):
    """Arguments, and what is said of them."""

    change: dict[str, Any]
    said: str


BAD = {
    "name": Bad({"attack": "topkk"}, "Did you mean 'topk'"),
    "class": Bad({"attack": TopK}, "give an instance: TopK(…)"),
    "axis": Bad({"explainer": TopK()}, "explainer must be a name such as"),
    "none": Bad({"metrics": []}, "name a metric"),
    "twice": Bad({"metrics": "spearman,spearman"}, "twice"),
    "training": Bad({"metrics": "roar"}, "trains networks anew"),
    "masks": Bad({"metrics": "localization"}, "needs object masks"),
    "source": Bad({"attack": "transfer"}, "give that as source_model"),
    "eps": Bad({"eps": 8}, "write 8/255, not 8"),
    "epsilon": Bad({"eps": "much"}, "not a number"),
    "norm": Bad({"norm": "l1"}, "norm must be linf or l2"),
    "label": Bad({"label": "top"}, "label must be"),
    "reduction": Bad({"reduction": "mean"}, "reduction must be"),
    "batch": Bad({"batch_size": 0}, "batch_size must be at least 1"),
    "part of a batch": Bad({"batch_size": 2.5}, "batch_size must be a whole number"),
    "seed": Bad({"seed": "a"}, "seed must be a whole number"),
    "kept": Bad({"keep_prediction": "no"}, "keep_prediction must be True or False"),
    "no eps": Bad({"eps": None}, "eps must be a number"),
    "number": Bad({"metrics": 3}, "metric must be a name"),
    "lent by others": Bad({"attack": "transfer", "source_model": Returning(torch.ones(3))}, "source_model: "),
    "lent": Bad({"attack": "transfer", "source_model": 3}, "source_model must be a torch.nn.Module"),
    "unlabelled": Bad({"label": "true", "y": None}, "give them as y"),
    "range": Bad({"x": 255 * torch.rand(2, 1, 28, 28), "y": None}, "must be in [0, 1]"),
    "bytes": Bad({"x": torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "y": None}, "divide 8-bit pixels by 255"),
    "array": Bad({"x": np.zeros((2, 1, 28, 28)), "y": None}, "must be a tensor"),
    "single": Bad({"x": torch.rand(1, 28, 28), "y": None}, "must be B×C×H×W"),
    "empty": Bad({"x": torch.rand(0, 1, 28, 28), "y": None}, "no images"),
    "channels": Bad({"x": torch.rand(2, 3, 28, 28), "y": None}, "does not take x, 2×3×28×28"),
    "count": Bad({"y": torch.zeros(5, dtype=torch.int64)}, "one class for each of 6 images"),
    "classes": Bad({"y": torch.full((6,), 10)}, "the network has 10, from 0"),
    "shares": Bad({"y": torch.zeros(6)}, "whole numbers"),
    "text": Bad({"y": list("abcdef")}, "as whole numbers, not list"),
    "no values": Bad({"y": torch.zeros(6, dtype=torch.int64, device="meta")}, "y must be an ordinary tensor"),
    "partners": Bad({"partners": [1, 2]}, "partners must be a tensor"),
    "few partners": Bad({"partners": torch.rand(2, 1, 28, 28)}, "partners are 2×1×28×28, the images 6×1×28×28"),
    "list of masks": Bad({"masks": [True]}, "masks must be a tensor of bool"),
    "masks without values": Bad({"masks": torch.ones(6, 28, 28).bool().to("meta")}, "masks must be an ordinary tensor"),
    "several eps": Bad({"eps": torch.tensor([0.1, 0.2])}, "eps must be a number such as"),
    "endless eps": Bad({"eps": 10**5000}, "not one beyond all floats"),
    "model": Bad({"model": lambda x: x}, "must be a torch.nn.Module"),
    "weights": Bad({"model": nn.Flatten()}, "has no parameters"),
    "odd error": Bad({"model": Returning(KeyError("a"))}, "Returning does not take x, 6×1×28×28: 'a'"),
    "half": Bad({"model": load("digits/natural").half()}, "turn it: network.float()"),
    "lazy": Bad({"model": nn.Sequential(nn.Flatten(), nn.LazyLinear(10))}, "has no values for '1.weight' yet"),
    "overwriting": Bad({"model": Overwriting()}, "changes the images it is given"),
    "types": Bad({"model": nn.Sequential(load("digits/natural"), nn.Linear(10, 10).double())}, "Double"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str, natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    given = {"model": natural, "x": digits[0].clone(), "y": digits[1], **QUICK, **BAD[case].change}
    with pytest.raises((UsageError, ValueError)) as refused:
        attrobust.evaluate(**given)
    assert BAD[case].said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "one channel" not in str(refused.value)
    assert "x" in BAD[case].change or torch.equal(given["x"], digits[0])


def test_a_network_that_guesses_is_asked_about_normalisation(natural: nn.Module) -> None:
    x, y = Digits().load(None).splits["test"].batch(range(40))
    upside = nn.Sequential(attrobust.Normalize([0.5], [20.0]), natural)
    found = attrobust.evaluate(upside, x, y, **{**QUICK, "attack": "noise:draws=1", "metrics": "cosine"})
    (note,) = [line for line in found.notes if "guessing" in line]
    assert "attrobust.Normalize(mean, std)" in note


@pytest.mark.parametrize(("last", "told"), [(nn.Softmax(1), "softmax"), (nn.LogSoftmax(1), "log_softmax")])
def test_probabilities_in_the_place_of_logits_are_noted(
    last: nn.Module, told: str, natural: nn.Module, digits: tuple[Tensor, Tensor], said: list[str]
) -> None:
    found = attrobust.evaluate(nn.Sequential(natural, last), *digits, **QUICK)
    (note,) = [line for line in found.notes if "leave that layer out" in line]
    assert f"output of {told}:" in note
    assert any(f"output of {told}:" in line for line in said), "architectures of plug-ins are told so too"


def test_a_failed_metric_leaves_the_others(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    class Broken(Spearman):
        def compare(self, a: Tensor, b: Tensor) -> Tensor:
            raise RuntimeError("out of order")

    found = attrobust.evaluate(natural, *digits, **{**QUICK, "metrics": [Spearman(), Broken()]})
    assert np.isfinite(found.scores[0].values).all()
    assert np.isnan(found.scores[1].values).all()
    assert "metric Broken: RuntimeError: out of order" in found.notes


def test_it_is_shown_in_a_hundred_columns_and_hostile_names_are_text(
    natural: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    found = attrobust.evaluate(natural, *digits, **{**QUICK, "name": "<script>{0}</script>"})
    assert max(map(len, repr(found).splitlines())) <= 100
    html = found._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;{0}" in html
    assert f"{found.summary().loc['Spearman', 'mean']:.3f}" in html
    assert f"{found.summary().loc['Spearman', 'mean']:.3f}" in repr(found)


def test_pictures_are_of_the_images_asked_for(result: Evaluation) -> None:
    assert len(result.plot("worst").axes) == len(result.plot(0).axes) == 6
    figure = result.plot(["worst", 3])
    words = " ".join(text.get_text() for text in figure.texts)
    assert f"image {result.summary().loc['top-10% (%)', 'worst_image']}, worst of 6" in words
    assert "image 3" in words
    for wrong in ([6], ["best"], []):
        with pytest.raises(UsageError):
            result.plot(wrong)  # type: ignore[arg-type]


def test_flags_are_those_of_the_audit(digits: tuple[Tensor, Tensor]) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = load("digits/natural")

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x + 0.01 * torch.randn_like(x))
            return logits

    found = attrobust.evaluate(Noisy(), *digits, **{**QUICK, "audit": True})
    assert "stochastic-forward" in [flag.name for flag in found.flags]
    assert "flag stochastic-forward: " in repr(found)


def test_networks_are_compared_image_by_image(natural: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    networks = {"natural": natural, "twin": load("digits/natural"), "robust": load("digits/aga")}
    found = attrobust.compare(networks, *digits, **QUICK)
    natural_ranks = found.ranks.loc["natural"].tolist()
    assert found.ranks.loc["twin"].tolist() == natural_ranks
    wide = found.frame.pivot_table(index="image", columns="model", values="Spearman")
    pairs = found.pairs().set_index(["metric", "first", "second"])
    line = pairs.loc[("Spearman", "natural", "robust")]
    assert line.difference == pytest.approx((wide["natural"] - wide["robust"]).mean())
    assert line.low < line.difference < line.high
    assert pairs.loc[("Spearman", "natural", "twin"), "difference"] == 0
    assert len(found.summary()) == 6
    assert max(map(len, repr(found).splitlines())) <= 100
    assert "robust" in found._repr_html_()
    assert len(found.plot(2).axes) == 18
    with pytest.raises(UsageError, match="two networks at least"):
        attrobust.compare({"natural": natural}, *digits)
    with pytest.raises(ValueError, match="other: model must be"):
        attrobust.compare({"natural": natural, "other": 3}, *digits, **QUICK)  # type: ignore[dict-item]


def test_a_metric_without_a_value_is_noted_with_where_its_docs_are(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    found = attrobust.evaluate(load("digits/natural"), x, y, attack="noise", metrics="cosine,aga-bound")
    assert found.notes == (
        f"aga-bound is undefined for {len(x)} of {len(x)} images; "
        "run_benchmark.py --list metrics:aga-bound says when it is",
    )
