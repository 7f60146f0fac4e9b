"""Maps are compared a part of the batch at a time."""

from __future__ import annotations

import pytest
import torch

from attrobust.metrics.shared import parts
from attrobust.metrics.similarity.pearson import Pearson


def test_images_computed_in_parts_are_all_there_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    a, noise = torch.randn(2, 7, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = a.roll(1, 0) + noise
    whole = Pearson()(a, b)
    for chunk in (1, 300, 10**6):
        monkeypatch.setattr(parts, "CHUNK", chunk)
        assert torch.equal(Pearson()(a, b), whole)
