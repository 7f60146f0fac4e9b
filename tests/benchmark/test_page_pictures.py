"""Pictures and costs of a page: of the worst images and of trainings, without torch unless they are drawn."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

import attrobust
from attrobust.benchmark.figures import with_training_passes
from attrobust.benchmark.gallery import pictures
from attrobust.benchmark.gallery.thumbnails import GAP, LARGEST, keep, strip
from attrobust.benchmark.report.leaderboard import build
from attrobust.benchmark.report.page.payload import payload
from attrobust.benchmark.report.page.pictures import CAP, without_pictures
from attrobust.benchmark.report.page.pictures import pictures as in_page
from attrobust.benchmark.report.page.render import render
from attrobust.benchmark.report.verify import verify
from attrobust.benchmark.store.store import Store
from attrobust.benchmark.store.thumbnails import THUMBNAILS

from helpers.runs import ROOT, run
from helpers.tables import write_table

Capture = pytest.CaptureFixture[str]
BASELINES = ("constant-map of natural", "untrained")


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


def embedded(folder: Path, name: str) -> dict[str, Any]:
    """What an element of the page holds."""
    text = (folder / "leaderboard.html").read_text(encoding="utf-8")
    found = re.search(rf'id="{name}">([^<]*)</script>', text)
    value: dict[str, Any] = json.loads(found[1]) if found else {}
    return value


def worst(folder: Path) -> set[tuple[str, int]]:
    """Row and image of every worst image that the page names."""
    cells = [number for cells in embedded(folder, "data")["cells"] for number in cells.values()]
    return {(number["row"], image) for number in cells for image, _ in number.get("worst", ())}


def pictured(folder: Path) -> set[tuple[str, int]]:
    return {(row, int(image)) for row, images in embedded(folder, "pictures").get("of", {}).items() for image in images}


def test_every_worst_image_of_an_attack_is_pictured_and_nothing_else(folder: Path, capsys: Capture) -> None:
    code, _, err = run(["report", folder, "--export", "html", "--pictures"], capsys)
    assert code == 0
    assert re.search(r"run: \d+ small pictures of the worst images\n", err)
    assert pictured(folder) == worst(folder) != set()
    assert verify(Store(folder))[1] == []


def test_a_small_picture_is_of_the_image_and_its_maps(folder: Path, kept: Path, capsys: Capture) -> None:
    assert run(["report", folder, "--export", "html", "--pictures"], capsys)[0] == 0
    shown = embedded(folder, "pictures")
    for picture in pictures(kept, images="worst", metric="spearman"):
        uri = shown["uris"][shown["of"][picture.row][str(picture.image)]]
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.float64)
        size = 16
        assert pixels.shape == (size, 4 * size + 3 * GAP, 3)
        for column, image in enumerate((picture.clean, picture.attacked)):
            tile = pixels[:, column * (size + GAP) :][:, :size]
            # Of 256 greys a quarter is left, and Pillow takes one that is near.
            assert np.abs(tile.mean(axis=2) - 255 * image[0]).max() < 8
        lightness = pixels[:, 2 * (size + GAP) :][:, :size].sum(axis=2)
        assert np.corrcoef(lightness.ravel(), picture.clean_map.ravel())[0, 1] > 0.9


def test_verify_holds_a_page_to_its_rows_whatever_pictures_there_are(folder: Path, capsys: Capture) -> None:
    run(["report", folder, "--export", "html", "--pictures"], capsys)
    shutil.rmtree(folder / THUMBNAILS)
    assert run(["verify", folder], capsys)[0] == 0
    path = folder / "leaderboard.html"
    path.write_text(path.read_text().replace('"text":"', '"text":"9', 1))
    code, out, _ = run(["verify", folder], capsys)
    assert code == 1
    assert "leaderboard.html does not say what the rows say" in out


def test_a_gallery_leaves_pictures_for_a_page_unless_it_is_written_elsewhere(folder: Path, capsys: Capture) -> None:
    words = ["gallery", folder, "--images", "worst", "--format", "png"]
    assert run([*words, "--out", folder.parent / "elsewhere"], capsys)[0] == 0
    assert not (folder / THUMBNAILS).exists()
    assert run(["clean", folder], capsys)[0] == 0
    code, _, err = run(["report", folder, "--export", "html", "--pictures"], capsys)
    assert code == 0
    assert "0 small pictures of the worst images; it keeps no attacked images, but gallery draws some" in err
    assert embedded(folder, "pictures") == {}
    assert run(words, capsys)[0] == 0
    assert run(["report", folder, "--export", "html"], capsys)[0] == 0
    found = pictures(folder, images="worst")
    assert pictured(folder) == {(picture.row, picture.image) for picture in found}


def test_pictures_that_are_not_of_the_scores_or_no_pictures_are_left_out(folder: Path, capsys: Capture) -> None:
    found = pictures(folder, images="worst,median")
    store = Store(folder)
    changed = [found[0].chosen_as("worst")]
    object.__setattr__(changed[0], "scores_sha256", "0" * 64)
    keep(changed, {"": store})
    wrong = found[1]
    object.__setattr__(wrong.scores[0], "stored", wrong.scores[0].value + 1)
    keep([wrong], {"": store})
    board = build([store])
    assert in_page([board], payload([board])) == {}
    keep(found[2:3], {"": store})
    (path,) = (path for path in (folder / THUMBNAILS).rglob("*.png") if found[2].row in str(path))
    good = path.read_bytes()
    assert len(in_page([board], payload([board]))["uris"]) == 1  # type: ignore[arg-type]
    for bad in (b"<svg onload='alert(1)'>", good + b"\0" * 50_000):
        path.write_bytes(bad)
        assert in_page([board], payload([board])) == {}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pictures_stay_under_their_cap_and_the_worst_come_first(share: float, folder: Path, capsys: Capture) -> None:
    run(["report", folder, "--export", "html", "--pictures"], capsys)
    board = build([Store(folder)])
    data = payload([board])
    whole: dict[str, Any] = in_page([board], data)
    size = sum(map(len, whole["uris"]))
    assert 0 < size < CAP
    some: dict[str, Any] = in_page([board], data, cap=int(share * size))
    assert sum(map(len, some.get("uris", ()))) <= share * size
    if share == 1:
        assert some == whole
        return
    cells = [number for cells in embedded(folder, "data")["cells"] for number in cells.values() if number.get("worst")]
    ranks: list[set[bool]] = [
        {str(number["worst"][rank][0]) in some.get("of", {}).get(number["row"], {}) for number in cells}
        for rank in range(5)
    ]
    assert ranks[0] == {share > 0}
    assert ranks[4] == {False}


def test_large_images_are_made_small_and_those_of_one_value_drawn(kept: Path) -> None:
    (picture, *_) = pictures(kept, images="0")
    for name in ("clean", "attacked"):
        object.__setattr__(picture, name, getattr(picture, name).repeat(3, 0).repeat(14, 1).repeat(14, 2))
    for name in ("clean_map", "attacked_map"):
        object.__setattr__(picture, name, np.zeros((224, 224)))
    shown = Image.open(io.BytesIO(strip(picture)))
    assert shown.size == (4 * LARGEST + 3 * GAP, LARGEST)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--pictures"], "--pictures are put into the page; name it too: --export html"),
        (["--data-root", "x"], "--data-root and --plugin are for --pictures"),
    ],
)
def test_options_that_go_together_are_asked_for(words: list[str], line: str, folder: Path, capsys: Capture) -> None:
    code, _, err = run(["report", folder, *words], capsys)
    assert code == 2
    assert err.startswith(f"error: {line}")


def test_a_page_with_pictures_and_costs_is_written_and_verified_without_torch(folder: Path, capsys: Capture) -> None:
    run(["report", folder, "--export", "html", "--pictures"], capsys)
    code = (
        "import sys\nfrom attrobust.benchmark.command.main import main\n"
        "assert main(['report', sys.argv[1], '--export', 'html']) == 0\n"
        "assert main(['verify', sys.argv[1]]) == 0\n"
        "assert not {'torch', 'matplotlib', 'pandas', 'PIL'} & set(sys.modules), 'imported something heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pictured(folder) == worst(folder)
    assert any(column["kind"] == "training" for column in embedded(folder, "data")["columns"])


def test_the_cost_of_a_page_is_that_of_the_figures(folder: Path, capsys: Capture) -> None:
    assert run(["report", folder, "--export", "html"], capsys)[0] == 0
    data = embedded(folder, "data")
    (at,) = (index for index, column in enumerate(data["columns"]) if column["kind"] == "training")
    shown = {
        method["name"]: cells.get(str(at), {}).get("value")
        for method, cells in zip(data["methods"], data["cells"], strict=True)
    }
    known = with_training_passes(attrobust.results(folder), folder).groupby("method").training_passes.first()
    assert shown == {"natural": known["natural"], "aga": known["aga"], **dict.fromkeys(BASELINES)}
    assert known["natural"] == 4 * 2
    facts = dict(data["methods"][1]["networks"][0]["facts"])
    assert facts["training"].startswith(f"{known['aga']:,.0f} passes of each image: epochs times")


def test_a_mean_over_seeds_has_the_cost_of_its_method_and_unknown_costs_are_blank(tmp_path: Path) -> None:
    store = write_table(tmp_path, ["good", "good", "bad"])
    assert all(column["kind"] != "training" for column in payload([build([store])])["columns"])  # type: ignore[union-attr,attr-defined,index]
    store.write_plan(replace(store.plan(), passes={"good": 200.0}).signed())
    data: dict[str, Any] = payload([build([store])])
    (at,) = (index for index, column in enumerate(data["columns"]) if column["kind"] == "training")
    found = {method["name"]: cells.get(at) for method, cells in zip(data["methods"], data["cells"], strict=True)}
    assert found["good, mean of 2 seeds"]["value"] == 200
    assert found["bad (seed 0)"] is None


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, capsys: Capture) -> None:
    (folder / THUMBNAILS).write_text("mine")
    code, _, err = run(["report", folder, "--export", "html", "--pictures"], capsys)
    assert code == 2
    assert f"{folder / THUMBNAILS} cannot be written" in err
    assert (folder / THUMBNAILS).read_text() == "mine"


def test_a_page_without_pictures_has_no_element_for_them(folder: Path) -> None:
    html = render(build([Store(folder)]))
    assert 'id="pictures"' not in html
    assert without_pictures(html) == html
