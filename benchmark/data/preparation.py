"""How a file's image becomes one of a network's size: scaling, cropping, and the number of channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SCALED = 2**28
"""Pixels of a scaled image at most: 1 GiB in Pillow's four bytes, before the centre is cropped."""
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Scaling of the shorter side and a crop of the centre, to the pixel as torchvision's presets do it.

    Attributes:
        size: of the crop, H = W in pixels.
        resize: what the shorter side is scaled to.
        interpolation: of the scaling, by Pillow, which smooths what it shrinks.
        channels: 3, or 1 for brightness.
    """

    size: int
    resize: int
    interpolation: Interpolation = "bilinear"
    channels: int = 3

    def __post_init__(self) -> None:
        if not self.size <= self.resize <= 8192:
            raise ValueError(f"resize={self.resize} must be between size={self.size} and 8192 pixels")

    def __call__(self, image: Image.Image) -> Tensor:
        """An RGB image of any size, to uint8 C×size×size; raises ValueError for one too long to be scaled."""
        if self.channels == 1:
            image = image.convert("L")
        if min(image.size) != self.resize:
            short, (width, height) = min(image.size), image.size
            scaled = (self.resize * width // short, self.resize * height // short)
            if scaled[0] * scaled[1] > SCALED:
                raise ValueError(f"is {width}×{height}, which scaled to {scaled[0]}×{scaled[1]} is too large; crop it")
            image = image.resize(scaled, Image.Resampling[self.interpolation.upper()])
        left, top = (round((side - self.size) / 2) for side in image.size)
        image = image.crop((left, top, left + self.size, top + self.size))
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
        return pixels[None] if self.channels == 1 else pixels.permute(2, 0, 1).contiguous()

    def same_as(self, other: Preparation) -> bool:
        """Whether images are scaled and cropped in the same way."""
        return replace(self, channels=other.channels) == other

    @property
    def words(self) -> str:
        """Scaling and crop in words."""
        return f"scaled to {self.resize} ({self.interpolation}) and cropped to {self.size}"

    @property
    def setting(self) -> str:
        """The dataset with this preparation, as it is typed."""
        more = f",interpolation={self.interpolation}" if self.interpolation != "bilinear" else ""
        return f"imagefolder:size={self.size},resize={self.resize}{more}"

    @property
    def differs_from_default(self) -> str:
        """What of it is not the default of ``imagefolder``, for the hash of its images; empty where nothing is."""
        settings = (self.resize, self.interpolation, self.channels)
        return "" if settings == (self.size, "bilinear", 3) else f" {settings}"
