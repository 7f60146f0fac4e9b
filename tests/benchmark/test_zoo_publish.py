"""``publish`` turns the weights of a run into ones that come with attrobust, and refuses what would not be the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrobust import UsageError, load
from attrobust.benchmark.checkpoints import card as cards
from attrobust.benchmark.checkpoints.card import WeightCard
from attrobust.benchmark.checkpoints.commit import UNKNOWN, commit_of
from attrobust.benchmark.checkpoints.publish import accuracy_on_test, in_half
from attrobust.benchmark.command.main import main
from attrobust.benchmark.command.publish import name_of
from attrobust.benchmark.data.base import Loaded
from attrobust.benchmark.training.loop import save_tensors
from attrobust.files import file_sha256
from attrobust.methods import registry as methods

from helpers.runs import FAST, SMALL, run, written_rows

Capture = pytest.CaptureFixture[str]
TRAIN = [*FAST, *SMALL, "--methods", "natural,softplus:beta=5", "--epochs", "8", "--seeds", "0,1", "--workers", "1"]
NAMES = ["natural", "natural-seed1", "softplus-beta5", "softplus-beta5-seed1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained four small networks."""
    folder = tmp_path_factory.mktemp("trained")
    assert main([*TRAIN, "--retrain", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the shipped checkpoints."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(cards, "SHIPPED", folder)
    monkeypatch.setattr("attrobust.benchmark.command.publish.SHIPPED", folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def copied(trained: Path, folder: Path, pattern: str) -> Path:
    """The only weight file of a copy of a run whose name matches."""
    shutil.copytree(trained / "checkpoints", folder / "checkpoints")
    for path in (folder / "checkpoints").iterdir():
        if not path.match(pattern):
            path.unlink()
    (found,) = (folder / "checkpoints").glob("*.pt")
    return found


def write_weights(file: Path, name: str, values: torch.Tensor) -> None:
    """Put other values in the place of one weight, and their hash into the card."""
    state = torch.load(file, weights_only=True)
    save_tensors(file, {**state, name: values})
    path = file.with_suffix(".toml")
    replace(WeightCard.read(path), sha256=file_sha256(file)).write(path)


def test_published_weights_are_those_of_the_run_in_half_precision_and_load_as_float32(
    trained: Path, shelf: Path, digits: Loaded, capsys: Capture
) -> None:
    code, out, err = run(["publish", trained], capsys)
    assert code == 0, err
    assert sorted(cards.shipped()) == [f"digits/{name}" for name in NAMES]
    assert [line.split()[:2] for line in out.splitlines()] == [["published", f"digits/{name}"] for name in NAMES]
    for path in sorted((trained / "checkpoints").glob("*.toml")):
        before = WeightCard.read(path)
        name = name_of(before)
        after = WeightCard.read(cards.shipped()[name])
        assert replace(after, sha256=before.sha256, job=before.job, published=None) == before
        full, network = torch.load(path.with_suffix(".pt"), weights_only=True), load(name)
        assert not network.training
        for key, value in network.state_dict().items():
            assert value.dtype == full[key].dtype
            rounded = full[key].half().float() if value.is_floating_point() else full[key]
            assert torch.equal(value, rounded)
        assert after.published is not None
        assert after.published.test_accuracy == accuracy_on_test(network, digits)
        assert after.published.test_images == len(digits.splits["test"])
        assert after.published.test_accuracy > 0.3
        size = (shelf / f"{name}.pt").stat().st_size
        assert after.published.size == size < 0.7 * path.with_suffix(".pt").stat().st_size


def test_a_run_finds_published_weights_and_its_rows_are_theirs(
    trained: Path, shelf: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["publish", trained], capsys)[0] == 0
    words = [*TRAIN, "--out", tmp_path / "run"]
    _, out, _ = run([*words, "--dry-run"], capsys)
    assert "to train" not in out
    assert out.count("shipped") == 4
    assert run(words, capsys)[0] == 0
    of_rows = {row["cell"]["checkpoint_sha256"] for row in written_rows(tmp_path / "run").values()}
    assert of_rows == {WeightCard.read(path).sha256 for path in cards.shipped().values()}
    assert run(["verify", tmp_path / "run"], capsys)[0] == 0


def test_publishing_again_changes_nothing_and_restores_what_is_damaged(
    trained: Path, shelf: Path, capsys: Capture
) -> None:
    assert run(["publish", trained], capsys)[0] == 0
    before = contents(shelf)
    code, out, _ = run(["publish", trained], capsys)
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == {"unchanged"}
    assert contents(shelf) == before
    (shelf / "digits" / "natural.pt").unlink()
    (shelf / "digits" / "softplus-beta5.pt").write_bytes(b"spoilt")
    assert run(["publish", trained, "--methods", "natural,softplus"], capsys)[0] == 0
    assert contents(shelf) == before


def test_other_weights_of_the_same_name_are_refused_unless_they_are_a_new_version(
    trained: Path, shelf: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["publish", trained], capsys)[0] == 0
    file = copied(trained, tmp_path / "other", "natural-seed0*")
    state = torch.load(file, weights_only=True)
    last = list(state)[-1]
    write_weights(file, last, state[last] + 0.25)
    before = contents(shelf)
    code, _, err = run(["publish", tmp_path / "other"], capsys)
    assert code == 1
    assert "digits/natural is published with other weights" in err
    assert "--replace publishes these as version 2" in err
    assert contents(shelf) == before
    assert run(["publish", tmp_path / "other", "--replace"], capsys)[0] == 0
    card = WeightCard.read(shelf / "digits" / "natural.toml")
    assert card.published is not None
    assert card.published.version == 2
    assert torch.equal(load("digits/natural").state_dict()[last], (state[last] + 0.25).half().float())
    assert {name for name, content in contents(shelf).items() if content != before[name]} == {
        "digits/natural.pt",
        "digits/natural.toml",
    }


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda value: torch.full_like(value, 7e4), "reaches 70000, and half precision ends at 65504"),
        (lambda value: torch.full_like(value, float("nan")), "reaches nan"),
        # Each class has the same logit but for differences that half precision rounds away.
        (lambda value: 1000 + torch.linspace(-0.2, 0.2, len(value)), "in half precision and"),
    ],
)
def test_weights_that_half_precision_changes_are_refused(
    spoil: object, said: str, trained: Path, shelf: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert callable(spoil)
    file = copied(trained, tmp_path / "other", "natural-seed0*")
    state = torch.load(file, weights_only=True)
    last = list(state)[-1]
    if "in half" in said:
        write_weights(file, list(state)[-2], 1e-9 * state[list(state)[-2]])
    write_weights(file, last, spoil(state[last]))
    code, _, err = run(["publish", tmp_path / "other"], capsys)
    assert code == 1
    assert said in err
    assert contents(shelf) == {}


def test_what_is_not_whole_or_of_other_images_is_refused_and_the_rest_is_published(
    trained: Path, shelf: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "other" / "checkpoints")
    first, second, *_ = sorted((tmp_path / "other" / "checkpoints").glob("*.toml"))
    first.with_suffix(".pt").write_bytes(b"spoilt")
    card = WeightCard.read(second)
    replace(card, dataset={**card.dataset, "train_sha256": "0" * 64}).write(second)
    code, out, err = run(["publish", tmp_path / "other"], capsys)
    assert code == 1
    assert [line.split()[1] for line in out.splitlines()] == ["digits/softplus-beta5", "digits/softplus-beta5-seed1"]
    assert f"refused: {first.stem}" in err
    assert "not what its card says" in err
    assert "the train images of digits here are not those it was trained with" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["publish", "no-such-run"], "no-such-run has no trained weights in checkpoints/"),
        (["publish", "RUN", "--methods", "agaa"], "Did you mean 'aga'?"),
        (["publish", "RUN", "--methods", "hessian"], "no run has trained hessian"),
        (["publish", "RUN", "--url", "https://example.org"], "--url needs --files"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    words: list[str], said: str, trained: Path, shelf: Path, capsys: Capture
) -> None:
    code, out, err = run([str(trained) if word == "RUN" else word for word in words], capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert contents(shelf) == {}


def test_a_file_too_large_for_the_package_needs_a_url(
    trained: Path, shelf: Path, tmp_path: Path, capsys: Capture
) -> None:
    words = ["publish", trained, "--methods", "natural", "--largest", "1000"]
    code, _, err = run(words, capsys)
    assert code == 1
    assert "name with --url" in err
    assert contents(shelf) == {}
    files = tmp_path / "files"
    assert run([*words, "--url", "https://example.org/zoo/", "--files", files], capsys)[0] == 0
    assert list(contents(shelf)) == ["digits/natural-seed1.toml", "digits/natural.toml"]
    card = WeightCard.read(shelf / "digits" / "natural.toml")
    assert card.published is not None
    assert card.published.url == "https://example.org/zoo/digits/natural.pt"
    assert file_sha256(files / "digits" / "natural.pt") == card.sha256


def test_names_say_what_had_to_be_typed(trained: Path) -> None:
    (path,) = (trained / "checkpoints").glob("natural-seed0*.toml")
    card = WeightCard.read(path)
    assert name_of(card) == "digits/natural"
    assert name_of(card, under="scans") == "scans/natural"
    assert name_of(replace(card, seed=2), "long") == "digits/natural-seed2-long"
    assert name_of(replace(card, model={"name": "resnet18", "settings": {}})) == "digits/resnet18-natural"
    settings = {"beta": 3.0, "eps": 8 / 255, "l2": 0.01, "cosd": 1.0, "delta": "uniform", "detach": False}
    assert set(settings) == set(vars(methods.get("aga")()))
    changed = replace(card, method={"name": "aga", "settings": settings})
    assert name_of(changed) == "digits/aga-eps8-255-detachfalse"
    with pytest.raises(UsageError, match="is no name"):
        name_of(card, "../elsewhere")


def test_whole_numbers_stay_as_they_are() -> None:
    state = {"weight": torch.tensor([1 / 3]), "batches": torch.tensor(70_001)}
    halved = in_half(state, "here")
    assert halved["batches"].dtype == torch.int64
    assert int(halved["batches"]) == 70_001
    assert halved["weight"].dtype == torch.float16


def test_a_commit_is_named_only_where_its_sources_trained_the_weights() -> None:
    assert commit_of("0" * 64, None) == UNKNOWN
    with pytest.raises(UsageError, match="HEAD did not train these weights"):
        commit_of("0" * 64, "HEAD")
    with pytest.raises(UsageError, match="is no commit of"):
        commit_of("0" * 64, "no-such-revision")
