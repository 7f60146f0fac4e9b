"""Evaluate a network that is not attrobust's: explain its decisions, attack the explanations, measure the change.

    python examples/evaluate_your_network.py [--images 16] [--epochs 6] [--attack-steps 20]

The network is trained here, on the scans of digits that come with scikit-learn, in a few seconds. For one of your own,
replace ``trained_network``. It must take images B×C×H×W with pixels in [0, 1] and return logits B×K; one that expects
normalised images is ``nn.Sequential(attrobust.Normalize(mean, std), network)``.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attrobust import Context, Split, ThreatModel, reduce_map
from attrobust.attacks.topk import TopK as TopKAttack
from attrobust.benchmark.data.digits import Digits
from attrobust.explainers.ig import IG
from attrobust.metrics.similarity.spearman import Spearman
from attrobust.metrics.similarity.topk import TopK as TopKIntersection


def trained_network(split: Split, epochs: int) -> nn.Module:
    """A small convolutional network for 28×28 digits. Every activation is a module of its own."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(epochs):
        order = torch.randperm(len(split)).tolist()
        for start in range(0, len(order), 64):
            x, y = split.batch(order[start : start + 64])
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(network(x), y))
            optimizer.step()
    return network.eval().requires_grad_(False)


def abs_sum(attributions: Tensor) -> Tensor:
    """B×C×H×W attributions to B×H×W maps, as the protocols of attrobust reduce them."""
    return reduce_map(attributions, "abs-sum")


def main() -> None:
    """Print accuracy, and what the attack did to the maps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, metavar="N", help="how many images are attacked")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="length of the training")
    parser.add_argument("--attack-steps", type=int, default=20, metavar="N", help="steps of the attack")
    options = parser.parse_args()

    splits = Digits().load(None).splits
    model = trained_network(splits["train"], options.epochs)
    everything, classes = splits["test"].batch(range(len(splits["test"])))
    accuracy = (model(everything).argmax(dim=1) == classes).double().mean()

    x = everything[: options.images]
    predicted = model(x).argmax(dim=1)
    context = Context(
        model=model,
        explainer=IG(steps=16),
        reduce=abs_sum,
        threat=ThreatModel(norm="linf", eps=16 / 255),  # the prediction must stay
        ids=range(len(x)),  # random numbers belong to images, so the batch size does not change the result
        partners=x.roll(1, 0),  # attacks that need a second image take these
    )
    attacked = TopKAttack(steps=options.attack_steps)(context, x, predicted)
    before, after = context.maps(x, predicted), context.maps(attacked.x, predicted)
    top, rank = TopKIntersection()(before, after), Spearman()(before, after)

    print(f"accuracy on {len(everything)} test images  {accuracy:.1%}")
    print(f"largest change of a pixel       {255 * (attacked.x - x).abs().max():.1f}/255")
    print(f"predictions that stayed         {(model(attacked.x).argmax(dim=1) == predicted).double().mean():.1%}")
    print(f"top-10 % intersection           {top.nanmean():.3f}, lowest {top.min():.3f}")
    print(f"Spearman correlation            {rank.nanmean():.3f}, lowest {rank.min():.3f}")


if __name__ == "__main__":
    main()
