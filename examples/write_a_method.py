"""A training method in one file, and a benchmark with it on the embedded digits.

    python examples/write_a_method.py [--images 16] [--epochs 3] [--out results/runs/write-a-method]

Other options are those of the command. The class below is a complete plug-in.
``attrobust --plugin examples/write_a_method.py --methods natural,logit-penalty`` uses it without the rest of this file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attrobust import Method, register_method
from attrobust.benchmark.command.main import main


@register_method("logit-penalty")
@dataclass(frozen=True, kw_only=True)
class LogitPenalty(Method):
    """Cross-entropy and a penalty on large logits: ``CE(f(x), y) + weight mean(f(x)²)``.

    Attributes:
        weight: of the penalty.
    """

    weight: float = 0.05

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """The scalar to minimise on one batch of images B×C×H×W in [0, 1] and classes int64[B]."""
        logits: Tensor = model(x)
        return cross_entropy(logits, y) + self.weight * logits.square().mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, metavar="N", help="how many images are attacked")
    parser.add_argument("--epochs", type=int, default=3, metavar="N", help="length of the trainings")
    parser.add_argument("--out", default="results/runs/write-a-method", metavar="DIR", help="folder of the run")
    options, more = parser.parse_known_args()
    words = ["--methods", "natural,logit-penalty:weight={0.01,0.1}", "--epochs", str(options.epochs)]
    words += ["--images", str(options.images), "--explainers", "saliency", "--attacks", "noise,topk:steps=10"]
    sys.exit(main([*words, "--out", options.out, *more]))
