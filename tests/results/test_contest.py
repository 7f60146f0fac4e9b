"""A number is contested with stronger images: what is stronger is kept beside what was published, nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attrobust.arrays import Floats
from attrobust.attacks.base import Context
from attrobust.attacks.direct import Direct
from attrobust.benchmark.boards.board import stores_of
from attrobust.benchmark.boards.handed import HandedIn, image_sha256, read_handed_in, write_handed_in
from attrobust.benchmark.boards.opened import Opener
from attrobust.benchmark.boards.rules import complaints
from attrobust.benchmark.boards.sample import cells_of
from attrobust.benchmark.gallery import pictures
from attrobust.benchmark.store.contests import standing
from attrobust.benchmark.store.rows import ScoredRow
from attrobust.benchmark.store.store import Store
from attrobust.explainers.saliency import Saliency
from attrobust.maps.reduction import reduce_map
from attrobust.threat import ThreatModel

from helpers.boards import ATTACK, COMMAND, NAME, broken, made, rewritten, row_of, with_scores
from helpers.runs import run

EPS, FINDER = 16 / 255, "A. Finder"


@dataclass(frozen=True)
class Found:
    """Attacked images of AGA's row, and the clean ones they are made of."""

    x: Floats
    clean: Floats

    def write(self, path: Path, **changes: Any) -> Path:
        """The file that is handed in, or another one."""
        facts = {"ids": np.arange(6), "method": "aga", "explainer": "saliency", "eps": EPS, "attack": ATTACK}
        values: dict[str, Any] = {"x": self.x, "clean": self.clean, **facts, **changes}
        write_handed_in(path, values.pop("x"), **values)
        return path


@pytest.fixture(scope="module")
def found(published: Path) -> Found:
    """The result of a longer attack than the board's."""
    (cell,) = [
        cell for cell in cells_of(stores_of(published / NAME)) if (cell.subject.label, cell.attack) == ("aga", ATTACK)
    ]
    opener = Opener(published / NAME, None)
    model, part = opener.network(cell), opener.images(cell.rows[0]).take(range(6))
    context = Context(
        model=model,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=EPS),
        ids=range(6),
        partners=part.partners,
    )
    attacked = Direct(score="topk", steps=15)(context, part.x, context.predict(part.x))
    return Found(attacked.x.double().numpy(), part.x.double().numpy())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_stronger_images_stand_beside_what_was_published(
    found: Found, results: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = found.write(tmp_path / "images.npz")
    board, old = results / NAME, Store(published / NAME)
    code, out, err = run(["verify", board, "--stronger", images, "--by", FINDER], capsys)
    assert code == 0, err
    assert f"aga (seed 0) / saliency / {ATTACK} / topk:k=10%: worse on" in out
    assert "tables are written again" in out
    # The rows of the run are as they were, and the new ones keep the worst of each image.
    rows, before = Store(board).rows(), old.rows()
    assert {key: rows[key] for key in before} == before
    assert (board / "rows.jsonl").read_bytes().startswith((published / NAME / "rows.jsonl").read_bytes())
    for metric, sign in (("topk:k=10%", 1), ("spearman", 1), ("normalized-l2", -1)):
        base = row_of(published / NAME, metric=metric)
        new = standing(rows)[base.fingerprint]
        if new == base:
            continue
        was, now = old.load(base), Store(board).load(new)
        assert (sign * (now.scores - was.scores) <= 0).all()
        improved = now.worst == len(now.members) - 1
        assert (now.scores[~improved] == was.scores[~improved]).all()
        assert int(improved.sum()) == new.contests[0].improved
        assert new.contests[0].by == now.members[-1] == FINDER
        assert new.members[FINDER] == improved.mean()
    assert standing(rows)[row_of(board, metric="topk:k=10%").fingerprint].contests
    # Tables show it and say who found it; the board is sound, and moves no number unseen.
    text = (board / "leaderboard.md").read_text()
    assert f"aga, saliency, {ATTACK}, top-10% (%): contested by {FINDER}, whose attack is stronger on" in text
    assert " †" in text
    assert FINDER in (board / "leaderboard.csv").read_text()
    assert "\\textsuperscript{\\dag{}}" in (board / "leaderboard.tex").read_text()
    assert complaints(results, published) == []
    code, out, _ = run(["verify", board, "--recompute", "3", "--images", "3"], capsys)
    assert code == 0, out
    # The same again changes nothing.
    after = files(board)
    code, out, _ = run(["verify", board, "--stronger", images, "--by", "B. Second"], capsys)
    assert code == 0
    assert "no image is stronger than what is published" in out
    assert files(board) == after
    # Nor can it be taken back.
    assert {"number-moved", "row-removed"} == broken(published, results)


def test_the_gallery_shows_the_images_of_a_contest_where_the_number_is_theirs(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board, images = results / NAME, found.write(tmp_path / "images.npz")
    assert run(["verify", board, "--stronger", images, "--by", FINDER], capsys)[0] == 0
    row = standing(Store(board).rows())[row_of(board, metric="topk:k=10%").fingerprint]
    assert isinstance(row, ScoredRow)
    loaded = Store(board).load(row)
    theirs = loaded.worst == loaded.members.index(FINDER)
    assert theirs.sum() > 0
    for picture in pictures(board, methods="aga", attacks=ATTACK, images="0-5", metric="topk:k=10%"):
        assert (picture.origin == "contest") == theirs[picture.image]
        assert picture.scores[0].agrees
        assert picture.scores[0].stored == loaded.scores[picture.image]
        if picture.origin == "contest":
            assert np.abs(picture.attacked - found.x[picture.image]).max() < 1e-6


def test_a_second_contest_adds_to_the_first(
    found: Found, results: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = results / NAME
    for part, name in ((slice(0, 3), "A. First"), (slice(3, 6), "B. Second")):
        some = {"x": found.x[part], "clean": found.clean[part], "ids": np.arange(6)[part]}
        images = found.write(tmp_path / f"{name}.npz", **some)
        code, out, err = run(["verify", board, "--stronger", images, "--by", name], capsys)
        assert code == 0, err
        assert "numbers contested by" in out
    at_once = tmp_path / "at-once"
    shutil.copytree(published, at_once)
    images = found.write(tmp_path / "images.npz")
    run(["verify", at_once / NAME, "--stronger", images, "--by", "A. First"], capsys)
    key = row_of(board, metric="topk:k=10%").fingerprint
    both, one = (standing(Store(folder / NAME).rows())[key] for folder in (results, at_once))
    np.testing.assert_array_equal(*(Store(f / NAME).load(r).scores for f, r in ((results, both), (at_once, one))))
    assert [contest.by for contest in both.contests] == ["A. First", "B. Second"]
    assert complaints(results, published) == []
    code, out, _ = run(["verify", board, "--recompute", "2", "--images", "2"], capsys)
    assert code == 0, out


def test_images_that_flip_the_prediction_count_for_nothing(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cell,) = [
        cell for cell in cells_of(stores_of(results / NAME)) if (cell.subject.label, cell.attack) == ("aga", ATTACK)
    ]
    model = Opener(results / NAME, None).network(cell)
    x = torch.from_numpy(found.clean).float().requires_grad_()
    predicted = model(x).argmax(dim=1)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), predicted, reduction="sum"), x)
        moved = ThreatModel(eps=EPS).project(torch.from_numpy(found.clean).float(), x + 2 / 255 * gradient.sign())
        x = moved.detach().requires_grad_()
    flipped = (model(x).argmax(dim=1) != predicted).numpy()
    assert flipped.any()
    some = {"x": x.detach().numpy()[flipped], "clean": found.clean[flipped], "ids": np.flatnonzero(flipped)}
    before = files(results)
    images = found.write(tmp_path / "images.npz", **some)
    code, out, _ = run(["verify", results / NAME, "--stronger", images, "--by", FINDER], capsys)
    assert code == 0
    assert "no image is stronger" in out
    assert files(results) == before


def test_eight_bit_images_are_projected_and_not_refused(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounded = np.rint(255 * found.x) / 255 + 0.4 / 255 * np.sign(found.x - found.clean)
    images = found.write(tmp_path / "images.npz", x=rounded.clip(0, 1))
    code, out, err = run(["verify", results / NAME, "--stronger", images, "--by", FINDER], capsys)
    assert code == 0, err
    shown = cells_of(stores_of(results / NAME))
    (row,) = [row for cell in shown for row in cell.standing if row.contests and row.metric.name == "topk"]
    with np.load(results / NAME / "contests" / f"{row.contests[0].images_sha256}.npz") as kept:
        assert np.abs(kept["x"] - found.clean[kept["ids"]]).max() > EPS  # As handed in: whoever scores it projects it.
    assert "worse on" in out


def wrong_files() -> dict[str, tuple[Callable[[Found], dict[str, Any]], str]]:
    """What is wrong with a file, and the words that say so."""
    other = np.zeros((6, 1, 16, 16))
    return {
        "far out of the ball": (lambda f: {"x": (f.clean + 24 / 255).clip(0, 1)}, "out of the ball linf 16/255"),
        "other images": (lambda f: {"clean": f.clean[::-1]}, "is another one than clean_sha256 says"),
        "other positions": (lambda _: {"ids": np.arange(1, 7)}, "position 6, and the board is about the first 6"),
        "another list": (lambda _: {"x": other, "clean": other}, "is another one than clean_sha256 says"),
        "another shape": (lambda _: {"x": np.zeros((6, 1, 28, 28))}, "images of 1×28×28"),
        "not finite": (lambda f: {"x": np.where(f.x > 0.5, np.nan, f.x)}, "NaN or infinite"),
        "not in [0, 1]": (lambda f: {"x": 255 * f.x}, "x must be in [0, 1]"),
        "no such method": (lambda _: {"method": "agaa"}, "no method agaa"),
        "no such seed": (lambda _: {"seed": 7}, "no seed 7"),
        "no such explainer": (lambda _: {"explainer": "ig"}, "no explainer ig"),
        "no such attack": (lambda _: {"attack": "auto"}, "no attack auto"),
        "another radius": (lambda _: {"eps": 8 / 255}, "it has linf 16/255"),
        "the same position twice": (lambda _: {"ids": np.zeros(6, dtype=np.int64)}, "each once"),
    }


@pytest.mark.parametrize("what", wrong_files())
def test_what_does_not_belong_is_refused_in_one_line(
    what: str, found: Found, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, words = wrong_files()[what]
    images, before = found.write(tmp_path / "images.npz", **changes(found)), files(published)
    code, out, err = run(["verify", published / NAME, "--stronger", images, "--by", FINDER], capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert words in err
    assert files(published) == before


def test_files_that_are_none_and_options_that_do_not_go_together_are_refused(
    found: Found, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, lacking, single = (tmp_path / name for name in ("good.npz", "bad.npz", "lacking.npz", "single.npz"))
    found.write(good)
    bad.write_bytes(b"PK nothing")
    np.savez(lacking, x=found.x)
    single.write_bytes(good.read_bytes()[:100])
    board = published / NAME
    for words, said in (
        (["--stronger", tmp_path / "none.npz", "--by", FINDER], "does not exist"),
        (["--stronger", bad, "--by", FINDER], "is no .npz file"),
        (["--stronger", single, "--by", FINDER], "is no .npz file"),
        (["--stronger", lacking, "--by", FINDER], "lacks ids, clean_sha256, method, seed, explainer, eps"),
        (["--stronger", good], "--by"),
        (["--by", FINDER], "--stronger"),
        (["--stronger", good, "--by", "two\nlines"], "--by"),
        ([board, "--stronger", good, "--by", FINDER], "takes one folder"),
        (["--recompute", "0"], "no whole number above 0"),
        (["--images", "4"], "are for --recompute"),
    ):
        code, _, err = run(["verify", board, *words], capsys)
        assert code == 2, words
        assert err.count("\n") == 1
        assert said in err


def test_a_board_that_is_not_sound_is_not_contested(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(results / NAME, lambda line: {**line, "seconds": 0.5}, signed=False)
    images = found.write(tmp_path / "images.npz")
    code, _, err = run(["verify", results / NAME, "--stronger", images, "--by", FINDER], capsys)
    assert code == 2
    assert "see verify" in err


def test_forged_contests_are_found(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board, images = results / NAME, found.write(tmp_path / "images.npz")
    assert run(["verify", board, "--stronger", images, "--by", FINDER], capsys)[0] == 0
    honest = tmp_path / "honest"
    shutil.copytree(results, honest)
    (kept,) = (board / "contests").glob("*.npz")
    data = kept.read_bytes()
    kept.unlink()
    assert "sound" in broken(results)
    kept.write_bytes(data[:-1])
    assert "sound" in broken(results)
    kept.write_bytes(data)
    assert broken(results) == set()
    rewritten(board, lambda line: None if line["fingerprint"] == row_of(board).fingerprint else line, signed=False)
    code, out, _ = run(["verify", board], capsys)
    assert code == 1
    assert "the row that it contests is missing" in out
    # Another name would claim what somebody else found.
    shutil.copytree(honest, results, dirs_exist_ok=True)

    def claimed(line: dict[str, Any]) -> dict[str, Any]:
        contests = [{**contest, "by": "C. Thief"} for contest in line.get("contests", [])]
        return {**line, "contests": contests} if contests else line

    rewritten(board, claimed)
    assert {"sound", "number-moved"} <= broken(results, honest)


def test_forged_scores_of_an_earlier_contest_do_not_come_out_again(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = results / NAME
    for part, name in ((slice(0, 3), "A. First"), (slice(3, 6), "B. Second")):
        some = {"x": found.x[part], "clean": found.clean[part], "ids": np.arange(6)[part]}
        images = found.write(tmp_path / f"{name}.npz", **some)
        assert run(["verify", board, "--stronger", images, "--by", name], capsys)[0] == 0
    rows = [row for row in Store(board).rows().values() if isinstance(row, ScoredRow) and row.metric.name == "topk"]
    first, second = (next(row for row in rows if len(row.contests) == count) for count in (1, 2))
    loaded = Store(board).load(first)
    place = int(np.flatnonzero(loaded.worst == len(loaded.members) - 1)[0])
    for row in (first, second):
        scores = Store(board).load(row).scores
        scores[place] = 0.0
        with_scores(board, row, scores.tolist())
    assert broken(results) == set()
    code, out, _ = run(["verify", board, "--recompute", "1", "--images", "1"], capsys)
    assert code == 1
    assert "contest of A. First: 1 of" in out
    assert "contest of B. Second" not in out


def test_a_contest_of_a_sweep_finds_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = made(tmp_path / "results", "--eps", "8/255,16/255", name="by-eps")
    folder = results / "by-eps"
    (cell,) = [
        cell
        for cell in cells_of(stores_of(folder))
        if (cell.subject.label, cell.attack) == ("natural", ATTACK) and "8/255" in cell.run and "16" not in cell.run
    ]
    opener = Opener(folder, None)
    part = opener.images(cell.rows[0]).take(range(6))
    context = Context(
        model=opener.network(cell),
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=8 / 255),
        ids=range(6),
        partners=part.partners,
    )
    attacked = Direct(score="topk", steps=15)(context, part.x, context.predict(part.x))
    some = Found(attacked.x.double().numpy(), part.x.double().numpy())
    images = some.write(tmp_path / "images.npz", method="natural", eps=8 / 255)
    code, out, err = run(["verify", folder, "--stronger", images, "--by", FINDER], capsys)
    assert code == 0, err
    assert "eps 8/255 / natural" in out
    assert FINDER in (folder / "leaderboard.md").read_text()
    assert FINDER in (folder / "eps-8-255" / "leaderboard.md").read_text()
    assert FINDER not in (folder / "eps-16-255" / "leaderboard.md").read_text()
    assert broken(results) == set()


def test_the_same_command_again_keeps_what_was_contested(
    found: Found, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = results / NAME
    run(["verify", board, "--stronger", found.write(tmp_path / "images.npz"), "--by", FINDER], capsys)
    text = (board / "leaderboard.md").read_text()
    code, _, err = run([*COMMAND, "--out", board], capsys)
    assert code == 0, err
    assert (board / "leaderboard.md").read_text() == text


def test_a_file_is_read_as_it_was_written(found: Found, tmp_path: Path) -> None:
    back = np.random.default_rng(0).permutation(6)
    shuffled = {"x": found.x[back], "clean": found.clean[back], "ids": np.arange(6)[back]}
    read = read_handed_in(found.write(tmp_path / "images.npz", seed=None, **shuffled))
    wanted = HandedIn(
        x=found.x.astype(np.float32),
        ids=np.arange(6),
        clean_sha256=tuple(map(image_sha256, found.clean)),
        method="aga",
        seed=None,
        explainer="saliency",
        eps=EPS,
        attack=ATTACK,
    )
    for name, value in asdict(wanted).items():
        np.testing.assert_array_equal(getattr(read, name), value)
    assert replace(read, seed=3).words == f"aga (seed 3) / saliency / {ATTACK} / eps 16/255"
