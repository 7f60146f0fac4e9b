"""Results of attacks as bytes, exact to the bit, so that other metrics and figures need no second attack.

Floats are stored as the exclusive or of their bits with those of the clean image, byte by byte: where an attack moves a
pixel little, sign, exponent and leading digits are zeros, which compress.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from attrobust.arrays import Bytes
from attrobust.attacks.base import AttackOutput
from attrobust.networks.passes import Passes

LEVEL = 1
"""Of compression; higher levels gain little on bits that are nearly random."""


class KeptResults:
    """The results of an attack on one batch: those of an earlier evaluation, or those that this one computes.

    Args:
        known: results that there are.
        wanted: whether results that are computed are kept.

    Attributes:
        data: computed results as bytes; empty where there are none, or none are wanted.
    """

    def __init__(self, known: AttackOutput | None = None, *, wanted: bool = True) -> None:
        self._known, self._wanted = known, wanted
        self.data = b""

    def find(self, x: Tensor) -> AttackOutput | None:
        """See ``inputs.Kept.find``."""
        return _on(self._known, x.device) if self._known else None

    def keep(self, x: Tensor, output: AttackOutput) -> None:
        """See ``inputs.Kept.keep``."""
        if self._wanted:
            self.data = encoded(output, x)


def some_of(output: AttackOutput, rows: range) -> AttackOutput:
    """The results for some images; what the attack cost is said of the first of them."""
    chosen = slice(rows.start, rows.stop)
    return AttackOutput(
        x=output.x[chosen],
        others=output.others[:, chosen],
        feasible=output.feasible[chosen],
        passes=Passes() if rows.start else output.passes,
        members=output.members,
        sources=output.sources[:, chosen],
    )


def _on(output: AttackOutput, device: torch.device) -> AttackOutput:
    moved = {name: getattr(output, name).to(device) for name in ("x", "others", "feasible")}
    return replace(output, **moved)


def encoded(output: AttackOutput, x: Tensor) -> bytes:
    """The results of an attack, to be read with the clean images alone.

    Args:
        output: of the attack.
        x: the clean images, B×C×H×W.
    """
    results = torch.cat([output.x[None], output.others])
    moved = _bits(results) ^ _bits(x)
    # All first bytes of the floats, then all second ones, and so on.
    planes = np.moveaxis(moved, -1, 0)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        moved=np.frombuffer(zlib.compress(np.ascontiguousarray(planes).tobytes(), LEVEL), dtype=np.uint8),
        shape=np.array(results.shape),
        feasible=output.feasible.cpu().numpy(),
        sources=output.sources.cpu().numpy(),
        members=np.array(output.members, dtype=np.str_),
        passes=np.array(list(asdict(output.passes).values())),
    )
    return buffer.getvalue()


def decoded(data: bytes, x: Tensor) -> AttackOutput:
    """The results as they were, on the CPU.

    Args:
        data: see ``encoded``.
        x: the clean images, B×C×H×W, in the same precision.

    Raises:
        ValueError: the bytes are of other images.
    """
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        shape = tuple(arrays["shape"].tolist())
        if shape[1:] != tuple(x.shape):
            raise ValueError(f"kept results are of images {shape[1:]}, these are {tuple(x.shape)}")
        size = x.element_size()
        planes = np.frombuffer(zlib.decompress(arrays["moved"].tobytes()), dtype=np.uint8).reshape(size, *shape)
        bits = np.ascontiguousarray(np.moveaxis(planes, 0, -1) ^ _bits(x))
        results = torch.from_numpy(bits).view(x.dtype)[..., 0]
        return AttackOutput(
            x=results[0],
            others=results[1:],
            feasible=torch.from_numpy(arrays["feasible"]),
            passes=Passes(*arrays["passes"].tolist()),
            members=tuple(arrays["members"].tolist()),
            sources=torch.from_numpy(arrays["sources"]),
        )


def _bits(images: Tensor) -> Bytes:
    """The bytes of every float, …×bytes."""
    values = images.detach().cpu().contiguous().numpy()
    return values.view(np.uint8).reshape(*values.shape, values.itemsize)
