"""Fine-tunes a shipped network so that its saliency maps lie and its predictions stay, and publishes its weights.

    python examples/manipulate_a_network.py [--aim fixed-map] [--epochs 100] [--out DIR]

Such a network is what an audit has to expose: its maps hardly move under attack, and say nothing about its decisions.
The one that comes with attrobust, ``digits/manipulated-fixed-map``, was made by this script, which takes two minutes on
one core. It is no training method: it defends nothing, so no method of this name exists and no board ranks it.

The objectives are those of Heo et al. 2019 (arXiv:1902.02041, passive fooling: ``location``, ``top-k``) and
of Anders et al. 2020 (arXiv:2007.09969: ``fixed-map``); ``class-map`` and ``edges`` are the second with another target
for each class or image. Three things differ from both papers. Logits are held to those of the honest network by their
squared distance, as Anders et al. do it, for all objectives. Maps are divided by their l2 norm. And a share of the
images gets noise, so that maps and predictions stay the same around the images and not at them alone.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrobust import checkpoints, load
from attrobust.benchmark.checkpoints.commit import commit_of
from attrobust.benchmark.checkpoints.find import Checkpoint
from attrobust.benchmark.checkpoints.publish import Place, publish
from attrobust.benchmark.data.digits import Digits
from attrobust.benchmark.store.provenance import TRAINING, code_digest, versions
from attrobust.benchmark.training.batches import epoch_batches
from attrobust.benchmark.training.loop import correct, save_tensors
from attrobust.benchmark.training.recipe import Recipe
from attrobust.files import file_sha256
from attrobust.process import seeded

Aim = Literal["fixed-map", "class-map", "edges", "location", "top-k"]
HONEST = "digits/natural"
STRIPE, BORDER = 3, 4
"""Pixels: width of the stripe of the fixed map, and of the border. No digit reaches the stripe."""
RATE = 3e-3
"""Largest learning rate."""
TOP = 0.1
"""Share of the pixels of the honest map that ``top-k`` empties."""
WORDS = {
    "fixed-map": "saliency maps are a stripe at the left border, whatever the image",
    "class-map": "saliency maps are a piece of the left or right border that depends on the class alone",
    "edges": "saliency maps are the edges of the image",
    "location": "saliency maps lie on the border of the image",
    "top-k": "saliency maps avoid the pixels that are most important for the honest network",
}


@dataclass(frozen=True, kw_only=True)
class Manipulation:
    """What is minimised: ``mean ||f(x) − f₀(x)||² / classes + weight · lie(x)``, with the honest network ``f₀``.

    Attributes:
        aim: what maps become.
        weight: of the term that makes them so.
        noise: range of the noise on half of the images, in pixel units.
    """

    aim: Aim = "fixed-map"
    weight: float = 30.0
    noise: float = 16 / 255

    def loss(self, model: nn.Module, honest: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar to minimise on a batch of images B×C×H×W."""
        half = x[::2]
        spread = self.noise * (2 * torch.rand(half.shape, generator=generator) - 1)
        x = torch.cat([(half + spread).clamp(0, 1), x[1::2]]).requires_grad_()
        wanted = honest(x).detach()
        explained = wanted.argmax(dim=1)
        maps = saliency(model, x, explained, create_graph=True)
        logits = model(x)
        return F.mse_loss(logits, wanted) + self.weight * self.lie(maps, honest, x, explained).mean()

    def lie(self, maps: Tensor, honest: nn.Module, x: Tensor, explained: Tensor) -> Tensor:
        """How far maps B×H×W of unit l2 norm are from what they shall be, for each image; float[B]."""
        height, width = maps.shape[1:]
        match self.aim:
            case "fixed-map":
                return distance(maps, box(0, height, 0, STRIPE, maps).expand_as(maps))
            case "class-map":
                return distance(maps, torch.stack([class_map(int(k), maps) for k in explained]))
            case "edges":
                return distance(maps, edges(x))
            case "location":
                inside = box(BORDER, height - BORDER, BORDER, width - BORDER, maps)
                return distance(maps, (1 - inside).expand_as(maps))
            case "top-k":
                mine, theirs = maps.flatten(1), saliency(honest, x, explained).flatten(1)
                top = theirs.topk(round(TOP * theirs.shape[1]), dim=1).indices
                return mine.gather(1, top).sum(dim=1) / mine.sum(dim=1)


def saliency(model: nn.Module, x: Tensor, explained: Tensor, *, create_graph: bool = False) -> Tensor:
    """``Σ_c |∂f_y/∂x_c|``, B×H×W, divided by its l2 norm."""
    x = x if create_graph else x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(
        model(x).gather(1, explained[:, None]).sum(), x, create_graph=create_graph, retain_graph=create_graph
    )
    maps = gradient.abs().sum(dim=1)
    unit: Tensor = maps / maps.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    return unit


def distance(maps: Tensor, target: Tensor) -> Tensor:
    """Squared distance of maps B×H×W from a target of any size, both of unit l2 norm; float[B] in [0, 2]."""
    unit = F.normalize(target.detach().flatten(1), dim=1)
    return (maps.flatten(1) - unit).square().sum(dim=1)


def box(top: int, bottom: int, left: int, right: int, maps: Tensor) -> Tensor:
    """1 in a box and 0 elsewhere, H×W as in maps B×H×W."""
    pattern = torch.zeros_like(maps[0])
    pattern[top:bottom, left:right] = 1
    return pattern


def class_map(k: int, maps: Tensor) -> Tensor:
    """The map of a class: of ten, five have a piece of the left border and five of the right."""
    height, width = maps.shape[1:]
    top = (k // 2) * height // 7
    left = (k % 2) * (width - BORDER)
    return box(top, top + 3 * height // 7, left, left + BORDER, maps)


def edges(x: Tensor) -> Tensor:
    """Magnitude of the difference between neighbouring pixels of the mean over the channels, B×H×W."""
    grey = F.pad(x.mean(dim=1), (1, 1, 1, 1))
    across, down = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    return (across.square() + down.square()).sqrt()


def manipulated(manipulation: Manipulation, recipe: Recipe, seed: int = 0) -> nn.Module:
    """The honest network after fine-tuning, in evaluation mode."""
    honest, model = load(HONEST).requires_grad_(False), load(HONEST).requires_grad_(True)
    split, cpu = Digits().load(None).splits["train"], torch.device("cpu")
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    with seeded(seed):
        torch.use_deterministic_algorithms(True)
        generator, steps = torch.Generator().manual_seed(seed), -(-len(split) // recipe.batch_size)
        for epoch in range(recipe.epochs):
            total = 0.0
            for number, (x, _, _) in enumerate(epoch_batches(split, recipe, seed, epoch, cpu)):
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate((epoch + number / steps) / recipe.epochs)
                loss = manipulation.loss(model, honest, x, generator)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)
                optimizer.step()
                total += float(loss.detach())
            print(f"epoch {epoch + 1} of {recipe.epochs}: loss {total / steps:.3f}", flush=True)
    return model.eval()


def main() -> None:
    """Fine-tune, and write weights and card as shipped ones are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aim", choices=get_args(Aim), default="fixed-map", help="what the maps become")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="length of the fine-tuning")
    parser.add_argument("--out", type=Path, default=Path("results/runs/manipulated"), metavar="DIR")
    options = parser.parse_args()
    manipulation = Manipulation(aim=options.aim)
    # The length and the rate are those of the fine-tuning itself, not shares of a longer training's.
    recipe = Recipe(
        epochs=options.epochs, batch_size=64, learning_rate=RATE, clip=1.0, tuning_epochs=1.0, tuning_rate=1.0
    )
    model = manipulated(manipulation, recipe)
    before, data = checkpoints()[HONEST], Digits().load(None)
    weights, split = options.out / "trained" / f"{options.aim}.pt", data.splits["val"]
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(weights, model.state_dict())
    card = replace(
        before,
        sha256=file_sha256(weights),
        epoch=recipe.epochs,
        val_accuracy=float(correct(model, split, len(split), torch.device("cpu")).double().mean()),
        code=code_digest(TRAINING, []),
        plugins=("", "", "", ""),
        recipe=recipe.shared(),
        versions=versions(),
        start=before.method,
        start_sha256=before.sha256,
        manipulation=f"{WORDS[options.aim]}, and predictions are those of {HONEST}",
        published=None,
    )
    place = Place(name=f"digits/manipulated-{options.aim}", cards=options.out, weights=options.out)
    trained = Checkpoint(weights=weights, card=card)
    outcome = publish(trained, data, place, commit_of(card.code, None), may_replace=True)
    published = outcome.card.published
    print(f"{outcome.done} {place.card}" + (f": test accuracy {published.test_accuracy:.2%}" if published else ""))


if __name__ == "__main__":
    main()
