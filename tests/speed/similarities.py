"""A table of every similarity against what one would write instead; run by hand on an idle machine.

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/speed/similarities.py [NAME ...]

Milliseconds for all maps of a batch, in float64 on one thread: the fastest of five runs on the same data, random
positive maps of which none of the values tie, and maps rounded to a hundred values. What is beside it is SciPy's or
scikit-image's function for one image after another, or NumPy on the whole batch; and torchmetrics where it is
installed, except for its Kendall, which compares all pairs of pixels.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.ndimage
import scipy.stats
import torch
from skimage.metrics import structural_similarity

from attrobust.metrics import registry
from attrobust.metrics.base import Similarity

Alternative = Callable[[np.ndarray, np.ndarray], Any]
SIZES = [(128, 48, 64), (16, 224, 224), (128, 32, 32)]
"""Maps, height and width; the first have the pixels of a CIFAR-10 image with its channels."""


def each(compare: Alternative) -> Alternative:
    return lambda a, b: [compare(x, y) for x, y in zip(a, b, strict=True)]


def flat(compare: Alternative) -> Alternative:
    return lambda a, b: compare(a.reshape(len(a), -1), b.reshape(len(b), -1))


def rows(a: np.ndarray) -> np.ndarray:
    """Of length one."""
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def tops(a: np.ndarray) -> np.ndarray:
    found, k = np.zeros(a.shape, dtype=bool), math.ceil(a.shape[1] / 10)
    np.put_along_axis(found, np.argsort(-a, axis=1, kind="stable")[:, :k], values=True, axis=1)
    return found


def dilated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wide, narrow = (tops(maps.reshape(len(maps), -1)).reshape(maps.shape) for maps in (a, b))
    return (scipy.ndimage.maximum_filter(wide, (1, 3, 3)) & narrow).sum(axis=(1, 2))


def sliced(a: np.ndarray, b: np.ndarray) -> float:
    places = np.indices(a.shape).reshape(2, -1)
    angles = np.arange(16) * math.pi / 16
    lines = [math.cos(angle) * places[0] + math.sin(angle) * places[1] for angle in angles]
    return float(np.mean([scipy.stats.wasserstein_distance(x, x, a.ravel(), b.ravel()) for x in lines]))


ALTERNATIVES: dict[str, Alternative] = {
    "cosine": flat(lambda a, b: (rows(a) * rows(b)).sum(axis=1)),
    "kendall": each(lambda a, b: scipy.stats.kendalltau(a, b).statistic),
    "lens-precision": lambda a, b: dilated(b, a),
    "lens-recall": dilated,
    "mass-center": each(lambda a, b: math.dist(scipy.ndimage.center_of_mass(a), scipy.ndimage.center_of_mass(b))),
    "normalized-l2": flat(lambda a, b: np.linalg.norm(rows(a) - rows(b), axis=1)),
    "pearson": flat(each(lambda a, b: scipy.stats.pearsonr(a, b).statistic)),
    "spearman": flat(each(lambda a, b: scipy.stats.spearmanr(a, b).statistic)),
    "ssim": each(lambda a, b: structural_similarity(a, b, win_size=7, data_range=np.ptp(a))),
    "topk": flat(lambda a, b: (tops(a) & tops(b)).sum(axis=1)),
    "wasserstein": each(sliced),
}


def torchmetrics() -> dict[str, Callable[[torch.Tensor, torch.Tensor], Any]]:
    """Its functions, of batches of maps; none where it is not installed."""
    if importlib.util.find_spec("torchmetrics") is None:
        return {}
    functional = importlib.import_module("torchmetrics.functional")
    image = importlib.import_module("torchmetrics.functional.image")
    window = {"gaussian_kernel": False, "kernel_size": 7, "reduction": "none"}
    return {
        "cosine": lambda a, b: functional.cosine_similarity(a.flatten(1), b.flatten(1), reduction="none"),
        "pearson": lambda a, b: functional.pearson_corrcoef(a.flatten(1).T, b.flatten(1).T),
        "spearman": lambda a, b: functional.spearman_corrcoef(a.flatten(1).T, b.flatten(1).T),
        "ssim": lambda a, b: image.structural_similarity_index_measure(a[:, None], b[:, None], **window),
    }


FLOOR = "(two sorts)"
"""What ``numpy.argsort`` takes for the maps of both batches."""


def milliseconds(job: Callable[[], object]) -> float:
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def main(words: list[str]) -> None:
    torch.set_num_threads(1)
    known = torchmetrics()
    names = words or [name for name in registry.names() if issubclass(registry.get(name), Similarity)]
    print(f"{'maps':<15}{'values':<9}{'metric':<16}{'here':>9}{'instead':>10}{'times':>8}{'torchmetrics':>14}")
    for size in SIZES:
        for kind in ("distinct", "tied"):
            generator = torch.Generator().manual_seed(0)
            a, b = torch.rand(2, *size, generator=generator, dtype=torch.float64)
            if kind == "tied":
                a, b = (100 * a).ceil(), (100 * b).ceil()
            left, right = a.numpy(), b.numpy()
            start = f"{'×'.join(map(str, size)):<15}{kind:<9}"
            sorting = milliseconds(lambda: [np.argsort(m.reshape(len(m), -1), axis=1) for m in (left, right)])  # noqa: B023
            print(f"{start}{FLOOR:<16}{sorting:>9.2f}", flush=True)
            for name in names:
                metric = registry.get(name)()
                here = milliseconds(lambda: metric(a, b))  # noqa: B023
                instead = milliseconds(lambda: ALTERNATIVES[name](left, right))  # noqa: B023
                theirs = f"{milliseconds(lambda: known[name](a, b)):.2f}" if name in known else ""  # noqa: B023
                print(f"{start}{name:<16}{here:>9.2f}{instead:>10.2f}{instead / here:>8.1f}{theirs:>14}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="NAME")
    words = parser.parse_args().words
    main(words)
