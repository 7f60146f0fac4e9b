"""Peak resident memory of runs over more and more images, and of a step through many copies at 224×224; run by hand.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests ATTROBUST_DATA=... python tests/speed/memory.py [IMAGES ...]

The data root is an ``imagefolder`` of CIFAR-10 images. A small LeNet is made, and runs with the attack noise score it
on more and more test images: the peak should not grow with them. Then an attack's second-order step through integrated
gradients of ResNet-18 is taken with budgets as of ``--memory``: how far the memory rises above the networks alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from attrobust.benchmark.models.lenet import LeNet
from attrobust.types import ImageFacts

from helpers.processes import cost_of

ROOT = Path(__file__).parents[2]
STEP = """
import sys, torch
from attrobust.benchmark.models.resnet import ResNet18ImageNet
from attrobust.explainers.ig import IG
from attrobust.explainers.shared.chunks import memory_budget
from attrobust.networks.smoothed import smooth_activation_model, smooth_pooling_model
from attrobust.types import ImageFacts
side, images, budget = map(int, sys.argv[1:])
facts = ImageFacts(channels=3, size=side, classes=10, mean=(0.5,) * 3, std=(0.25,) * 3)
network = ResNet18ImageNet().network(facts).eval().requires_grad_(False)
smooth = smooth_pooling_model(smooth_activation_model(network, 30.0), 30.0)
x = torch.rand(images, 3, side, side).requires_grad_()
torch.nn.functional.conv2d(x, torch.rand(1, 3, 3, 3))
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1])
before = peak()
with memory_budget(budget << 20):
    maps = IG(steps=50)(smooth, x, torch.zeros(images, dtype=torch.int64), create_graph=True)
    torch.autograd.grad(maps.abs().sum(), x)
print((peak() - before) // 1024)
"""


def main(counts: list[int]) -> None:
    facts = ImageFacts(channels=3, size=32, classes=10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    torch.manual_seed(0)
    root = os.environ["ATTROBUST_DATA"]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "small.pt"
        torch.save(LeNet(width=4, hidden=16).network(facts).state_dict(), weights)
        print("| images | peak MiB |\n|---|---|")
        for count in counts:
            words = [str(ROOT / "run_benchmark.py"), "--checkpoint", f"small={weights}:lenet:width=4,hidden=16"]
            words += ["--dataset", "imagefolder", "--data-root", root, "--explainers", "saliency", "--no-audit"]
            words += ["--attacks", "noise:draws=1", "--metrics", "topk,spearman", "--baselines", "none"]
            words += ["--accuracy-attack", "none", "--images", str(count), "--workers", "1"]
            words += ["--out", f"{folder}/{count}"]
            print(f"| {count} | {cost_of(words, ROOT).memory:.0f} |", flush=True)
    print("\n| side | images | budget MiB | risen MiB |\n|---|---|---|---|")
    for side, images, budget in ((224, 1, 256), (224, 1, 512), (224, 2, 512), (224, 2, 1024), (64, 8, 256)):
        words = [sys.executable, "-c", STEP, str(side), str(images), str(budget)]
        risen = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        print(f"| {side} | {images} | {budget} | {risen} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="IMAGES", type=int)
    words = parser.parse_args().words
    main(words or [32, 300, 2000, 10000])
