"""What a user types and sees."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from attrobust.types import UsageError

from helpers.runs import FAST, WHOLE, run

Capture = pytest.CaptureFixture[str]
SWEEP = ["--methods", "aga:cosd={0.1,1}"]
ATTACKED = [*FAST, "--accuracy-attack", "apgd:steps=2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "agaa"], "unknown method 'agaa'. Did you mean 'aga'?"),
        (["--methods", ""], "empty name"),
        (["--methods", "aga,,hessian"], "empty name"),
        (["--methods", "aga,aga"], "names aga twice"),
        (["--methods", "aga,aga:eps=16/255"], "the same as aga"),
        (["--methods", "aga:cosd={0.1,1"], "do not pair up"),
        (["--methods", "aga:cosd={}"], "empty value"),
        (["--methods", "aga:cosd={1,1}"], "lists 1 twice"),
        (["--methods", "aga:cosd={1,1.0}"], "aga:cosd=1.0 is the same as aga:cosd=1"),
        (["--methods", "aga:cosd={0.1,x}"], "'x' is not a number"),
        (["--methods", "aga:cosd=0.1", "aga:cosd=1"], "takes key={a,b} apart unless it stands in quotes"),
        (["--accuracy-attack", "pgd:steps={1,2}"], "stands for 2 settings where one is wanted"),
        (["--attacks", "topk:steps={0,2}"], "at least 1"),
        (["--choose", "topk"], "--choose needs a sweep"),
        (["--methods", "aga:cosd={0.1,1}", "--accuracy-floor", "0.9"], "give --choose METRIC too"),
        ([*SWEEP, "--choose", "topk", "--accuracy-floor", "90"], "between 0 and 1, or 0% and 100%"),
        ([*SWEEP, "--choose", "topk", "--accuracy-floor", "high%"], "'high' is not a number"),
        ([*SWEEP, "--choose", "topkk"], "unknown metric 'topkk'. Did you mean 'topk'?"),
        ([*SWEEP, "--choose", "topk@frme"], "unknown attack 'frme'. Did you mean 'frame'?"),
        ([*SWEEP, "--choose", "topk@topk@salency"], "unknown explainer 'salency'"),
        ([*SWEEP, "--choose", "topk@"], "is not METRIC, METRIC@ATTACK or"),
        ([*SWEEP, "--choose", ""], "is not METRIC, METRIC@ATTACK or"),
        ([*SWEEP, "--choose", "topk:k={5,10}"], "stands for 2 settings"),
        ([*SWEEP, "--choose", "topk", "--attacks", "noise"], "noise is the only attack; name another, topk@ATTACK"),
        ([*SWEEP, "--choose", "topk", "--metrics", "topk:k=5,topk:k=6"], "--choose topk: which of topk:k=5, topk:k=6?"),
        ([*SWEEP, "--choose", "topk:k=785"], "more than the 784 pixels"),
        ([*SWEEP, "--choose", "topk@frame:width=14"], "leaves nothing inside"),
        ([*SWEEP, "--choose", "topk@pgd"], "pgd changes predictions"),
        (["--methods", "aga:epz=1"], "aga has no setting 'epz'. Did you mean 'eps'?"),
        (["--methods", "aga:eps=8"], "pixel units"),
        (["--methods", "aga:eps=x"], "'x' is not a number"),
        (["--methods", "aga:l2=-1"], "must not be negative"),
        (["--explainers", "salency"], "unknown explainer 'salency'. Did you mean 'saliency'?"),
        (["--explainers", "ig:steps=1"], "at least 2"),
        (["--attacks", "topk:k=0%"], "above 0"),
        (["--attacks", "topk:steps=0"], "at least 1"),
        (["--attacks", "topk:k=785"], "more than the 784 pixels"),
        (["--attacks", "frame:width=14"], "leaves nothing inside"),
        (["--attacks", "pgd"], "pgd changes predictions; allow it with --allow-flips"),
        (["--accuracy-attack", "topk"], "--accuracy-attack topk: topk moves explanations, not predictions"),
        (["--accuracy-attack", "pgdd"], "unknown attack 'pgdd'. Did you mean 'pgd'?"),
        (["--accuracy-attack", "pgd:steps=0"], "at least 1"),
        (["--accuracy-attack", "pgd:steps={1,2}"], "stands for 2 settings"),
        (["--accuracy-attack", ""], "has no name"),
        (["--metrics", "topk:k=785"], "more than the 784 pixels"),
        (["--metrics", "topk:k=x"], "neither a count"),
        (["--metrics", ""], "empty name"),
        (["--dataset", "cifar100"], "unknown dataset 'cifar100'"),
        (["--dataset", "imagefolder"], "--data-root"),
        (["--dataset", "imagefolder", "--data-root", "/no/such"], "/no/such is not a folder"),
        (["--model", "lenet:width=0"], "at least 1"),
        (["--model", "alexnet"], "unknown model 'alexnet'"),
        (["--eps", "8"], "pixel units"),
        (["--eps=-1/255"], "pixel units"),
        (["--eps", "-1/255"], "pixel units"),
        (["--interval", "-.5"], "'-.5'"),
        (["reprot", "runs"], "there is no command 'reprot'. Did you mean 'report'?"),
        (["aga"], "there is no command 'aga'. Commands: report, figures"),
        (["check", ""], "check: an empty name is no path"),
        (["--eps", "eight"], "'eight' is not a number"),
        (["--eps", "nan"], "finite"),
        (["--norm", "l1"], "invalid choice"),
        (["--images", "0"], "at least 1"),
        (["--images", "301"], "the test split of digits has 300 images"),
        (["--images", "many"], "--images: 'many' is not a whole number"),
        (["--image-size", "32"], "--image-size is for --dataset imagefolder"),
        (["--seeds", "0,x"], "whole numbers"),
        (["--seeds", "0,0"], "different whole numbers"),
        (["--seeds", "-1"], "not negative"),
        (["--seeds", "0-999999999999"], "at most 10,000"),
        (["--seeds", "0-99999999999999999999"], "'99999999999999999999' is too large a number"),
        (["--shard", "1/99999999999999999999"], "at most 100,000 shares"),
        (["--protocol", "quik"], "unknown protocol 'quik'. Did you mean 'quick'?"),
        (["--protocol", "none.toml"], "does not exist"),
        (["--recipe", ""], "unknown recipe ''"),
        (["--out", ""], "is empty"),
        (["--out", "/proc/no/such"], "cannot be written"),
        (["--data-root", ""], "is empty"),
        (["--model", "lenet:width=1000000"], "memory"),
        (["--model", "lenet:activation=softplus"], "activation=softplus is for --checkpoint"),
        (["--recipe", "digit"], "unknown recipe 'digit'. Did you mean 'digits'?"),
        (["--epochs", "0"], "at least 1"),
        (["--batch-size", "0"], "at least 1"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--checkpoint", "mine"], "NAME=FILE"),
        (["--checkpoint", "mine=/no/such.pt"], "mine: /no/such.pt does not exist"),
        (["--plugin", "/no/such.py"], "--plugin /no/such.py does not exist"),
        (["--export", "csv,csv"], "names a format twice"),
        (["report", "a", "b"], "needs a folder of its own"),
        (["--export", "pdf"], "unknown format 'pdf'"),
        (["--list", "method"], "no such axis"),
        (["--method", "aga"], "unrecognized arguments"),
        (["report", "/no/such"], "holds no run"),
        (["verify", "/no/such"], "holds no run"),
        (["report"], "required"),
    ],
)
def test_mistakes_are_one_line_and_exit_2_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(words, capsys)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_everything_registered_is_listed(capsys: Capture) -> None:
    _, everything, _ = run(["--list"], capsys)
    for axis in ("methods", "explainers", "attacks", "metrics", "datasets", "models", "protocols", "checkpoints"):
        code, out, _ = run(["--list", axis], capsys)
        assert code == 0
        assert out.startswith(f"{axis}:\n")
        assert out.strip() in everything
    for name in (
        "aga",
        "saliency",
        "mass-center",
        "normalized-l2",
        "imagefolder",
        "resnet18",
        "standard",
        "digits/aga",
    ):
        assert f"  {name} " in everything


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of two shipped methods."""
    from attrobust.benchmark.command.main import main

    folder = tmp_path_factory.mktemp("finished")
    assert main(["--methods", "natural,aga", *ATTACKED, "--out", str(folder)]) == 0
    return folder


def test_the_main_job_writes_rows_scores_and_tables(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * (1 + 1 + 2 * 4)
    assert len(list((finished / "scores").iterdir())) == len(rows)
    first = next(row for row in rows if row["cell"]["attack"].get("name") == "topk")
    assert first["status"] == "ok"
    assert first["n"] == first["n_defined"] == 6
    assert first["ci"][0] <= first["mean"] <= first["ci"][1]
    assert first["cell"]["threat"] == {"norm": "linf", "eps": 16 / 255, "keep_prediction": True}
    assert first["cell"]["attack"]["settings"]["steps"] == 2
    assert first["cell"]["subject"]["method"]["name"] == "natural"
    assert first["passes"]["double_backward"] == 6 * 2
    assert {"versions", "device", "utc", "threads", "batch_size"} <= set(first["provenance"])
    assert all((finished / f"leaderboard.{suffix}").stat().st_size for suffix in ("csv", "tex", "md"))


def test_running_again_computes_nothing_and_changes_no_table(finished: Path, capsys: Capture) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    code, _, err = run(["--methods", "natural,aga", *ATTACKED, "--out", finished], capsys)
    assert code == 0
    assert " s\n" not in err.replace("wrote", "")
    after = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "log.txt"}
    assert {path.name for path in before if before[path] != after.get(path)} == set()


def test_components_are_tried_out_where_something_is_left_to_compute(
    finished: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attrobust.benchmark.run import runner

    def refuse(*_: object) -> list[object]:
        raise UsageError("tried out")

    monkeypatch.setattr(runner, "try_out", refuse)
    words = ["--methods", "natural,aga", *ATTACKED, "--out", finished]
    assert run(words, capsys)[0] == run([*words, "--dry-run"], capsys)[0] == 0
    for more in (["--metrics", "pearson"], ["--methods", "natural,hessian"], ["--images", "7"]):
        code, _, err = run([*words, *more], capsys)
        assert (code, err) == (2, "error: tried out\n")


def test_another_metric_leaves_the_others_as_they_are(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", *FAST, "--out", tmp_path / "run", "--metrics"]
    run([*words, "cosine"], capsys)
    first = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "scores").iterdir()}
    run([*words, "cosine,spearman"], capsys)
    second = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "scores").iterdir()}
    assert first.items() <= second.items()
    assert len(second) == len(first) + 2


def test_a_dry_run_says_what_is_done_and_does_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # How long it would take is another test's.
    monkeypatch.setattr("attrobust.benchmark.run.runner.Runner.estimate", lambda *_: None)
    code, out, _ = run(["--methods", "natural,softplus:beta=7", *ATTACKED, "--out", finished, "--dry-run"], capsys)
    assert code == 0
    assert [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]] == [
        ["natural", "0", "shipped", "4/4"],
        ["softplus:beta=7", "0", "to", "train", "0/4"],
    ]
    run(["--dry-run", "--out", tmp_path / "new"], capsys)
    assert not (tmp_path / "new").exists()


def test_a_sweep_is_a_row_for_each_value(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,aga:cosd={0.1,1},eps=16/255", *FAST, "--out", tmp_path / "run", "--dry-run"]
    code, out, _ = run(words, capsys)
    assert code == 0
    assert [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]] == [
        ["natural", "0", "shipped", "0/3"],
        ["aga:cosd=0.1,eps=16/255", "0", "to", "train", "0/3"],
        ["aga:cosd=1,eps=16/255", "0", "shipped", "0/3"],
    ]


def test_a_sweep_of_a_column_is_the_columns_typed_one_by_one(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", "--no-audit", *WHOLE[:-1]]
    sweep = run([*words, "noise:draws={1,2}", "--out", tmp_path / "run", "--json"], capsys)[1]
    typed = run([*words, "noise:draws=1,noise:draws=2", "--out", tmp_path / "run", "--json"], capsys)[1]
    assert json.loads(sweep) == json.loads(typed)
    attacks = {row["attack"] for row in json.loads(sweep)["rows"] if row["scope"] != "worst"}
    assert attacks == {None, "apgd", "noise:draws=1", "noise:draws=2"}


def test_report_rebuilds_the_tables_without_torch(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom attrobust.benchmark.command.main import main\n"
        f"assert main(['report', {str(finished)!r}, '--out', {str(tmp_path)!r}]) == 0\n"
        "assert not {'torch', 'captum'} & set(sys.modules)\n"
    )
    import subprocess
    import sys

    from helpers.runs import ROOT

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for suffix in ("csv", "tex", "md"):
        assert (tmp_path / f"leaderboard.{suffix}").read_bytes() == (finished / f"leaderboard.{suffix}").read_bytes()


def test_runs_of_one_protocol_are_reported_together_and_others_are_refused(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other"
    run(["--methods", "hessian", *ATTACKED, "--out", other], capsys)
    code, out, _ = run(["report", finished, other, "--out", tmp_path / "both", "--json"], capsys)
    assert code == 0
    assert {row["method"] for row in json.loads(out)["rows"]} == {"natural", "aga", "hessian"}
    code, _, err = run(["report", finished, "--out", other], capsys)
    assert code == 2
    assert f"--out {other} holds another run" in err
    assert run(["report", other, "--out", other.parent / "both" / ".." / other.name], capsys)[0] == 0
    weaker = tmp_path / "weaker"
    run(["--methods", "hessian", *ATTACKED, "--eps", "8/255", "--out", weaker], capsys)
    code, _, err = run(["report", finished, weaker, "--out", tmp_path / "both"], capsys)
    assert code == 2
    assert "does not compare" in err
    assert "threat" in err or "protocol" in err


def test_tables_of_an_earlier_command_do_not_linger(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural", *FAST, "--out", tmp_path / "run"]
    run(words, capsys)
    run([*words, "--eps", "1/255", "--export", "csv"], capsys)
    assert sorted(path.name for path in (tmp_path / "run").glob("leaderboard.*")) == ["leaderboard.csv"]


def test_a_report_that_cannot_be_written_says_so(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(["report", finished, "--out", tmp_path / "file"], capsys)
    assert code == 2
    assert "name another folder with --out" in err


def test_gradient_attacks_beat_noise_everywhere_in_quick(tmp_path: Path, capsys: Capture) -> None:
    """In a third of quick's steps already; what the audit says of these networks is another test's."""
    words = ["--baselines", "none", "--accuracy-attack", "none", "--no-audit"]
    words += ["--attacks", "noise,topk:steps=10,target:steps=10"]
    words += ["--metrics", "topk:k=10%,spearman,cosine,normalized-l2"]
    code, _, _ = run(["--images", "4", *words, "--out", tmp_path / "run", "--json"], capsys)
    assert code == 0
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv")
    table = table[(table["subset"] == "all") & (table["scope"] == "attack") & ~table["baseline"]]
    assert table["flags"].isna().all()
    for (method, explainer, metric), cells in table.groupby(["method", "explainer", "metric"]):
        means = cells.set_index("attack")["mean"]
        sign = 1 if cells["higher_is_better"].iloc[0] else -1
        for attack in ("topk:steps=10", "target:steps=10"):
            assert sign * means[attack] < sign * means["noise"], (method, explainer, metric, attack)


def test_verify_finds_a_changed_number_and_a_changed_score(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    import shutil

    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    assert run(["verify", copied], capsys)[0] == 0
    (copied / "leaderboard.csv").write_text((copied / "leaderboard.csv").read_text().replace("9", "8", 1))
    assert "leaderboard.csv does not say what the rows say" in run(["verify", copied], capsys)[1]
    plan = (copied / "run.json").read_text()
    (copied / "run.json").write_text(
        plan.replace("linf 16/255", "linf 1/255").replace('"label": "aga"', '"label": "hessian"')
    )
    out = run(["verify", copied], capsys)[1]
    assert "run.json does not say what the rows say: method" in out
    assert "run.json does not say what the rows say: threat" in out
    (copied / "run.json").write_text(plan)
    rows = (copied / "rows.jsonl").read_text().splitlines()
    row = json.loads(rows[3])
    rows[3] = json.dumps({**row, "mean": row["mean"] + 0.001})
    (copied / "rows.jsonl").write_text("\n".join(rows) + "\n")
    (copied / "scores" / f"{json.loads(rows[4])['fingerprint']}.npz").write_bytes(b"spoilt")
    code, out, _ = run(["verify", copied], capsys)
    assert code == 1
    assert "mean is stored as" in out
    assert "is not the file its row was written with" in out


def test_lost_scores_are_computed_again(finished: Path, tmp_path: Path, capsys: Capture) -> None:
    import shutil

    copied = tmp_path / "copy"
    shutil.copytree(finished, copied)
    for path in list((copied / "scores").iterdir())[:3]:
        path.unlink()
    assert run(["--methods", "natural,aga", *ATTACKED, "--out", copied], capsys)[0] == 0
    assert (copied / "leaderboard.csv").read_bytes() == (finished / "leaderboard.csv").read_bytes()
    assert run(["verify", copied], capsys)[0] == 0


def test_json_is_valid_and_has_every_number(finished: Path, capsys: Capture) -> None:
    code, out, _ = run(["report", finished, "--json"], capsys)
    assert code == 0
    rows = json.loads(out)["rows"]
    assert len(rows) == 2 * 2 + 2 * 4 + 2 * 2 * 2 * 4, "accuracies, worst cases, two attacks over two subsets"
    assert all(row["ci"][0] <= row["mean"] <= row["ci"][1] for row in rows)
