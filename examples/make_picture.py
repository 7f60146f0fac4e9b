"""Makes docs/images/attack.png: a digit and its saliency map before and after an attack, for two shipped networks.

    python examples/make_picture.py [--image 3] [--out docs/images/attack.png]

Needs matplotlib. Both networks see the same image and the same attack. Their predictions stay what they were.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from attrobust import Context, ThreatModel, load, reduce_map
from attrobust.attacks.topk import TopK
from attrobust.benchmark.data.digits import Digits
from attrobust.explainers.saliency import Saliency
from attrobust.metrics.similarity.topk import TopK as TopKIntersection

NETWORKS = {"digits/natural": "ordinary training", "digits/aga": "trained by AGA"}
LEVELS = 16
"""Radius of the attack in grey levels."""


@dataclass(frozen=True)
class Row:
    """One network: images H×W and maps H×W, each map divided by the largest value of the clean one."""

    images: tuple[Tensor, Tensor]
    maps: tuple[Tensor, Tensor]
    classes: tuple[int, int]
    kept: float


def attacked(name: str, x: Tensor, partners: Tensor) -> list[Row]:
    """Attack the maps of all images at once."""
    model = load(name)
    predicted = model(x).argmax(dim=1)
    context = Context(
        model=model,
        explainer=Saliency(),
        reduce=lambda maps: reduce_map(maps, "abs-sum"),
        threat=ThreatModel(eps=LEVELS / 255),
        ids=range(len(x)),
        partners=partners,
    )
    after = TopK(steps=100)(context, x, predicted).x
    clean_maps, attacked_maps = (context.maps(images, predicted) for images in (x, after))
    kept = TopKIntersection()(clean_maps, attacked_maps)
    classes_after = model(after).argmax(dim=1)
    return [
        Row(
            images=(x[i, 0], after[i, 0]),
            maps=(clean_maps[i] / clean_maps[i].max(), attacked_maps[i] / clean_maps[i].max()),
            classes=(int(predicted[i]), int(classes_after[i])),
            kept=float(kept[i]),
        )
        for i in range(len(x))
    ]


def outline(axis: Axes, saliency: Tensor) -> None:
    """Draw the edges of the tenth of the pixels H×W that a map has its largest values in."""
    height, width = saliency.shape
    threshold = saliency.flatten().topk(round(height * width / 10)).values[-1]
    edges = (saliency >= threshold).double().repeat_interleave(8, 0).repeat_interleave(8, 1)
    axis.contour(edges, levels=[0.5], colors="cyan", linewidths=1, extent=(-0.5, width - 0.5, -0.5, height - 0.5))


def draw(rows: list[Row], path: Path) -> None:
    """One line of four panels for each network; all maps have one colour scale."""
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11})
    figure, axes = plt.subplots(len(rows), 4, figsize=(9.6, 5.2), layout="constrained")
    for line, row, label in zip(axes, rows, NETWORKS.values(), strict=True):
        for side, (image, classes) in enumerate(zip(row.images, row.classes, strict=True)):
            line[2 * side].imshow(image, cmap="gray", vmin=0, vmax=1)
            line[2 * side].set_xlabel(f"predicted: {classes}")
            heat = line[2 * side + 1].imshow(row.maps[side], cmap="inferno", vmin=0, vmax=1)
            outline(line[2 * side + 1], row.maps[0])
        line[0].set_ylabel(label, fontsize=12, fontweight="bold")
        line[1].set_xlabel("outlined: its top 10 %")
        line[3].set_xlabel(f"top 10 % kept: {round(100 * row.kept)} %", fontweight="bold")
    titles = ("image", "its saliency map", f"attacked, ε = {LEVELS}/255", "its saliency map")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=12)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.colorbar(heat, ax=axes, shrink=0.6, aspect=28, label="share of the clean map's largest value")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Draw the chosen image of the test split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=int, default=3, metavar="N", help="position in the test split")
    parser.add_argument("--out", type=Path, default=Path("docs/images/attack.png"), metavar="FILE")
    options = parser.parse_args()
    split = Digits().load(None).splits["test"]
    x, _ = split.batch([options.image])
    partners, _ = split.batch([options.image + 1])
    rows = [attacked(name, x, partners)[0] for name in NETWORKS]
    draw(rows, options.out)
    for name, row in zip(NETWORKS, rows, strict=True):
        print(f"{name}: {row.kept:.1%} of the top 10 % kept, predicted {row.classes[0]} and {row.classes[1]}")


if __name__ == "__main__":
    main()
