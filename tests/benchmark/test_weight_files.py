"""Weight files as they are in the wild: each loads the weights that are meant, or is refused in one line."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from attrobust import UsageError, load
from attrobust.benchmark import models
from attrobust.benchmark.checkpoints import reading
from attrobust.benchmark.checkpoints.external import parse_external
from attrobust.benchmark.checkpoints.nesting import is_nested
from attrobust.benchmark.checkpoints.source import WeightFile
from attrobust.benchmark.checkpoints.state_dict import fitting_model, load_weights
from attrobust.benchmark.executors.networks import Networks
from attrobust.benchmark.models.base import ModelFamily
from attrobust.naming.component import resolve_one
from attrobust.types import ImageFacts

from helpers.runs import FAST, run

Capture = pytest.CaptureFixture[str]
State = dict[str, Tensor]
GREY = ImageFacts(channels=1, size=28, classes=10, mean=(0.306,), std=(0.324,))
SMALL = "lenet:width=16,hidden=64"


def natural() -> State:
    return dict(load("digits/natural").state_dict())


def other() -> State:
    """Weights of the same network that are not those of ``natural``."""
    return dict(load("digits/aga").state_dict())


def under(prefix: str, state: State) -> State:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def averaged() -> State:
    return dict(AveragedModel(load("digits/natural")).state_dict())


def inside(wrap: Callable[[nn.Module], nn.Module]) -> State:
    """The state dict of a network of which one part is wrapped."""
    network: Any = load("digits/natural")
    network.features = wrap(network.features)
    return dict(network.state_dict())


class Normalise(nn.Module):
    """As attackers put it in front of a network, with its constants among the weights."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([mean]).view(1, 1, 1, 1))
        self.register_buffer("std", torch.tensor([std]).view(1, 1, 1, 1))


def in_front(mean: float, std: float) -> State:
    return dict(nn.Sequential(Normalise(mean, std), load("digits/natural")).state_dict())


def torchvisions(args: object) -> dict[str, Any]:
    """What torchvision's reference script saves."""
    network = load("digits/natural")
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.rand(2, 1, 28, 28)).sum().backward()
    optimizer.step()
    plain = {"optimizer": optimizer.state_dict(), "lr_scheduler": {"last_epoch": 3}, "epoch": 3, "scaler": {}}
    return {"model": natural(), **plain, "args": args}


def file_of(value: object, path: Path) -> Path:
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        torch.save(value, path)
    return path


def nested(count: int) -> dict[str, Any]:
    """Dicts four deep with a hundred million paths through them."""
    held: dict[str, Any] = {"a": 1}
    for _ in range(4):
        held = {str(number): held for number in range(count)}
    return held


def endless() -> list[Any]:
    held: list[Any] = []
    held.append(held)
    return held


def opened(path: Path, rest: str = "") -> tuple[nn.Module, str]:
    default = resolve_one(models.registry, SMALL, ModelFamily)
    return parse_external(f"mine={path}:{rest}" if rest else f"mine={path}", default).open(GREY)


OPTIONS = argparse.Namespace(lr=0.1, data_path=Path("/data"), best=np.float64(0.98))
LOADED: dict[str, Callable[[], object]] = {
    "torchvision's reference script": lambda: torchvisions(argparse.Namespace(lr=0.1, opt="sgd")),
    "options with a folder and a number of numpy": lambda: torchvisions(OPTIONS),
    "Lightning with options": lambda: {
        "pytorch-lightning_version": "2.5",
        "state_dict": under("model", natural()),
        "hyper_parameters": OPTIONS,
    },
    "a key that nobody uses": lambda: {"my_weights": natural()},
    "a key inside a key": lambda: {"run": {"best": {"network": natural()}}, "epoch": 1},
    "AveragedModel": averaged,
    "AveragedModel under a key": lambda: {"model_ema": averaged()},
    "a part that is compiled": lambda: inside(torch.compile),
    "a part in parallel": lambda: inside(nn.DataParallel),
    "all of it in parallel and compiled": lambda: under("module._orig_mod", natural()),
    "a normalisation in front": lambda: in_front(0.306, 0.324),
    "a normalisation beside": lambda: {
        **under("model", natural()),
        "normalizer.new_mean": torch.tensor([0.306]),
        "normalizer.new_std": torch.tensor([0.324]),
    },
    "an attacker that holds the network too": lambda: {
        **under("module.model", natural()),
        **under("module.attacker.model", natural()),
    },
    "the weights of a training loss": lambda: {**under("model", natural()), "criterion.weight": torch.ones(10)},
    "an average that equals the last weights": lambda: {"state_dict": natural(), "state_dict_ema": natural()},
    "an average without tensors": lambda: {"state_dict": natural(), "ema": {"decay": 0.99}},
    "an average that holds nothing but itself": lambda: {"model": natural(), "ema": endless()},
    "another network beside it": lambda: {"generator": {"w": torch.ones(3)}, "classifier": natural()},
    "double precision": lambda: {name: tensor.double() for name, tensor in natural().items()},
    "a file of PyTorch before 1.6": lambda: legacy(natural()),
}


def legacy(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", LOADED)
def test_what_lies_beside_or_before_the_weights_does_not_matter(
    kind: str, real_images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    network, _ = opened(file_of(LOADED[kind](), tmp_path / "mine.pt"))
    assert torch.equal(network(real_images[0]), load("digits/natural")(real_images[0]))


def jit(path: Path) -> bytes:
    torch.jit.save(torch.jit.trace(load("digits/natural"), torch.rand(1, 1, 28, 28)), str(path / "jit.pt"))  # type: ignore[no-untyped-call]
    return (path / "jit.pt").read_bytes()


def archive(name: str, content: bytes = b"0123456789") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return buffer.getvalue()


def cut(path: Path) -> bytes:
    content = file_of(natural(), path / "whole.pt").read_bytes()
    return content[: len(content) // 2]


def changed(change: Callable[[Tensor], Tensor]) -> State:
    state = natural()
    return {**state, "features.0.weight": change(state["features.0.weight"])}


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "an average beside": (
        lambda _: {"state_dict": natural(), "state_dict_ema": other()},
        "weights under 'state_dict' and under 'state_dict_ema'; choose by key=state_dict or key=state_dict_ema: NAME=",
    ),
    "torchvision's average beside": (
        lambda _: {"model": other(), "model_ema": averaged()},
        "weights under 'model' and under 'model_ema'; choose by key=model or key=model_ema: NAME=",
    ),
    "an average of another precision": (
        lambda _: {"model": natural(), "model_ema": {name: tensor.half() for name, tensor in natural().items()}},
        "weights under 'model' and under 'model_ema'; choose",
    ),
    "an average beside, in one state dict": (
        lambda _: {"state_dict": {**under("net", natural()), **under("ema_net", other())}},
        "weights under 'state_dict.net' and under 'state_dict.ema_net'; choose",
    ),
    "an average inside": (
        lambda _: {"model": natural(), "ema": {"decay": 0.9, "module": other()}},
        "weights under 'model' and under 'ema.module'; choose",
    ),
    "an average that is a list": (
        lambda _: {"model": natural(), "ema": {"shadow_params": list(other().values())}},
        "weights under 'model' and averaged ones under 'ema' that do not fit this network; to take the former: "
        "NAME=FILE:MODEL:key=model",
    ),
    "student and teacher": (
        lambda _: {**under("student", natural()), **under("teacher", other())},
        "weights under 'student' and under 'teacher'; choose",
    ),
    "another normalisation in front": (
        lambda _: in_front(0.5, 0.25),
        "has '0.mean': it normalises with mean 0.5 and std 0.25, and the network here with mean 0.306 and std 0.324; "
        "set normalize=0.5/0.25",
    ),
    "a part that the network lacks": (
        lambda _: {**under("model", natural()), "head.proj.weight": torch.ones(3)},
        "has 'head.proj.weight', which the model lacks (key=model takes the network's alone)",
    ),
    "integers": (
        lambda _: changed(lambda weight: (weight * 100).to(torch.int8)),
        "'features.0.weight' holds int8, which is no floating-point number",
    ),
    "quantised weights": (
        lambda _: changed(lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
        "'features.0.weight' holds qint8, which is no floating-point number",
    ),
    "numbers beyond float32": (
        lambda _: changed(lambda weight: weight.double() * 1e300),
        "'features.0.weight' has values beyond the largest number of float32",
    ),
    "weights without values": (lambda _: changed(lambda weight: weight.to("meta")), "is on the device meta"),
    "sparse weights": (
        lambda _: {name: tensor.to_sparse_csr() if tensor.dim() == 2 else tensor for name, tensor in natural().items()},
        "'classifier.1.weight' is stored as sparse_csr, without all of its values",
    ),
    "sparse weights twice": (
        lambda _: {key: changed(lambda weight: weight.to_sparse()) for key in ("a", "b")},
        "holds weights under 'a' and under 'b'; choose",
    ),
    "a normalisation without values": (
        lambda _: {
            **under("model", natural()),
            "normalizer.new_mean": torch.ones(1, device="meta"),
            "normalizer.new_std": torch.ones(1),
        },
        "has 'normalizer.new_mean', which the model lacks",
    ),
    "dicts in dicts, each a hundred times": (lambda _: nested(100), "holds more than 2,000 dicts"),
    "numbers that are none": (lambda _: changed(lambda weight: weight / 0), "values that are not finite"),
    "TorchScript": (jit, "is a TorchScript archive, which is a program"),
    "an empty file": (lambda _: b"", "is empty; copy or download it again"),
    "a text file": (lambda _: b"accuracy: 0.9\n", "is a text file ('accuracy: 0.9')"),
    "an index of several files": (
        lambda _: b'{"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}\n',
        "is the index of weights in several files; put their tensors into one file",
    ),
    "a page of a download": (lambda _: "<!DOCTYPE html><p>Größe".encode(), "is a text file ('<!DOCTYPE html>"),
    "a pointer of Git LFS": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "half a file": (cut, "is damaged or cut off; copy or download it again"),
    "another zip": (lambda _: archive("weights.pt"), "is a zip archive without weights"),
    "a gzip": (lambda _: gzip.compress(b"weights"), "is a gzip archive; unpack it"),
    "Keras": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), "is an HDF5 file"),
    "a pickle": (lambda _: pickle.dumps({"a": 1}), "is not a file that torch.save or safetensors wrote"),
    "noise": (lambda _: bytes(range(255, 0, -1)), "is not a file that torch.save or safetensors wrote"),
    "a pickle of more names than a network has": (
        lambda _: archive("archive/data.pkl", bytes(2**28 + 1)),
        "is no weights: 268.4 MB of names and shapes",
    ),
    "an empty dict": (lambda _: {}, "holds no state dict (it is an empty dict)"),
    "a tensor": (lambda _: torch.ones(3), "holds no state dict (it is a Tensor)"),
    "a whole network": (lambda _: load("digits/natural"), "Sequential, and no code of a checkpoint is run here"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_the_networks_weights_alone_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(UsageError) as caught:
        opened(file_of(make(tmp_path), tmp_path / "mine.pt"))
    assert message in str(caught.value)
    assert str(tmp_path / "mine.pt") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only=False" not in str(caught.value)


def test_an_archive_that_unpacks_to_more_than_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = file_of({**natural(), "criterion.weight": torch.zeros(2**20)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(whole) as there, zipfile.ZipFile(tmp_path / "mine.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in there.namelist():
            packed.writestr(name, there.read(name))
    opened(tmp_path / "mine.pt")
    monkeypatch.setattr(reading, "memory", lambda: 2**20)
    with pytest.raises(UsageError, match=r"unpacks to 4.\d MB, and only 1.0 MB of memory are free"):
        opened(tmp_path / "mine.pt")


def of_tuples(count: int, *, again: bytes = b"") -> bytes:
    """A pickle of a dictionary whose key is a tuple in so many others; ``again`` stands behind each."""
    return b"\x80\x02}(" + b")" + (again + b"\x85") * count + b"K\x01u."


DEEP = {
    "in a row": of_tuples(300_000),
    "fetched again": of_tuples(300_000, again=b"q\x010h\x01"),
    "each twice in the next": of_tuples(60, again=b"q\x01h\x01\x86"),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("wrap", ["archive", "bare"])
def test_tuples_that_no_interpreter_can_hash_are_not_read(wrap: str, kind: str, tmp_path: Path) -> None:
    content = DEEP[kind]
    path = tmp_path / "deep.pt"
    path.write_bytes(archive("archive/data.pkl", content) if wrap == "archive" else content)
    with pytest.raises(UsageError, match="it holds tuples in tuples, deeper or larger"):
        reading.read_file(path)


def test_tuples_of_weights_and_optimisers_are_read(tmp_path: Path) -> None:
    network = load("digits/natural")
    state = {"model": network.state_dict(), "optimizer": torch.optim.Adam(network.parameters()).state_dict()}
    for path in (file_of(state, tmp_path / "new.pt"), tmp_path / "old.pt"):
        if not path.exists():
            torch.save(state, path, _use_new_zipfile_serialization=False)
        assert set(reading.read_file(path)[0]) == {"model", "optimizer"}
    shared: tuple[object, ...] = (1,)
    for _ in range(16):
        shared = (shared, shared)
    assert not is_nested(pickle.dumps({shared: [shared] * 2000}, protocol=2))


@pytest.mark.parametrize("given", [1.5, 2.0**40, 1 + 1j])
def test_integers_are_loaded_where_they_stay_what_they_are(given: complex) -> None:
    network = nn.Linear(1, 1)
    network.register_buffer("index", torch.tensor([1], dtype=torch.int32))
    load_weights(network, {**network.state_dict(), "index": torch.tensor([3.0])}, "mine.pt")
    assert network.get_buffer("index").tolist() == [3]
    with pytest.raises(UsageError, match=r"'index' (has values that are no int32|holds complex64)"):
        load_weights(network, {**network.state_dict(), "index": torch.tensor([given])}, "mine.pt")


def test_of_many_state_dicts_none_is_held_against_every_architecture() -> None:
    state = natural()
    assert fitting_model({"a": state}, GREY)
    assert fitting_model({str(number): state for number in range(51)}, GREY) == ""


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        ("an average beside", "state_dict", natural),
        ("an average beside", "state_dict_ema", other),
        ("torchvision's average beside", "model_ema.module", natural),
        ("torchvision's average beside", "model_ema", natural),
        ("an average beside, in one state dict", "state_dict.ema_net", other),
        ("an average that is a list", "model", natural),
        ("student and teacher", "teacher", other),
        ("a part that the network lacks", "model", natural),
    ],
)
def test_a_key_chooses_the_weights_that_are_meant(
    kind: str, key: str, meant: Callable[[], State], real_images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    file, x = file_of(REFUSED[kind][0](tmp_path), tmp_path / "mine.pt"), real_images[0]
    wanted = load("digits/natural")
    wanted.load_state_dict(meant())
    for rest in (f"key={key}", f"{SMALL},key={key}"):
        assert torch.equal(opened(file, rest)[0](x), wanted(x))


def test_two_keys_of_a_file_are_two_networks(tmp_path: Path, capsys: Capture) -> None:
    """Rows are found again by the hash of their weights; that of the file alone would make two networks one row."""
    file = file_of({"state_dict": natural(), "state_dict_ema": other()}, tmp_path / "mine.pt")
    words: list[str | Path] = []
    for name in ("state_dict", "state_dict_ema"):
        words += ["--checkpoint", f"{name}={file}:{SMALL},key={name}"]
    code, _, err = run([*words, *FAST, "--out", tmp_path / "run"], capsys)
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert len({row["cell"]["checkpoint_sha256"] for row in rows}) == 2
    means = [{row["mean"] for row in rows if row["metric"]["name"] == name} for name in ("topk", "spearman")]
    assert all(len(found) > 2 for found in means), "two attacks on each of two networks"


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = file_of({"state_dict": natural(), "state_dict_ema": other()}, tmp_path / "mine.pt")
    with pytest.raises(UsageError, match=r"no weights under 'ema'; there are: 'state_dict', 'state_dict_ema'$"):
        opened(file, "key=ema")
    with pytest.raises(UsageError, match="'keys=ema' is neither key=KEY nor a model with its settings"):
        opened(file, "keys=ema")


def test_a_process_that_reads_a_copy_of_the_file_reads_the_same_key(tmp_path: Path) -> None:
    file = file_of({"state_dict": natural(), "state_dict_ema": other()}, tmp_path / "mine.pt")
    default = resolve_one(models.registry, SMALL, ModelFamily)
    checkpoint = parse_external(f"mine={file}:key=state_dict_ema", default)
    networks = Networks(None, None, tmp_path, {file: tmp_path / "copy"})  # type: ignore[arg-type]
    assert networks.at_hand(checkpoint).source == WeightFile(path=tmp_path / "copy", key="state_dict_ema")
    with pytest.raises(UsageError, match=f"mine: {tmp_path} is a folder; name the weight file in it"):
        parse_external(f"mine={tmp_path}", default)


def test_the_line_says_what_to_type_and_nothing_is_computed(tmp_path: Path, capsys: Capture) -> None:
    file = file_of({"state_dict": natural(), "state_dict_ema": other()}, tmp_path / "mine.pt")
    words = [*FAST, "--methods", "natural", "--out", tmp_path / "run"]
    code, out, err = run(["--checkpoint", f"mine={file}:{SMALL}", *words], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("NAME=FILE:MODEL:key=state_dict_ema\n")
    assert not (tmp_path / "run").exists()


def test_a_normalisation_in_front_is_set_as_the_line_says(real_images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    file, x = file_of(in_front(0.5, 0.25), tmp_path / "mine.pt"), real_images[0]
    network, _ = opened(file, f"{SMALL},normalize=0.5/0.25")
    inner = nn.Sequential(*list(load("digits/natural").children())[1:])
    assert torch.equal(network(x), inner((x - 0.5) / 0.25))


def test_a_file_of_safetensors_is_read_and_a_damaged_one_is_refused(
    real_images: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    content = safetensors.save(under("model", natural()), {"format": "pt"})
    for name in ("model.safetensors", "model.bin"):
        network, _ = opened(file_of(content, tmp_path / name))
        assert torch.equal(network(real_images[0]), load("digits/natural")(real_images[0]))
    for spoilt in (content[:-9], content[:30]):
        with pytest.raises(UsageError, match=r"is damaged or cut off .*; copy or download it again"):
            opened(file_of(spoilt, tmp_path / "model.safetensors"))
    header = b'{"w":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    with pytest.raises(UsageError, match="no type of numbers"):
        opened(file_of(len(header).to_bytes(8, "little") + header + b"12", tmp_path / "model.safetensors"))


def test_safetensors_that_is_not_installed_is_named_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    file = file_of(b"\x02" + bytes(7) + b"{}", tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"needs safetensors .*: pip install attrobust\[zoo\]"):
        opened(file)


class Trap:
    """Runs when it is unpickled."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


class Late:
    """Runs when its state is set, as ``argparse.Namespace`` would if the file gave it a ``__setstate__``."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        options = argparse.Namespace
        return options, (), {"__setstate__": Trap(exec, f"open({str(self.place)!r}, 'w')")}


@pytest.mark.parametrize(
    "trap",
    [
        lambda place: Trap(Path.touch, place),
        lambda place: Trap(exec, f"open({str(place)!r}, 'w')"),
        lambda place: Trap(__import__("os").system, f"touch {place}"),
        lambda place: Trap(np.save, place, np.ones(1)),
        lambda place: argparse.Namespace(inner=Trap(exec, f"open({str(place)!r}, 'w')")),
        Late,
    ],
    ids=["a method", "exec", "os.system", "numpy", "inside options", "when options are set"],
)
def test_no_code_of_a_file_is_run_whatever_stands_in_for_options(
    trap: Callable[[Path], object], tmp_path: Path
) -> None:
    file = file_of({"model": natural(), "args": trap(tmp_path / "ran")}, tmp_path / "mine.pt")
    with pytest.raises(UsageError, match="no code of a checkpoint is run here") as caught:
        opened(file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
