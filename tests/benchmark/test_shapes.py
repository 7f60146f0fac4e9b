"""Drawn shapes: masks are what the shape paints, to the pixel, and nothing else tells the class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes, label
from skimage.draw import polygon2mask

from attrobust.arrays import Booleans
from attrobust.benchmark.data.base import Loaded, evaluation_sha256
from attrobust.benchmark.data.shapes import PAINTED, UNIT, Shapes

NAMES = list(PAINTED)


@pytest.fixture(scope="module")
def shapes() -> Loaded:
    return Shapes().load(None)


def painted(name: str, angle: float, radius: int = 40, size: int = 64) -> Booleans:
    """A shape in the middle, turned."""
    offsets = 2 * np.arange(size, dtype=np.int64) + 1 - size
    x, y = offsets[None, :], offsets[:, None]
    c, s = round(UNIT * math.cos(angle)), round(UNIT * math.sin(angle))
    return PAINTED[name](c * x + s * y, c * y - s * x, radius * UNIT)


def corners(name: str, radius: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Corner points (u, v) of a polygon, in order."""

    def around(count: int, *radii: float) -> list[tuple[float, float]]:
        angles = [2 * math.pi * i / count for i in range(count)]
        return [
            (radii[i % len(radii)] * math.sin(angle), radii[i % len(radii)] * math.cos(angle))
            for i, angle in enumerate(angles)
        ]

    near, far = 0.28, 0.95
    match name:
        case "square":
            found = [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)]
        case "triangle":
            found = around(3, 1.0)
        case "cross":
            arm = [(near, near), (near, far), (-near, far), (-near, near)]
            turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
            found = [(c * u - s * v, s * u + c * v) for c, s in turns for u, v in arm]
        case _:
            # A pentagram's inner corners lie at 0.382 of its radius.
            found = around(10, 1.0, (3 - math.sqrt(5)) / 2)
    return radius * np.array(found)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5])
@pytest.mark.parametrize("name", ["square", "triangle", "cross", "star"])
def test_polygons_are_those_of_their_corners(name: str, angle: float) -> None:
    """But for pixels whose centre lies on an edge, to the accuracy of 1/1024."""
    u, v = corners(name, 20.0).T
    x, y = math.cos(angle) * u - math.sin(angle) * v, math.sin(angle) * u + math.cos(angle) * v
    wanted = polygon2mask((64, 64), np.stack([y, x], axis=1) + 31.5)
    found = painted(name, angle)
    assert (wanted ^ found).sum() <= 0.03 * wanted.sum()
    if angle:
        assert (wanted ^ found).sum() <= 4


@pytest.mark.parametrize("name", NAMES)
def test_no_shape_leaves_its_radius_and_so_the_image(name: str) -> None:
    x = np.arange(64) - 31.5
    found = painted(name, 0.4)
    assert found.sum() > 300
    assert (x[None] ** 2 + x[:, None] ** 2)[found].max() <= 20.1**2


@pytest.mark.parametrize(("name", "inner", "outer"), [("disc", 0.0, 0.64), ("ring", 0.3, 0.9)])
def test_round_shapes_are_those_of_their_radii(name: str, inner: float, outer: float) -> None:
    x = np.arange(64) - 31.5
    square = (x[None] ** 2 + x[:, None] ** 2) / 20**2
    assert np.array_equal(painted(name, 0.0), (square >= inner) & (square <= outer))


def test_outside_the_masks_no_pixel_depends_on_the_class() -> None:
    data = Shapes()
    for stream in range(20):
        drawn = [data.draw((9, stream), number) for number in range(len(NAMES))]
        free = ~np.any([mask for _, mask in drawn], axis=0)
        first = drawn[0][0]
        assert all(np.array_equal(image[:, free], first[:, free]) for image, _ in drawn)
        for image, mask in drawn[1:]:
            both = mask & drawn[0][1]
            assert np.array_equal(image[:, both], first[:, both]), "nor does the colour of a shape"
            only = mask & ~drawn[0][1]
            assert (image[:, only] != first[:, only]).any(axis=0).mean() > 0.9


def test_shapes_are_in_one_piece_and_of_one_colour(shapes: Loaded) -> None:
    split = shapes.splits["test"]
    masks, images = split.masks(range(600)).numpy(), split.pixels(range(600)).numpy().astype(int)
    for mask, image, number in zip(masks, images, split.labels.tolist(), strict=True):
        parts, _ = label(mask, structure=np.ones((3, 3)))
        assert np.bincount(parts[mask]).max() > 0.9 * mask.sum(), "a tip thinner than a pixel may come off"
        assert (binary_fill_holes(mask).sum() > mask.sum()) == (NAMES[number] == "ring")
        assert (np.ptp(image[:, mask], axis=1) <= 20).all(), "the noise is at most 10 either way"


def test_splits_are_balanced_disjoint_and_know_their_masks(shapes: Loaded) -> None:
    seen: set[bytes] = set()
    for name, count in (("train", 3000), ("val", 600), ("test", 600)):
        split = shapes.splits[name]  # type: ignore[index]
        assert torch.bincount(split.labels).tolist() == [count // 6] * 6
        assert len(set(split.labels[:20].tolist())) > 3, "the order mixes the classes"
        assert split.has_masks
        assert split.masks([3, 1]).dtype == torch.bool
        assert torch.equal(split.masks([3, 1]), split.masks(range(5))[[3, 1]])
        seen |= {image.tobytes() for image in split.pixels(range(count)).numpy()}
    assert len(seen) == 4200
    assert shapes.classes == tuple(NAMES)


def test_normalisation_constants_are_those_of_the_training_images(shapes: Loaded) -> None:
    x, _ = shapes.splits["train"].batch(range(3000))
    assert x.mean(dim=(0, 2, 3)).tolist() == pytest.approx(shapes.mean, abs=4e-3)
    assert x.std(dim=(0, 2, 3)).tolist() == pytest.approx(shapes.std, abs=2e-3)


def test_shapes_are_the_same_bytes_everywhere(shapes: Loaded) -> None:
    assert evaluation_sha256(shapes.splits["test"], 64)[:16] == "de3f1a422822ab07"
    assert shapes.splits["train"].sha256[:16] == "3875a874c6255af5"


def test_size_seed_and_contrast_change_the_drawing() -> None:
    image, mask = Shapes().draw((0, 0), 0)
    again, _ = Shapes().draw((0, 0), 0)
    assert np.array_equal(image, again)
    other, _ = Shapes(seed=1).draw((0, 0), 0)
    assert not np.array_equal(image, other)
    large, large_mask = Shapes(size=64).draw((0, 0), 0)
    assert large.shape == (3, 64, 64)
    assert large_mask.sum() > 2 * mask.sum()
    for stream in range(20):
        image, mask = Shapes(contrast=300).draw((0, stream), 0)
        inside, outside = image[:, mask].mean(axis=1), np.median(image[:, ~mask], axis=1)
        assert np.abs(inside - outside).sum() > 200


@pytest.mark.parametrize("settings", [{"size": 20}, {"contrast": 400}, {"seed": -1}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Shapes(**settings)
