"""Numbers that nobody means, as options take them: one line that says so, before anything is trained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.runs import run

HUGE, LONG = str(10**30), "9" * 5000


@pytest.mark.parametrize(
    "words",
    [
        *(["--workers", text] for text in (HUGE, LONG, "\uff14", "0")),
        *(
            [option, text]
            for option in ("--images", "--epochs", "--batch-size")
            for text in (HUGE, LONG, "4_0", "\uff14")
        ),
        *(["--seeds", text] for text in (HUGE, LONG, "4_0", "\uff14", f"0-{HUGE}")),
        *(["--memory", text] for text in ("1e300GB", "4_0GB", "\uff14GB")),
        *(["--shard", text] for text in (f"1/{LONG}", "\uff11/\uff12")),
        *(["--eps", text] for text in ("1_6/255", "\u0668/255", "1e-400")),
        *(["--metrics", text] for text in (f"topk:k={LONG}", f"topk:k={HUGE}", "topk:k=\uff11\uff10%")),
        ["--explainers", "ig:steps=1e30"],
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_a_number_that_nobody_means_is_refused_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(["--methods", "natural", *words, "--dry-run", "--out", tmp_path / "out"], capsys)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert not os.path.lexists(tmp_path / "out")


def test_an_out_that_is_a_link_to_nowhere_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    code, _, err = run(["--methods", "natural", "--images", "2", "--no-audit", "--out", tmp_path / "out"], capsys)
    assert code == 2
    assert err.splitlines()[-1].endswith("it is a link that leads to no folder; choose another")
