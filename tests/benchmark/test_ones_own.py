"""Rows of one's own: plug-ins, checkpoints, and what happens when they fail."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attrobust import load
from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.request.plugins import module_of

from helpers.forked import Forked
from helpers.runs import FAST, ROOT, SMALL, run

Capture = pytest.CaptureFixture[str]

PLUGIN = '''"""A method of one's own."""

from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from attrobust import Method, register_method


@register_method("smoothed")
@dataclass(frozen=True, kw_only=True)
class Smoothed(Method):
    amount: float = 0.1

    def loss(self, model, x, y, generator):
        return cross_entropy(model(x), y, label_smoothing=self.amount)
'''


def test_a_plugin_of_fifteen_lines_adds_a_row(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN)
    assert len([line for line in PLUGIN.splitlines() if line]) <= 15
    words = ["--plugin", plugin, "--methods", "natural,smoothed:amount=0.2", *FAST, *SMALL]
    words += ["--epochs", "1", "--retrain"]
    code, out, _ = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0
    assert "smoothed:amount=0.2" in out
    assert "smoothed" in run(["--plugin", plugin, "--list", "methods"], capsys)[1]
    first = (tmp_path / "run" / "leaderboard.csv").read_text()
    plugin.write_text(PLUGIN.replace("label_smoothing=self.amount", "label_smoothing=0.9 * self.amount"))
    assert Forked([*words, "--out", tmp_path / "run"]).answer()[0] == 0
    assert (tmp_path / "run" / "leaderboard.csv").read_text() != first, "an edited plug-in is trained again"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
        ("x = 1\nx +\n", "line 2: SyntaxError"),
        ("import sys\nsys.exit(7)\n", "line 2: SystemExit"),
        (PLUGIN.replace('"smoothed"', '"aga"'), "already registered by attrobust.methods.aga:AGA"),
        (PLUGIN + "\n1 / 0\n", "line 18: ZeroDivisionError"),
    ],
)
def test_a_broken_plugin_is_named_with_its_line_and_does_not_break_the_list(
    source: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    plugin, good = tmp_path / "broken.py", tmp_path / "good.py"
    plugin.write_text(source)
    good.write_text(PLUGIN.replace('"smoothed"', '"good"'))
    code, out, err = run(["--plugin", plugin, "--plugin", good, "--methods", "natural", "--dry-run"], capsys)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --plugin {plugin}")
    assert message in err
    for registry in REGISTRIES.values():
        registry.forget(module_of(plugin))
    everything = run(["--list"], capsys)[1]
    code, out, err = run(["--plugin", plugin, "--plugin", good, "--list"], capsys)
    assert code == 0
    assert err.startswith(f"note: --plugin {plugin}")
    assert message in err
    assert err.count("\n") == 1
    (added,) = (line for line in out.splitlines() if line not in everything)
    assert added.split()[0] == "good"


def install(folder: Path, entry_points: str, **modules: str) -> dict[str, str]:
    """A folder as pip leaves it, with one distribution; returns the environment that sees it."""
    info = folder / "fruitshop-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fruitshop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    return {**os.environ, "PYTHONPATH": str(folder)}


def answer(words: list[str], env: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command in a process of its own."""
    line = [sys.executable, str(ROOT / "run_benchmark.py"), *words]
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_installed_plugins_are_listed_with_their_origin_and_without_being_imported(tmp_path: Path) -> None:
    points = (
        "[attrobust.methods]\nkiwi = kiwi:Smoothed\nplum = plum:Smoothed\npear = no_such_module.pear:Pear\n"
        "[attrobust.attacks]\nfig = fig:Fig\n"
    )
    kiwi = '"""Kiwis."""\nraise SystemExit("imported")\n\n\nclass Smoothed:\n    """Green ``inside``."""\n'
    env = install(tmp_path, points, kiwi=kiwi, plum="x = 1\nx +\n")
    code, out, err = answer(["--list"], env)
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("  ")}
    assert lines["kiwi"] == "Green inside. (plug-in kiwi:Smoothed of distribution fruitshop)"
    of = "of distribution fruitshop, does not load:"
    assert lines["plum"] == f"plug-in plum:Smoothed {of} {tmp_path / 'plum.py'} line 2: invalid syntax"
    assert lines["pear"] == f"plug-in no_such_module.pear:Pear {of} there is no module 'no_such_module'"
    assert lines["fig"] == f"plug-in fig:Fig {of} there is no module 'fig'"
    for name, message in {
        "kiwi": "SystemExit: imported",
        "plum": "SyntaxError: invalid syntax (plum.py, line 2)",
        "pear": "ModuleNotFoundError: No module named 'no_such_module'",
    }.items():
        code, out, err = answer(["--methods", name, "--dry-run"], env)
        assert (code, out) == (2, "")
        assert err == f"error: method {name!r} of distribution fruitshop does not load: {message}\n"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        # Where a distribution's file is damaged torch does not import either: only the list can answer.
        ("kiwi", "entry points of distribution fruitshop cannot be read:"),
        (
            "aga = kiwi:Smoothed",
            "method 'aga' of distribution fruitshop is left out: the name is already registered by attrobust.methods",
        ),
        ("Kiwi 2 = kiwi:Smoothed", "method 'Kiwi 2' of distribution fruitshop is left out: names are lower-case"),
    ],
)
def test_an_installed_plugin_that_cannot_be_offered_is_named_and_breaks_nothing(
    points: str, message: str, tmp_path: Path
) -> None:
    env = install(tmp_path, f"[attrobust.methods]\n{points}\n", kiwi=PLUGIN)
    code, out, err = answer(["--list"], env)
    assert code == 0
    assert out == answer(["--list"], {**env, "PYTHONPATH": ""})[1]
    assert err.startswith(f"note: {message}")
    assert err.count("\n") == 1
    if "=" in points:
        code, _, err = answer(["--methods", "aga", *FAST, "--dry-run", "--out", str(tmp_path / "run")], env)
        assert code == 0
        assert err.startswith(f"note: {message}")


def test_an_installed_plugin_that_is_no_method_names_its_distribution(tmp_path: Path) -> None:
    env = install(tmp_path, "[attrobust.methods]\nkiwi = kiwi:Kiwi\n", kiwi="class Kiwi:\n    pass\n")
    code, _, err = answer(["--methods", "kiwi", "--dry-run"], env)
    assert code == 2
    assert err == "error: method 'kiwi' of distribution fruitshop must be a dataclass derived from Method\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (PLUGIN.replace("amount: float = 0.1", "amount: float"), "missing 1 required keyword-only argument: 'amount'"),
        (PLUGIN.replace("def loss", "def lost"), "abstract"),
        (PLUGIN.replace("class Smoothed(Method)", "class Smoothed"), "must be a dataclass derived from Method"),
        (
            PLUGIN.replace("def loss", "def prepare(self, model):\n        raise KeyError('x')\n\n    def loss"),
            "KeyError",
        ),
        (
            PLUGIN.replace("def loss", "def cost(self, classes):\n        return 3.0\n\n    def loss"),
            "cost returned float, not a Cost",
        ),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_one_line(
    source: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    plugin = tmp_path / "wrong.py"
    plugin.write_text(source)
    code, _, err = run(["--plugin", plugin, "--methods", "smoothed", *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_plugins_of_one_file_name_are_different_plugins(tmp_path: Path, capsys: Capture) -> None:
    words: list[str | Path] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(PLUGIN.replace('"smoothed"', f'"{name}"'))
        words += ["--plugin", tmp_path / name / "mine.py"]
    words += ["--methods", "a,b", *FAST, *SMALL, "--epochs", "1", "--out", tmp_path / "run"]
    code, out, err = run(words, capsys)
    assert code == 0, err
    (tmp_path / "a" / "mine.py").write_text(PLUGIN.replace('"smoothed"', '"a"') + "# edited\n")
    _, out, _ = Forked([*words, "--dry-run"]).answer()
    assert [line.split()[2:-1] for line in out.partition("\n\n")[0].splitlines()[2:]] == [["to", "train"], ["trained"]]


def test_a_users_checkpoint_is_a_row(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "mine.pt"
    torch.save(load("digits/natural").state_dict(), file)
    words = ["--methods", "natural", "--checkpoint", f"mine={file}:lenet:width=16,hidden=64", *FAST]
    words += ["--accuracy-attack", "apgd:steps=2"]
    code, _, _ = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 0
    table = list(csv.DictReader(io.StringIO((tmp_path / "run" / "leaderboard.csv").read_text())))
    by_name = {
        name: [
            (line["explainer"], line["attack"], line["metric"], line["mean"])
            for line in table
            if line["method"] == name
        ]
        for name in ("natural", "mine")
    }
    assert by_name["natural"] == by_name["mine"] != []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: {key: value for key, value in state.items() if "classifier.3" not in key},
            "lacks 'classifier.3",
        ),
        (lambda state: {**state, "extra": torch.zeros(1)}, "has 'extra', which the model lacks"),
        (
            lambda state: {**state, "features.0.bias": torch.zeros(3)},
            "'features.0.bias' has shape 3, the model needs 16",
        ),
        (lambda state: {**state, "features.0.bias": torch.full((16,), float("nan"))}, "not finite"),
        (lambda state: {"weights": [state], "epoch": 1}, "holds no state dict (its keys: weights, epoch)"),
        (lambda _: [1, 2], "holds no state dict (it is a list)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_the_first_mismatch(
    spoil: object, message: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "mine.pt"
    torch.save(spoil(dict(load("digits/natural").state_dict())), file)  # type: ignore[operator]
    code, _, err = run(["--checkpoint", f"mine={file}", "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert message in err
    file.write_bytes(b"no weights")
    code, _, err = run(["--checkpoint", f"mine={file}", "--out", tmp_path / "run"], capsys)
    assert code == 2
    assert "is a text file ('no weights')" in err
    assert err.count("\n") == 1


def test_a_failing_cell_is_a_row_and_exit_1_and_is_tried_again(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "faulty.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "from attrobust import Attack, register_attack\n\n\n"
        '@register_attack("faulty")\n@dataclass(frozen=True, kw_only=True)\nclass Faulty(Attack):\n'
        "    def run(self, context, x, y):\n"
        "        # What is tried before a run are fewer images.\n"
        f"        if len(x) > 2 and not Path({str(tmp_path / 'mended')!r}).exists():\n"
        "            raise RuntimeError('out of luck')\n"
        "        return x\n"
    )
    words = ["--plugin", plugin, "--methods", "natural", *FAST[:-1]]
    words += ["noise:draws=1,faulty", "--out", tmp_path / "run"]
    code, out, err = Forked(words).answer()
    assert code == 1
    assert "failed: natural / saliency / faulty: RuntimeError: out of luck" in err
    assert "Traceback" not in err
    assert "failed" in out
    rows = list(csv.DictReader((tmp_path / "run" / "leaderboard.csv").open()))
    faulty = [row["status"] for row in rows if row["attack"] == "faulty" and row["subset"] == "all"]
    assert faulty == ["failed"] * 4
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()
    (tmp_path / "mended").touch()
    code, out, err = Forked(words).answer()
    assert code == 0
    assert "noise:draws" not in err, "what was done is not done again"
    assert "failed" not in out


def test_a_diverging_training_fails_its_row_alone(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "diverging.py"
    source = PLUGIN.replace('"smoothed"', '"diverging"').replace("class Smoothed", "class Diverging")
    plugin.write_text(source.replace("label_smoothing=self.amount)", "label_smoothing=self.amount) / (len(x) < 8)"))
    words = [
        "--plugin",
        plugin,
        "--methods",
        "diverging,natural",
        *FAST,
        *SMALL,
        "--epochs",
        "1",
        "--out",
        tmp_path / "run",
    ]
    code, out, err = run(words, capsys)
    assert code == 1
    assert "diverging: training failed: TrainingError: the loss became inf in epoch 1" in err
    assert "failed" in next(line for line in out.splitlines() if line.startswith("diverging  "))
    assert "failed" not in next(line for line in out.splitlines() if line.startswith("natural  "))


EXPLAINER = '''"""An explainer of one's own."""

from dataclasses import dataclass

import torch

from attrobust import Explainer, register_explainer


@register_explainer("own")
@dataclass(frozen=True, kw_only=True)
class Own(Explainer):
    def attribute(self, model, x, target, *, create_graph, generator):
        x = x if create_graph else x.detach().requires_grad_()
        g, = torch.autograd.grad(model(x).gather(1, target[:, None]).sum(), x, create_graph=create_graph)
        return g
'''


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("return g.detach()", "without a graph back to x"),
        ("return g[:, :, :5]", "attribute returned (2, 1, 5, 28), not a map of (2, 1, 28, 28)"),
        ("return None", "attribute returned NoneType"),
        ("return g / 0 * 0", "gives NaN or infinity for a real image"),
        ("return g + torch.rand(x.shape)", "draws from torch's global random numbers"),
        ("return g - g.mean(0)", "an image's map depends on the images beside it"),
        ("x.data.mul_(0.5); return g", "the explainer changes the images; work on copies"),
        ("next(model.parameters()).data.add_(1e-3); return g", "the explainer changes the network; work on copies"),
        ("model.register_forward_hook(lambda *_: None); return g", "leaves hooks in the network"),
        ("model(x).sum().backward(); return g", "leaves gradients in the network"),
        ("return g * torch.rand(x.shape[1:], generator=generator)", "say stochastic: ClassVar[bool] = True"),
        ("raise RuntimeError('of my own')", "own: RuntimeError: of my own"),
    ],
)
def test_an_explainer_that_breaks_the_contract_is_refused_before_anything_is_done(
    line: str, message: str, tmp_path: Path, capsys: Capture
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(EXPLAINER.replace("return g", line))
    words = [*FAST, "--plugin", plugin, "--methods", "aga", "--explainers", "own", "--out", tmp_path / "run"]
    code, _, err = run(words, capsys)
    assert code == 2
    assert err.startswith("error: own: ")
    assert message in err
    assert not (tmp_path / "run" / "rows.jsonl").exists()


FLASH = """
from dataclasses import dataclass

import torch
from torch import nn

from attrobust import ModelFamily, Normalize, register_model


@register_model("flash")
@dataclass(frozen=True, kw_only=True)
class Flash(ModelFamily):
    def network(self, facts):
        return Net(facts)


class Net(nn.Module):
    def __init__(self, facts):
        super().__init__()
        self.normalize = Normalize(facts.mean, facts.std)
        self.conv, self.head = nn.Conv2d(facts.channels, 24, 7, 7), nn.Linear(8, facts.classes)

    def forward(self, x):
        parts = self.conv(self.normalize(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=3)
        parts = [part.contiguous() for part in parts]
        attended = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*parts)[0]
        return self.head(attended.mean((1, 2)))
"""
"""A network that calls the kernel itself of which torch has no second derivative."""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attacks", "topk:steps=2", "--methods", "natural"], "natural: torch has no second derivative of"),
        (["--attacks", "noise:draws=2", "--methods", "aga"], "aga: torch has no second derivative of"),
        (["--attacks", "noise:draws=2", "--metrics", "curvature", "--methods", "natural"], "curvature"),
    ],
)
def test_what_has_no_second_derivative_is_refused_before_training(
    words: list[str], said: str, tmp_path: Path, capsys: Capture
) -> None:
    plugin = tmp_path / "flash.py"
    plugin.write_text(FLASH)
    command = ["--plugin", plugin, "--model", "flash", *FAST, *words, "--out", tmp_path / "run"]
    code, out, err = run(command, capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert "_scaled_dot_product_flash_attention_for_cpu, which the network computes" in err
    assert err.count("\n") == 1
    assert not list(tmp_path.rglob("*.pt"))


GATED = """
from dataclasses import dataclass

from torch import nn
from torch.nn.functional import cross_entropy

from attrobust import Method, register_method


class Gate(nn.Module):
    def forward(self, x):
        return x * (1 + x.sigmoid())


@register_method("gated")
@dataclass(frozen=True, kw_only=True)
class Gated(Method):
    def prepare(self, model):
        return nn.Sequential(model, Gate()) if not isinstance(model[-1], Gate) else model

    def loss(self, model, x, y, generator):
        return cross_entropy(model(x), y)
"""
"""A method whose network has an operation that LRP has no rule for."""


def test_an_explainer_that_does_not_suit_one_network_fails_there_only(tmp_path: Path, capsys: Capture) -> None:
    plugin = tmp_path / "gated.py"
    plugin.write_text(GATED)
    words = ["--plugin", plugin, "--methods", "natural,gated", *FAST, *SMALL, "--epochs", "1"]
    words += ["--explainers", "saliency,lrp", "--attacks", "noise:draws=2"]
    code, _, err = run([*words, "--strict", "--out", tmp_path / "strict"], capsys)
    assert code == 2
    assert err.startswith("error: lrp of gated: ")
    assert err.count("\n") == 1
    code, _, err = run([*words, "--out", tmp_path / "run"], capsys)
    assert code == 1
    assert "lrp of gated" in err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "leaderboard.csv").read_text())))
    failed = {(row["method"], row["explainer"]) for row in rows if row["status"] == "failed"}
    assert {(method, explainer) for method, explainer in failed if explainer} == {("gated", "lrp")}
    assert {("natural", "lrp"), ("natural", "saliency"), ("gated", "saliency")} <= {
        (row["method"], row["explainer"]) for row in rows if row["status"] != "failed"
    }
    # An explainer that suits none of the networks is a mistake in what was typed.
    alone = [*words, "--methods", "gated", "--explainers", "lrp", "--out", tmp_path / "alone"]
    code, _, err = run(alone, capsys)
    assert code == 2
    assert "lrp of gated" in err
