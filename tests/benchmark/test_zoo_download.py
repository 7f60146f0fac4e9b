"""Weights by URL: whole or not at all, resumed where they broke off, and every failure is one line."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrobust import UsageError, load
from attrobust.benchmark.checkpoints import card as cards
from attrobust.benchmark.checkpoints import download as downloads
from attrobust.benchmark.checkpoints.card import SHIPPED, Published, WeightCard
from attrobust.benchmark.checkpoints.download import Remote, download

from helpers.runs import FAST, run, written_rows
from helpers.web import Web, serving

CONTENT = bytes(range(256)) * 4000
"""A file of a megabyte."""
HALF = 300_000
"""Where its download breaks off."""


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(Web({"aga.pt": CONTENT})) as server:
        yield server


def remote(web: Web, **changes: object) -> Remote:
    facts = {"name": "zoo/aga", "url": web.url("aga.pt"), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    return Remote(**{**facts, "size": len(CONTENT), **changes})  # type: ignore[arg-type]


def line_of(asked: Remote, path: Path) -> str:
    """The error of a download, which leaves nothing under the file's name."""
    with pytest.raises(UsageError) as error:
        download(asked, path)
    assert not path.exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_file_arrives_whole_and_is_not_asked_for_again(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "new" / "aga.pt"
    download(remote(web), path)
    assert path.read_bytes() == CONTENT
    download(remote(web), path)
    assert web.asked == [("aga.pt", None)]
    assert not path.with_name("aga.pt.part").exists()


def test_a_connection_that_breaks_is_made_again_and_goes_on_where_it_was(web: Web, tmp_path: Path) -> None:
    web.breaks_off = [HALF, HALF]
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT
    assert [asked for _, asked in web.asked] == [None, f"bytes={HALF}-", f"bytes={2 * HALF}-"]


def test_the_next_command_goes_on_where_an_interrupted_one_stopped(web: Web, tmp_path: Path) -> None:
    path = tmp_path / "aga.pt"
    web.breaks_off = [HALF, 0, 0]
    said = line_of(remote(web), path)
    assert "zoo/aga: the download of http://127.0.0.1" in said
    assert "broke off" in said
    assert "with 300 kB of 1.0 MB; the same command goes on there" in said
    web.asked.clear()
    download(remote(web), path)
    assert path.read_bytes() == CONTENT
    assert web.asked == [("aga.pt", f"bytes={HALF}-")]


def test_a_server_that_sends_no_parts_sends_the_whole_file_again(web: Web, tmp_path: Path) -> None:
    web.ranges, web.breaks_off = False, [HALF]
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT
    assert [asked for _, asked in web.asked] == [None, f"bytes={HALF}-"]


def test_a_part_of_another_file_is_thrown_away(web: Web, tmp_path: Path) -> None:
    (tmp_path / "aga.pt.part").write_bytes(b"x" * HALF)
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT
    assert [asked for _, asked in web.asked] == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1])
def test_a_part_as_long_as_the_file_is_thrown_away_where_it_is_another(size: int, web: Web, tmp_path: Path) -> None:
    (tmp_path / "aga.pt.part").write_bytes(b"x" * size)
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT


def test_a_file_with_other_bytes_is_refused_and_replaced_by_the_right_one_later(web: Web, tmp_path: Path) -> None:
    web.files["aga.pt"] = b"x" + CONTENT[1:]
    said = line_of(remote(web), tmp_path / "aga.pt")
    assert "has other bytes than published (sha256 " in said
    assert list(tmp_path.glob("*.part")) == []
    web.files["aga.pt"] = CONTENT
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_downloaded_again(web: Web, tmp_path: Path) -> None:
    (tmp_path / "aga.pt").write_bytes(CONTENT[:-1])
    download(remote(web), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT


def test_a_file_that_is_too_short_or_too_long_is_refused(web: Web, tmp_path: Path) -> None:
    web.files["aga.pt"] = CONTENT[:-1]
    assert "broke off" in line_of(remote(web), tmp_path / "aga.pt")
    web.files["aga.pt"] = CONTENT + b"x"
    assert "is larger than the published 1,024,000 bytes" in line_of(remote(web), tmp_path / "other.pt")
    assert not (tmp_path / "other.pt.part").exists()


def test_what_a_server_answers_is_said(web: Web, tmp_path: Path) -> None:
    assert f"{web.url('none.pt')} answers 404 Not Found" in line_of(remote(web, url=web.url("none.pt")), tmp_path / "a")
    assert len(web.asked) == 1
    web.status = [503]
    download(remote(web), tmp_path / "aga.pt")
    web.status = [503, 503, 503]
    assert "broke off (503 Service Unavailable) with nothing" in line_of(remote(web), tmp_path / "b.pt")


def test_without_a_network_it_is_said_where_the_file_may_be_put(web: Web, tmp_path: Path) -> None:
    asked = remote(web, url="http://127.0.0.1:9/aga.pt")
    assert f"put the file there yourself: {tmp_path / 'aga.pt'}" in line_of(asked, tmp_path / "aga.pt")
    (tmp_path / "aga.pt").write_bytes(CONTENT)
    download(asked, tmp_path / "aga.pt")


def test_a_connection_on_which_nothing_arrives_is_given_up(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.1)
    web.pause = 0.5
    assert "broke off (timed out)" in line_of(remote(web), tmp_path / "aga.pt")


def test_a_connection_on_which_hardly_anything_arrives_is_given_up(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    web.drip = 0.01
    web.files["aga.pt"] = CONTENT[:300]
    asked = remote(web, sha256=hashlib.sha256(CONTENT[:300]).hexdigest(), size=300)
    assert re.search(r"broke off \(\d+ bytes in 0 seconds\)", line_of(asked, tmp_path / "a"))


@pytest.mark.parametrize("address", ["http://[", "http://a:b/", f"http://{'a' * 70}.org/", "file:///etc/hostname", "x"])
def test_an_address_that_leads_nowhere_is_one_line(address: str, web: Web, tmp_path: Path) -> None:
    web.moved = address
    assert line_of(remote(web), tmp_path / "a").startswith("zoo/aga: ")
    if not address.startswith("file"):
        assert line_of(remote(web, url=address), tmp_path / "a").startswith("zoo/aga: ")


def test_a_folder_that_cannot_be_written_is_named(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written: Not a directory" in line_of(remote(web), tmp_path / "file" / "deep" / "aga.pt")


def test_a_file_on_disk_has_a_url_too(tmp_path: Path, web: Web) -> None:
    (tmp_path / "source.pt").write_bytes(CONTENT)
    download(remote(web, url=(tmp_path / "source.pt").as_uri()), tmp_path / "aga.pt")
    assert (tmp_path / "aga.pt").read_bytes() == CONTENT
    assert web.asked == []


def script(web: Web, path: Path) -> list[str]:
    lines = (
        "from pathlib import Path",
        "from attrobust.benchmark.checkpoints.download import Remote, download",
        f"download({remote(web)!r}, Path({str(path)!r}))",
    )
    return [sys.executable, "-c", "\n".join(lines)]


def test_of_two_processes_one_downloads(web: Web, tmp_path: Path) -> None:
    web.pause = 1.0
    path = tmp_path / "aga.pt"
    both = [subprocess.Popen(script(web, path)) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert path.read_bytes() == CONTENT
    assert web.asked == [("aga.pt", None)]


def test_a_bar_is_shown_on_a_terminal_only(web: Web, tmp_path: Path) -> None:
    done = subprocess.run(script(web, tmp_path / "a.pt"), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    termios.tcsetwinsize(theirs, (24, 100))
    try:
        subprocess.run(script(web, tmp_path / "b.pt"), stdout=subprocess.DEVNULL, stderr=theirs, check=True, timeout=60)
        assert b"download zoo/aga" in os.read(ours, 10_000)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """Two cards in the place of all shipped ones, one of weights that a server offers."""
    folder = tmp_path / "shipped" / "digits"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cards, "SHIPPED", folder.parent)
    monkeypatch.setenv("ATTROBUST_DATA", str(tmp_path / "cache"))
    source = SHIPPED / "digits"
    for name in ("natural.pt", "natural.toml"):
        (folder / name).write_bytes((source / name).read_bytes())
    with serving(Web({"zoo/digits/aga.pt": (source / "aga.pt").read_bytes()})) as server:
        card = WeightCard.read(source / "aga.toml")
        assert card.published is not None
        published = replace(card.published, url=server.url("zoo/digits/aga.pt"))
        replace(card, published=published).write(folder / "aga.toml")
        yield server


def test_load_downloads_once(zoo: Web) -> None:
    for _ in range(2):
        network = load("digits/aga")
    state = torch.load(SHIPPED / "digits" / "aga.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert zoo.asked == [("zoo/digits/aga.pt", None)]


def test_a_dry_run_says_what_would_be_downloaded_and_the_run_downloads_it(
    zoo: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*FAST, "--methods", "natural,aga", "--out", tmp_path / "run"]
    code, out, _ = run([*words, "--dry-run"], capsys)
    assert code == 0
    assert ["aga", "0", "download", "0/3"] in [line.split() for line in out.splitlines()]
    assert f"download digits/aga, 474 kB, from {zoo.url('zoo/digits/aga.pt')}" in out
    assert zoo.asked == []
    assert run(words, capsys)[0] == 0
    assert len(zoo.asked) == 1
    _, out, _ = run([*words, "--dry-run"], capsys)
    assert "download" not in out
    hashes = {row["cell"]["checkpoint_sha256"] for row in written_rows(tmp_path / "run").values()}
    assert WeightCard.read(SHIPPED / "digits" / "aga.toml").sha256 in hashes
    assert run(["verify", tmp_path / "run"], capsys)[0] == 0


def test_a_run_whose_weights_cannot_be_downloaded_computes_and_writes_nothing(
    zoo: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo.files.clear()
    words = [*FAST, "--methods", "hessian,aga", "--epochs", "20", "--out", tmp_path / "run"]
    code, out, err = run(words, capsys)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: digits/aga: http://127.0.0.1")
    assert "answers 404 Not Found" in err
    assert "training" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("url", ["http://example.org/aga.pt", "ftp://localhost/aga.pt", "aga.pt"])
def test_a_card_with_an_open_connection_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with https:// or file://"):
        Published(test_accuracy=0.9, test_images=10, commit="unknown", precision="float16", size=10, url=url)
