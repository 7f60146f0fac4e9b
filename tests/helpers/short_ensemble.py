"""The ensemble ``auto`` with fewer steps, which no setting of it gives."""

from __future__ import annotations

import pytest

from attrobust.attacks import auto


def shorten(patch: pytest.MonkeyPatch, *, rough: int, fine: int, queries: int) -> None:
    """Give both halves of a descent, and the search, other lengths as long as ``patch`` holds."""
    patch.setattr(auto, "ROUGH", rough)
    patch.setattr(auto, "FINE", fine)
    patch.setattr(auto, "QUERIES", queries)
