"""Tables follow from rows: whatever is edited in a plan, verify finds it or no table changes."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attrobust.benchmark.checkpoints.card import WeightCard, shipped
from attrobust.benchmark.command.main import main
from attrobust.benchmark.report import csv, text
from attrobust.benchmark.report.cards import read_cards
from attrobust.benchmark.report.claims import plan_problems
from attrobust.benchmark.report.labels import fits, says
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.write import as_json
from attrobust.benchmark.store.store import Store
from attrobust.types import Named, UsageError

from helpers.edits import Keys
from helpers.runs import run, write_plan, written_plan, written_rows

Capture = pytest.CaptureFixture[str]
WORDS = ["--methods", "aga:cosd=0.99,eps=16/255", "--images", "6", "--explainers", "saliency,ig:steps=4", "--metrics"]
WORDS += ["topk:k=10%,gini", "--attacks", "noise:draws=2,topk:steps=2", "--accuracy-attack", "apgd:steps=2"]
WORDS += ["--baselines", "constant-map,random-map,untrained", "--no-audit", "--epochs", "1"]
WORDS += ["--model", "lenet:width=2,hidden=4"]
UNSAID = {
    ("comparison", "code"): "rows have the digests of their own parts",
    ("comparison", "protocol"): "rows say name and version, not what a command changed",
    ("subjects", 1, "checkpoint"): "rows say which weights, not where they lay",
    ("subjects", 2, "checkpoint"): "the same",
    ("passes",): "rows say how networks were trained, not what a step of a method costs",
    ("passes", "aga:cosd=0.99,eps=16/255"): "the same",
    ("interval",): "chosen anew by report",
}
"""Places of a plan of which no row knows, but for the last of which its digest does."""
EVERY = 29
"""Of the entries, and of the words typed, one in so many is edited."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained row, two checkpoints, three sanity-check baselines."""
    folder = tmp_path_factory.mktemp("claims")
    words = [*WORDS]
    for name, source in {"mine": "pgd-at", "other": "trades"}.items():
        shutil.copy(shipped()[f"digits/{source}"].with_suffix(".pt"), folder / f"{name}.pt")
        words += ["--checkpoint", f"{name}={folder / name}.pt:lenet:width=16,hidden=64"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def places(value: Any, keys: Keys = ()) -> Iterator[Keys]:
    """Of everything in a plan."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        many = keys in (("entries",), ("argv",)) and key % EVERY
        # Settings are those of the first two subjects.
        again = keys[:1] == ("subjects",) and keys[1:2] > (1,) and len(keys) > 2
        if many or again:
            continue
        yield (*keys, key)
        yield from places(item, (*keys, key))


def at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


def put(plan: dict[str, Any], keys: Keys, new: object) -> dict[str, Any]:
    found = copy.deepcopy(plan)
    at(found, keys[:-1])[keys[-1]] = new
    return found


def edits(plan: dict[str, Any], keys: Keys) -> Iterator[dict[str, Any]]:
    """Other plans, each with one edit at a place: another value, a neighbour's, none; dropped, doubled, moved."""
    last, value, whole = keys[-1], at(plan, keys), at(plan, keys[:-1])
    others: list[object] = []
    if isinstance(last, int):
        for items in (
            [*whole[:last], *whole[last + 1 :]],
            [*whole[: last + 1], *whole[last:]],
            [*whole[:last], *reversed(whole[last : last + 2]), *whole[last + 2 :]],
        ):
            yield put(plan, keys[:-1], items)
    elif len(keys) > 2 and isinstance(keys[-2], int):
        siblings = {str(item[last]): item[last] for item in at(plan, keys[:-2]) if item[last] != value}
        others += [*siblings.values()][:1]
    if isinstance(value, bool):
        others.append(not value)
    elif isinstance(value, (int, float)):
        others.append(value + 1)
    elif isinstance(value, str):
        others += [f"{value}x", "", value.rpartition(",")[0] or value.partition(":")[0]]
    else:
        others += ["x", None, {}]
    yield from (put(plan, keys, other) for other in others if other != value)


def tables(store: Store) -> list[str]:
    board = build([store], store.plan().interval)
    return [csv.render(board), text.terminal(board), as_json(board)]


def test_whatever_is_edited_in_a_plan_verify_finds_it_or_no_table_changes(copied: Path) -> None:
    plan, store = written_plan(copied), Store(copied)
    shown, rows, (cards, _) = tables(store), store.rows(), read_cards(store)
    assert plan_problems(store.plan(), rows, cards) == []
    missed, changed = [], 0
    for keys in places(plan):
        for edited in edits(plan, keys):
            write_plan(copied, edited)
            try:
                # As if whoever edited it had mended the digest too: this is about the rows.
                forged = store.plan().signed()
                if plan_problems(forged, rows, cards):
                    changed += 1
                    continue
                store.write_plan(forged)
                if tables(store) != shown and keys not in UNSAID:
                    missed.append(keys)
            except UsageError:
                changed += 1
    assert missed == []
    assert changed > 200


@pytest.mark.parametrize(
    ("keys", "new"),
    [
        *(
            (("subjects", 0, "trained", "recipe", key), new)
            for key in ("epochs", "learning_rate")
            for new in ("x", None)
        ),
        (("subjects", 0, "trained", "recipe"), {}),
        (("subjects", 0, "trained", "start"), {"settings": {}}),
        (("subjects", 0, "method"), {}),
        (("checkpoints", "mine", "accuracy"), "x"),
        (("comparison", "attacks", 0), {}),
    ],
)
def test_a_plan_with_something_odd_in_an_open_place_is_found_in_words(
    keys: Keys, new: object, copied: Path, capsys: Capture
) -> None:
    write_plan(copied, put(written_plan(copied), keys, new))
    assert run(["report", copied], capsys)[0] == 0
    code, out, err = run(["verify", copied], capsys)
    assert (code, err) == (1, "")
    assert "run.json does not say what the rows say: " in out


@pytest.mark.parametrize("keys", [keys for keys in UNSAID if keys[0] not in ("interval", "passes")])
def test_what_no_row_knows_is_held_by_the_digest_of_the_plan(keys: Keys, copied: Path, capsys: Capture) -> None:
    plan = written_plan(copied)
    write_plan(copied, put(plan, keys, f"{at(plan, keys)}x"))
    assert run(["report", copied], capsys)[0] == 0
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "run.json is not as the run wrote it; run the same command again" in out
    assert run(["report", copied, "--interval", "bca"], capsys)[0] == 0
    assert "run.json is not as the run wrote it" in run(["verify", copied], capsys)[1], "report signs nothing"


def test_what_a_training_cost_is_held_by_the_digest_of_the_plan(copied: Path, capsys: Capture) -> None:
    write_plan(copied, put(written_plan(copied), ("passes", "aga:cosd=0.99,eps=16/255"), 1.0))
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "run.json is not as the run wrote it; run the same command again" in out


@pytest.mark.parametrize(("key", "value"), [("flags", []), ("guessing", 0.9), ("seconds", 0.0), ("trained", None)])
def test_what_is_edited_in_a_row_is_found_although_no_number_depends_on_it(
    key: str, value: object, copied: Path, capsys: Capture
) -> None:
    rows = list(written_rows(copied).values())
    row = next(
        row for row in rows if row["status"] == "ok" and row.get("trained") and row["metric"]["name"] == "accuracy"
    )
    row[key] = value
    (copied / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run(["report", copied], capsys)[0] == 0
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "(accuracy) is not as the run wrote it; remove its line from rows.jsonl to recompute it" in out


@pytest.mark.parametrize("key", ["mean", "ci"])
def test_a_number_that_is_edited_in_a_row_reaches_no_table(key: str, copied: Path, capsys: Capture) -> None:
    before = (copied / "leaderboard.csv").read_bytes()
    rows = list(written_rows(copied).values())
    for row in rows:
        if row["status"] == "ok":
            row[key] = 0.123 if key == "mean" else [0.1, 0.2]
    (copied / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run(["report", copied], capsys)[0] == 0
    assert (copied / "leaderboard.csv").read_bytes() == before


def test_intervals_that_the_run_computed_are_those_that_report_finds(copied: Path, capsys: Capture) -> None:
    before = (copied / "leaderboard.csv").read_bytes()
    rows = [{**row, "digest": ""} for row in written_rows(copied).values()]
    (copied / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert run(["report", copied], capsys)[0] == 0
    assert (copied / "leaderboard.csv").read_bytes() == before


def test_report_warns_of_a_plan_that_was_edited(copied: Path, capsys: Capture) -> None:
    plan = written_plan(copied)
    plan["metrics"][0]["scale"] = 1000.0
    write_plan(copied, plan)
    code, _, err = run(["report", copied], capsys)
    assert code == 0
    assert f"warning: {copied}/run.json is not as the run wrote it; see verify" in err


def test_an_interval_chosen_by_report_is_no_edit(copied: Path, capsys: Capture) -> None:
    assert run(["report", copied, "--interval", "bca"], capsys)[0] == 0
    assert written_plan(copied)["interval"] == "bca"
    assert run(["verify", copied], capsys)[0] == 0


def test_what_is_typed_in_another_way_is_the_same_row_and_the_same_truth(
    finished: Path, copied: Path, capsys: Capture
) -> None:
    words = ["--methods", "aga:eps=0.0627450980392156862,cosd=0.990", *WORDS[2:]]
    words[words.index("topk:k=10%,gini")] = "topk:preset=art,k=10%,gini"
    words[words.index("noise:draws=2,topk:steps=2")] = "noise:draws=2,topk:steps=2,k=10%,restarts=1"
    words[words.index("saliency,ig:steps=4")] = "saliency,ig:steps=4.0"
    for name in ("mine", "other"):
        words += ["--checkpoint", f"{name}={finished.parent / name}.pt:lenet:width=16,hidden=64,activation=relu"]
    before = (copied / "rows.jsonl").read_bytes()
    assert run([*words, "--out", copied], capsys)[0] == 0
    assert (copied / "rows.jsonl").read_bytes() == before
    assert run(["verify", copied], capsys)[:2] == (
        0,
        f"{copied}: {len(written_rows(copied))} rows recomputed and equal, 0 problems\n",
    )


AGA = Named(
    name="aga", settings={"eps": 8 / 255, "cosd": 1.0, "detach": True, "beta": None, "k": "10%", "norm": "linf"}
)


@pytest.mark.parametrize(
    ("label", "ways", "holds"),
    [
        ("aga", (), True),
        ("aga:eps=8/255,cosd=1,detach=TRUE,beta=none,k=10.0%,norm=linf", (("eps",),), True),
        ("aga:eps=0.03137254901960784", (("eps",),), True),
        ("aga:eps=8/256", (("eps",),), False),
        ("aga", (("eps",),), False),
        ("hessian:eps=8/255", (("eps",),), False),
        ("aga:eps=8/255,steps=3", (), False),
        ("aga:preset=paper", (("eps",), ("preset=paper",)), True),
        ("aga:preset=other", (("eps",), ("preset=paper",)), False),
        ("aga:preset=paper", (("eps",), ("preset=paper", "eps")), False),
        ("aga:preset=other,eps=8/255", (("eps",), ("preset=paper", "eps")), False),
        ("aga:", (), False),
    ],
)
def test_a_label_is_held_to_the_settings_it_stands_for(label: str, ways: Any, holds: bool) -> None:
    assert fits(label, AGA, ways) is holds


def test_a_number_is_not_a_word_that_looks_like_it() -> None:
    assert says("1", 1)
    assert not says("1", True)
    assert not says("none", "linf")
    assert says("none", "none")
    assert says("10.0%", "10%")
    assert says("10.0%", "10.0%"), "of a setting that is text"


def test_cards_and_weights_that_changed_places_are_found(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,softplus", *WORDS[2:], "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    assert run(["verify", tmp_path], capsys)[0] == 0
    natural, softplus = sorted((tmp_path / "checkpoints").glob("*.toml"))
    for suffix in (".toml", ".pt"):
        ours, theirs = natural.with_suffix(suffix).read_bytes(), softplus.with_suffix(suffix).read_bytes()
        natural.with_suffix(suffix).write_bytes(theirs)
        softplus.with_suffix(suffix).write_bytes(ours)
    code, out, _ = run(["verify", tmp_path], capsys)
    assert code == 1
    assert f"{natural} is the card of another training (softplus with seed 0): put the right files back" in out
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "log.txt"}
    code, _, err = run(words, capsys)
    assert code == 2
    assert "is the card of another training (softplus with seed 0; other" in err
    assert {path: path.read_bytes() for path in before} == before


def test_rows_of_weights_that_are_anothers_are_found(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", *WORDS[2:], "--out", tmp_path]
    assert run(words, capsys)[0] == 0
    (card,) = (tmp_path / "checkpoints").glob("*.toml")
    replace(WeightCard.read(card), seed=7).write(card)
    code, out, _ = run(["verify", tmp_path], capsys)
    assert code == 1
    assert "(accuracy): its weights are those of natural with seed 7" in out
