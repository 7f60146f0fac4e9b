"""Progress bars where notebooks and terminals show them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def bar(items: Sequence[T], label: str, *, shown: bool) -> Iterable[T]:
    """The items, with a bar over batches of images.

    Args:
        items: that are worked through.
        label: of the bar.
        shown: whether there is one; outside of notebooks only on a terminal.
    """
    with warnings.catch_warnings():
        # Without ipywidgets a notebook has bars of text, which do as well.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    in_notebook = "ipykernel" in sys.modules
    return tqdm(items, desc=label, unit="batch", leave=False, disable=not shown or (None if not in_notebook else False))
