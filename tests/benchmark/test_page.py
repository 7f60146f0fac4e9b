"""The page says what the rows say, is the same each time it is written, and treats every name as text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.page.evidence import Evidence, distribution, range_of
from attrobust.benchmark.report.page.render import embedded
from attrobust.benchmark.report.table import Metric
from attrobust.benchmark.report.verify import verify
from attrobust.benchmark.report.write import page

from helpers import records
from helpers.runs import run
from helpers.tables import METRICS, write_table

HOSTILE = '</script><!--<img src="http://x.invalid" onerror="alert(1)">&amp;\u2028'


class Parts(HTMLParser):
    """Elements of a page, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def data_of(html: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Parts(html).scripts[0])
    return found


def number(data: dict[str, Any], method: str, **place: str) -> dict[str, Any]:
    row = [item["name"] for item in data["methods"]].index(method)
    wanted = {"subset": "all", **place}
    (column,) = [
        index
        for index, column in enumerate(data["columns"])
        if all(column[key] == value for key, value in wanted.items())
    ]
    found: dict[str, Any] = data["cells"][row][str(column)]
    return found


def test_numbers_of_the_page_are_those_of_the_scores(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"])
    board = build([store])
    found = number(data_of(page(board)), "bad", explainer="ig", attack="topk", metric="top-10% (%)")
    row = store.rows()["001ig-topk-topk"]
    scores, _ = store.load_scores(row)  # type: ignore[arg-type]
    assert found["text"] == f"{100 * scores.mean():.1f}"
    assert found["value"] == pytest.approx(100 * scores.mean(), rel=1e-6)
    assert found["low"] < found["value"] < found["high"]
    assert found["histogram"] == np.histogram(scores, bins=20, range=(0, 1))[0].tolist()
    assert [image for image, _ in found["worst"]] == np.argsort(scores, kind="stable")[:5].tolist()
    assert found["row"] == row.fingerprint
    assert found["passes"] == [1200, 1200, 1200]


def test_a_histogram_leaves_out_no_image_but_the_undefined() -> None:
    metric = Metric.of(METRICS[0])
    scores = np.array([-0.2, 0.5, np.nan, 1.3, 1.3])
    item = Evidence(row=records.scored("key"), scores=scores, images=np.arange(10, 15))
    shown = range_of([item], metric)
    assert shown == (-0.2, 1.3)
    found = distribution(item, metric, shown)
    assert found["histogram"] == [1, *[0] * 8, 1, *[0] * 9, 2]
    assert found["worst"] == [[10, "-20.0"], [11, "50.0"], [13, "130.0"], [14, "130.0"]]


def test_worst_images_of_a_subset_are_named_by_their_place_in_the_whole_list(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"])
    found = number(data_of(page(build([store]))), "good", subset="common", explainer="ig", attack="topk", metric="l2")
    scores, _ = store.load_scores(store.rows()["000ig-topk-l2"])  # type: ignore[arg-type]
    # The first network is wrong about image 0 and the second about image 1.
    ranked = [image for image in np.argsort(-scores, kind="stable").tolist() if image > 1]
    assert [image for image, _ in found["worst"]] == ranked[:5]
    assert sum(found["histogram"]) == 38


def test_methods_over_seeds_and_failed_cells_are_told(tmp_path: Path) -> None:
    data = data_of(page(build([write_table(tmp_path, ["good", "good", "bad"], failed="bad")])))
    assert [item["kind"] for item in data["methods"]] == ["network", "network", "network", "mean"]
    place = {"explainer": "ig", "attack": "topk", "metric": "l2"}
    over = number(data, "good, mean of 2 seeds", **place)
    assert over["seeds"] == 2 and over["interval"].startswith("±")
    # The seeds differ by a known amount.
    means = [number(data, f"good (seed {seed})", **place)["value"] for seed in (0, 1)]
    assert over["value"] == pytest.approx(sum(means) / 2, rel=1e-6)
    failed = number(data, "bad (seed 0)", **place)
    assert (failed["status"], failed["error"]) == ("failed", "out of luck")


def test_a_row_of_several_tables_stands_in_the_page_once(tmp_path: Path) -> None:
    boards = [
        replace(build([write_table(tmp_path / eps, ["good", "bad"], threat=f"linf {eps}/255")]), where=f"eps {eps}/255")
        for eps in ("4", "8")
    ]
    data = data_of(page(*boards))
    assert [item["name"] for item in data["methods"]] == ["good", "bad"]
    assert {column["threat"] for column in data["columns"]} == {"linf 4/255", "linf 8/255"}
    assert number(data, "good", table="eps 8/255", explainer="ig", attack="topk", metric="l2")["status"] == "ok"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    html = page(build([write_table(tmp_path, [HOSTILE, "plain"], reason=HOSTILE)]))
    parts = Parts(html)
    assert [tag for tag, _ in parts.tags].count("img") == 0
    assert len(parts.scripts) == 2
    assert data_of(html)["methods"][0]["name"] == HOSTILE
    assert "<!--" not in html


def test_embedded_json_ends_no_script_and_comes_back_as_it_was() -> None:
    text = embedded({"key": HOSTILE})
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text) == {"key": HOSTILE}
    assert json.loads(embedded({"a\0": ["\x1b[2J", "two\nlines"]})) == {"a\\x00": ["\\x1b[2J", "two\nlines"]}


def test_the_page_names_no_other_place(tmp_path: Path) -> None:
    tags = Parts(page(build([write_table(tmp_path, ["good", "bad"])]))).tags
    assert not [attributes for _, attributes in tags if "src" in attributes]
    assert [attributes["href"] for _, attributes in tags if "href" in attributes] == ["data:,"]


def test_the_page_of_a_real_run_has_cards_and_is_held_to_the_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "natural,aga", "--images", "8", "--explainers", "saliency", "--attacks", "topk:steps=2"]
    words += ["--metrics", "spearman,gini", "--no-audit", "--baselines", "constant-map", "--accuracy-attack", "none"]
    code, _, err = run([*words, "--workers", "1", "--export", "csv,html", "--out", tmp_path / "run"], capsys)
    assert code == 0 and "leaderboard.html" in err
    path = tmp_path / "run" / "leaderboard.html"
    before = path.read_bytes()
    data = data_of(before.decode())
    facts = dict(data["methods"][1]["networks"][0]["facts"])
    assert facts["card: licence"] == "MIT"
    assert facts["command"].startswith("run_benchmark.py --methods natural,aga --images 8")
    assert [item["kind"] for item in data["methods"]] == ["network", "network", "baseline"]
    assert number(data, "aga", explainer="saliency", attack="", metric="Gini index")["row"]
    run(["report", tmp_path / "run", "--export", "html"], capsys)
    assert path.read_bytes() == before
    assert run(["verify", tmp_path / "run"], capsys)[0] == 0
    path.write_bytes(before.replace(b'"text":"', b'"text":"9', 1))
    code, out, _ = run(["verify", tmp_path / "run"], capsys)
    assert code == 1 and "leaderboard.html does not say what the rows say" in out


def test_a_damaged_card_stops_no_page_and_verify_names_it(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "bad"])
    card = store.folder / "checkpoints" / "aga-seed0.toml"
    card.parent.mkdir()
    card.write_text("not = [a card")
    assert "aga-seed0" not in page(build([store], "percentile"))
    assert any("aga-seed0.toml" in line for line in verify(store)[1])


def test_report_writes_a_page_and_leaves_the_other_tables_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "run", ["good", "bad"])
    code, _, err = run(["report", tmp_path / "run", "--export", "html"], capsys)
    assert code == 0 and "leaderboard.html" in err
    assert sorted(path.name for path in (tmp_path / "run").glob("leaderboard.*")) == ["leaderboard.html"]
