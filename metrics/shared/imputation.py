"""Linear imputation: removed pixels become weighted means of their neighbours: Rong et al. 2022, arXiv 2202.00449."""

from __future__ import annotations

import functools

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import splu
from torch import Tensor

NEIGHBOURS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
"""Weights of neighbours by their offset in rows and columns; those on the opposite side weigh as much."""


def imputed(image: Tensor, removed: Tensor) -> Tensor:
    """The image, each removed pixel the weighted mean of its up to eight neighbours, of which some are removed too.

    Direct neighbours weigh 1/6 and diagonal ones 1/12, divided by the sum over those inside the image. The values of
    all removed pixels are the solution of one sparse linear system, which is solved exactly in float64, on the CPU.

    Args:
        image: C×H×W.
        removed: bool H×W, not everywhere True.

    Returns:
        Tensor C×H×W, typed like ``image``.
    """
    channels, height, width = image.shape
    gone = removed.flatten().cpu().numpy()
    if not gone.any():
        return image.clone()
    rows = laplacian(height, width)[gone]
    values = image.detach().flatten(1).cpu().double().numpy().T.copy()
    values[gone] = splu(rows[:, gone].tocsc()).solve(-(rows[:, ~gone] @ values[~gone]))
    return torch.from_numpy(np.ascontiguousarray(values.T)).view(channels, height, width).to(image)


@functools.lru_cache(maxsize=8)
def laplacian(height: int, width: int) -> scipy.sparse.csr_matrix:
    """Sparse HW×HW matrix: what a pixel weighs less what its neighbours do; 0 for an image of one colour."""
    place = np.arange(height * width).reshape(height, width)
    weights = scipy.sparse.csr_matrix((height * width, height * width))
    for (down, right), weight in NEIGHBOURS.items():
        first = place[: height - down, max(0, -right) : width - max(0, right)].ravel()
        second = place[down:, max(0, right) : width + min(0, right)].ravel()
        one_way = scipy.sparse.csr_matrix((np.full(len(first), weight), (first, second)), shape=weights.shape)
        weights = weights + one_way + one_way.T
    return scipy.sparse.csr_matrix(scipy.sparse.diags(np.asarray(weights.sum(axis=1)).ravel()) - weights)
