"""NumPy arrays by what they hold, whatever their shape."""

from __future__ import annotations

import numpy as np

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Booleans = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
