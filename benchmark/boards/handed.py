"""The file in which attacked images are handed in: read, written, and held to the images and the ball of a board.

An ``.npz`` file with these arrays:

=================  =====================================================================
``x``              floats N×C×H×W in [0, 1], the attacked images
``ids``            integers N, their positions in the test split, counted from 0
``clean_sha256``   N texts, of each clean image the hash of its 8-bit pixels, C×H×W
``method``         text, the row of the table, e.g. ``aga``
``seed``           integer, its training seed; -1 for a row without one
``explainer``      text, as the table has it, e.g. ``ig``
``eps``            number, the radius of the ball in pixel units, e.g. 8/255
``attack``         text, the column that is contested; ``auto`` where it is left out
``run``            text, which table of a sweep, where radius and row leave several
=================  =====================================================================
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attrobust.arrays import Booleans, Floats, Integers
from attrobust.benchmark.store.arrays import Array
from attrobust.files import write_atomically
from attrobust.images import ROUNDING
from attrobust.threat import ThreatModel, format_eps
from attrobust.types import UsageError

REQUIRED = ("x", "ids", "clean_sha256", "method", "seed", "explainer", "eps")
OPTIONAL = ("attack", "run")
SLACK = 0.5 / 255
"""How far out of the ball a pixel may be, in pixel units: half a grey level, which 8-bit images are rounded by."""


@dataclass(frozen=True, kw_only=True)
class HandedIn:
    """The contents of such a file.

    Attributes:
        x, ids, clean_sha256, method, seed, explainer, eps, attack, run: see above; a seed of -1 is None.
    """

    x: Floats
    ids: Integers
    clean_sha256: tuple[str, ...]
    method: str
    seed: int | None
    explainer: str
    eps: float
    attack: str = "auto"
    run: str = ""

    @property
    def words(self) -> str:
        """What is contested, as errors say it."""
        seed = "" if self.seed is None else f" (seed {self.seed})"
        parts = (self.run, f"{self.method}{seed}", self.explainer, self.attack, f"eps {format_eps(self.eps)}")
        return " / ".join(filter(None, parts))


def image_sha256(image: Floats) -> str:
    """The hash of a clean image C×H×W with pixels in [0, 1]: that of its 8-bit pixels."""
    return hashlib.sha256(np.rint(255 * image.astype(np.float64)).astype(np.uint8).tobytes()).hexdigest()


def write_handed_in(
    path: Path,
    x: Floats,
    *,
    clean: Floats,
    ids: Integers,
    method: str,
    explainer: str,
    eps: float,
    seed: int | None = 0,
    attack: str = "auto",
    run: str = "",
) -> None:
    """Write attacked images into a file that ``verify --stronger`` takes.

    Args:
        path: of the file.
        x, clean: attacked and clean images, N×C×H×W in [0, 1].
        ids: positions in the test split, int64[N].
        method, explainer, eps, seed, attack, run: what is contested; see the module.
    """
    arrays: dict[str, Array] = {
        "x": x.astype(np.float32),
        "ids": ids,
        "clean_sha256": np.array([image_sha256(image) for image in clean], dtype=np.str_),
        "seed": np.array(-1 if seed is None else seed),
        "eps": np.array(eps),
    }
    named = {"method": method, "explainer": explainer, "attack": attack} | ({"run": run} if run else {})
    arrays |= {name: np.array(text) for name, text in named.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_handed_in(path: Path) -> HandedIn:
    """Read such a file, with the images in the order of their positions.

    Raises:
        UsageError: it is none, lacks something, or holds images or positions of another kind.
    """
    arrays = _arrays(path)
    lacking = [name for name in REQUIRED if name not in arrays]
    unknown = [name for name in arrays if name not in (*REQUIRED, *OPTIONAL)]
    if lacking or unknown:
        what = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(unknown)}, which nothing stands for"
        raise UsageError(f"{path} {what}; it must hold {', '.join(REQUIRED)}, and may hold {', '.join(OPTIONAL)}")
    x, ids, hashes = arrays["x"], arrays["ids"], arrays["clean_sha256"]
    if x.ndim != 4 or x.dtype.kind != "f":
        raise UsageError(f"{path}: x must be floats N×C×H×W, not {x.dtype} {'×'.join(map(str, x.shape))}")
    if ids.shape != (len(x),) or ids.dtype.kind not in "iu" or len(x) == 0:
        raise UsageError(f"{path}: ids must be integers, one for each of {len(x)} images, at least one")
    if len(np.unique(ids)) < len(ids) or ids.min() < 0:
        raise UsageError(f"{path}: ids must be positions from 0, each once")
    if hashes.shape != (len(x),) or hashes.dtype.kind != "U":
        raise UsageError(f"{path}: clean_sha256 must be texts, one for each of {len(x)} images")
    if not np.isfinite(x).all():
        raise UsageError(f"{path}: x has a pixel that is NaN or infinite")
    if x.min() < -ROUNDING or x.max() > 1 + ROUNDING:
        raise UsageError(f"{path}: x must be in [0, 1], and has pixels from {x.min():.6g} to {x.max():.6g}")
    order = np.argsort(ids)
    seed = _whole(path, arrays["seed"])
    return HandedIn(
        x=x[order].astype(np.float32).clip(0.0, 1.0),
        ids=ids[order].astype(np.int64),
        clean_sha256=tuple(str(hashes[index]) for index in order),
        method=_text(path, arrays, "method"),
        seed=None if seed < 0 else seed,
        explainer=_text(path, arrays, "explainer"),
        eps=_number(path, arrays["eps"]),
        attack=_text(path, arrays, "attack", "auto"),
        run=_text(path, arrays, "run", ""),
    )


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as found:
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise UsageError(f"{path} is one array; hand in an .npz file with names")
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise UsageError(f"--stronger {path} does not exist") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"--stronger {path} is no .npz file of plain arrays ({error})") from error


def _text(path: Path, arrays: dict[str, Array], name: str, default: str | None = None) -> str:
    if name not in arrays and default is not None:
        return default
    value = arrays[name]
    if value.shape != () or value.dtype.kind != "U":
        raise UsageError(f"{path}: {name} must be one text")
    return str(value)


def _whole(path: Path, value: Array) -> int:
    if value.shape != () or value.dtype.kind not in "iu":
        raise UsageError(f"{path}: seed must be one integer, -1 for a row without a seed")
    return int(value)


def _number(path: Path, value: Array) -> float:
    if value.shape != () or value.dtype.kind not in "iuf" or not math.isfinite(value):
        raise UsageError(f"{path}: eps must be one number, in pixel units")
    return float(value)


def check_images(handed: HandedIn, clean: Floats, count: int) -> None:
    """Hold handed in images to the clean ones of the board.

    Args:
        handed: as read.
        clean: the board's images at their positions, N×C×H×W; those that are on the board.
        count: of images on the board.

    Raises:
        UsageError: other images, or of another shape.
    """
    if (last := int(handed.ids.max())) >= count:
        raise UsageError(f"ids has position {last}, and the board is about the first {count} test images")
    if handed.x.shape[1:] != clean.shape[1:]:
        mine, theirs = ("×".join(map(str, shape[1:])) for shape in (handed.x.shape, clean.shape))
        raise UsageError(f"x has images of {mine}, and those of the board are {theirs}")
    for place, image, said in zip(handed.ids, clean, handed.clean_sha256, strict=True):
        if image_sha256(image) != said:
            raise UsageError(f"the clean image at position {place} of the board is another one than clean_sha256 says")


def check_ball(handed: HandedIn, clean: Floats, threat: ThreatModel) -> None:
    """Refuse images that are out of the ball by more than the rounding of 8-bit images; the rest is projected.

    Args:
        handed: as read.
        clean: the board's images at their positions, N×C×H×W.
        threat: of the cell.

    Raises:
        UsageError: an image is too far away; says which, and how far.
    """
    delta = (handed.x.astype(np.float64) - clean).reshape(len(clean), -1)
    linf = threat.norm == "linf"
    size = np.abs(delta).max(axis=1) if linf else np.sqrt((delta**2).sum(axis=1))
    outside: Booleans = size > threat.eps + (SLACK if linf else SLACK * math.sqrt(delta.shape[1]))
    if outside.any():
        worst = int(size.argmax())
        far = format(255 * size[worst], ".2f") + "/255" if linf else format(size[worst], ".4g")
        raise UsageError(
            f"{int(outside.sum())} of {len(size)} images are out of the ball {threat}: that at position "
            f"{handed.ids[worst]} is {far} from the clean one"
        )
