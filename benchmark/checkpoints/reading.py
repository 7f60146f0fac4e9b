"""Weight files read without running code from them: what they hold, or in one line what they are instead."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from attrobust.benchmark.checkpoints.nesting import is_nested
from attrobust.files import read_plain, size_words
from attrobust.machine import memory
from attrobust.naming.file_names import not_a_file
from attrobust.naming.safe import first_line
from attrobust.types import UsageError

BESIDE_WEIGHTS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib._local.PosixPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)
"""Classes of plain values that training scripts save beside the weights: options, folders, an accuracy as numpy has it.
None of them is imported for a file; a ``StandIn`` takes its place."""
FORMATS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch that with: git lfs pull"),
    (b"\x89HDF", "is an HDF5 file; save the network's state dict with torch.save(model.state_dict(), NEW)"),
    (b"\x93NUMPY", "is a numpy array; save the network's state dict with torch.save(model.state_dict(), NEW)"),
    (b"\x1f\x8b", "is a gzip archive; unpack it with gunzip or tar and name the file in it"),
)
"""First bytes of files that are no weights, and what to say of them."""
NESTED = "is no weights: it holds tuples in tuples, deeper or larger than weights have; save model.state_dict() alone"
PICKLE = "data.pkl"
"""Of an archive of PyTorch, the file of names and shapes; the numbers are in others."""
MOST_STRUCTURE = 2**25
"""Bytes of that file beyond which an archive is not read: the largest of networks have a few million."""


class StandIn:
    """Takes the place of an object beside the weights; whatever the file says of it is dropped."""

    def __init__(self, *_args: object, **_settings: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _stand_in(full_name: str) -> type[StandIn]:
    """A class that ``torch.load`` takes for the one of this name."""
    module, _, name = full_name.rpartition(".")
    return type(name, (StandIn,), {"__module__": module, "__qualname__": name})


STAND_INS: list[Any] = [_stand_in(name) for name in BESIDE_WEIGHTS]


def read_file(path: Path) -> tuple[Any, str]:
    """What a file of PyTorch or safetensors holds, on the CPU, and the sha256 of the file.

    Raises:
        UsageError: no such file, one of another kind, or objects whose code would have to be run.
    """
    if problem := not_a_file(path):
        raise UsageError(f"checkpoint file {path} {problem}")
    size, free = path.stat().st_size, memory()
    if size > free:
        raise UsageError(
            f"checkpoint file {path} has {size_words(size)}, and only {size_words(free)} of memory are free"
        )
    content = read_plain(path)
    if problem := _not_weights(content):
        raise UsageError(f"{path} {problem}")
    is_safetensors = path.suffix == ".safetensors" or _has_safetensors_header(content)
    held = _safetensors(path, content) if is_safetensors else _torch(path, content)
    return held, hashlib.sha256(content).hexdigest()


def _not_weights(content: bytes) -> str:
    """What is said of a file that cannot hold weights to read; empty for others."""
    if not content:
        return "is empty; copy or download it again"
    for start, problem in FORMATS:
        if content.startswith(start):
            return problem
    if content[257:262] == b"ustar":
        return "is a tar archive; unpack it and name the file in it"
    if content.startswith(b"PK\x03\x04"):
        return _not_weights_in_zip(content)
    text = content[:256].decode("utf-8", errors="replace")
    if "\ufffd" not in text[:-1] and all(letter.isprintable() or letter.isspace() for letter in text):
        if b'"weight_map"' in content:
            return "is the index of weights in several files; put their tensors into one file and name that"
        return f"is a text file ({text.strip()[:40]!r}), and no weights; download those themselves"
    return NESTED if is_nested(content) else ""


def _not_weights_in_zip(content: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
            structure = max((one.file_size for one in archive.infolist() if one.filename.endswith(PICKLE)), default=0)
            unpacked = sum(one.file_size for one in archive.infolist())
            small = structure <= MOST_STRUCTURE
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith(PICKLE)] if small else []
    except Exception:  # Of a damaged archive zipfile raises whatever its reader runs into.
        return "is damaged or cut off; copy or download it again"
    if "constants.pkl" in names:
        return (
            "is a TorchScript archive, which is a program, and no code of a checkpoint is run here; "
            "where it was made, save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )
    if structure > MOST_STRUCTURE:
        return f"is no weights: {size_words(structure)} of names and shapes, where weights have a few"
    if unpacked > memory():
        return f"unpacks to {size_words(unpacked)}, and only {size_words(memory())} of memory are free"
    if any(map(is_nested, pickles)):
        return NESTED
    if PICKLE not in names:
        return "is a zip archive without weights that torch.save wrote; unpack it and name the file in it"
    return ""


def _has_safetensors_header(content: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header, a JSON object."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def _safetensors(path: Path, content: bytes) -> Any:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise UsageError(f"{path} needs safetensors ({error}): pip install attrobust[zoo]") from error
    try:
        return load(content)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged or cut off ({error}); copy or download it again") from error
    except Exception as error:  # It checks the header, and torch may lack what that names.
        raise UsageError(
            f"{path} holds what torch has no type of numbers for ({first_line(error)}); save its weights as float32"
        ) from error


def _torch(path: Path, content: bytes) -> Any:
    try:
        with torch.serialization.safe_globals(STAND_INS), warnings.catch_warnings():
            # Of the protocol that a file was pickled with; what cannot be read is refused in words.
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"{path} {_refused(content, str(error))}") from error


def _refused(content: bytes, problem: str) -> str:
    whole = "torch.load(FILE, weights_only=False)"
    weights = f'{whole}["state_dict"]' if b"pytorch-lightning_version" in content else "model.state_dict()"
    save = f"where it was made, save its weights alone: torch.save({weights}, NEW)"
    way_out = f"and no code of a checkpoint is run here; {save}"
    if match := re.search(r"GLOBAL (\S+)", problem):
        return f"holds a {match[1]}, {way_out}"
    if re.search("unrecognized function|Can only (build|create)", problem):
        return f"holds objects that only code can build, {way_out}"
    return "is not a file that torch.save or safetensors wrote, or is damaged; save model.state_dict() with torch.save"
