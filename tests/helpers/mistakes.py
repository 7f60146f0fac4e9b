"""Deliberate mistakes of plug-in authors: what is changed in a right file, and what ``check`` says of it.

The right files are those that CONTRIBUTING shows, and the two below for the other kinds of metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

METHOD, EXPLAINER = "methods/smoothed.py", "explainers/noisy_gradient.py"
ATTACK, METRIC = "attacks/corners.py", "metrics/similarity/ruzicka.py"
DATASET, MODEL = "benchmark/data/parity.py", "benchmark/models/allconv.py"

QUALITY = '''"""The share of a map on its upper half."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from attrobust import Quality, register_metric


@register_metric("upper-half")
@dataclass(frozen=True, kw_only=True)
class UpperHalf(Quality):
    rows: int = 14

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scope: ClassVar[str] = "map"

    def judge(self, case):
        maps = case.clean_maps.abs()
        return maps[:, : self.rows].sum((1, 2)) / maps.sum((1, 2))
'''
RETRAINING = '''"""Accuracy after the brightest pixel of every image is removed."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from attrobust import RetrainingMetric, register_metric


@register_metric("brightest")
@dataclass(frozen=True, kw_only=True)
class Brightest(RetrainingMetric):
    repeats: int = 2

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    def trainings(self):
        return self.repeats

    def evaluate(self, context):
        changed = {}
        for name, x in context.images.items():
            maps = context.maps(name)
            keep = maps < maps.flatten(1).amax(dim=1)[:, None, None]
            changed[name] = x * keep[:, None]
        rows = [context.retrain(changed, context.seed + repeat).double() for repeat in range(self.repeats)]
        return torch.stack(rows)
'''
WRITTEN_HERE = {"upper_half.py": QUALITY, "brightest.py": RETRAINING}


@dataclass(frozen=True)
class Mistake:
    """One change of a right file.

    Attributes:
        file: which.
        old, new: the text that is replaced, and by what.
        said: words of the line that names the mistake.
    """

    file: str
    old: str
    new: str
    said: str

    @property
    def name(self) -> str:
        """For lists of tests."""
        return f"{self.file.rpartition('/')[2]}: {' '.join(self.new.split())[:60]}"


LOSS = "return F.cross_entropy(model(x), y, label_smoothing=self.amount)"


def method(new: str, said: str) -> Mistake:
    return Mistake(METHOD, LOSS, new, said)


def layer(body: str, said: str) -> Mistake:
    """A module of the author's after the normalisation."""
    place = "            Normalize(facts.mean, facts.std),\n"
    return Mistake(
        MODEL, place, place + f"            type('Own', (nn.Module,), {{'forward': lambda self, x: {body}}})(),\n", said
    )


MISTAKES = [
    method(f"{LOSS.replace('return ', 'return -')}", "with the right sign?"),
    method(LOSS.replace("self.amount", "self.amount, reduction='sum'"), "divide by the number of images"),
    method(LOSS.replace("self.amount", "self.amount, reduction='none'"), "return one number"),
    method(f"{LOSS}.item()", "the loss is a float, not a tensor"),
    method(f"{LOSS}.detach()", "the loss has no graph"),
    method(LOSS.replace("model(x)", "model(x + 0.1 * torch.rand_like(x))"), "torch's global random numbers"),
    method(f"x.mul_(0.5)\n        {LOSS}", "changes x in place"),
    method(f"model.eval()\n        {LOSS}", "leaves the network in another mode"),
    method(f"next(model.parameters()).data.mul_(1.01)\n        {LOSS}", "changes the network's"),
    method(f"next(model.buffers()).mul_(1.01)\n        {LOSS}", "changes the network's normalize.mean"),
    method(LOSS.replace("self.amount", "0.1"), "setting amount is never read"),
    method(f"model(x)\n        {LOSS}", "batch_statistics says 1"),
    method("return F.cross_entropy(model(x), F.one_hot(y, 10) * (1 - self.amount))", "learned from too"),
    method("return model(x).square().mean() * self.amount", "does the loss use y"),
    method(
        "return F.cross_entropy(model(x), y) + self.amount * next(model.parameters()).square().sum().detach()",
        "amount=0.1 give the same gradient",
    ),
    method(
        "noise = globals().get(x.shape)\n"
        "        if noise is None:\n"
        "            noise = globals()[x.shape] = torch.randn(x.shape, generator=generator)\n"
        "        return F.cross_entropy(model(x + self.amount * noise), y)",
        "draw at every call, and keep nothing",
    ),
    method("return F.cross_entropy(model(x).log(), y, label_smoothing=self.amount)", "the loss of real images is nan"),
    method(f"model(x).sum().backward()\n        {LOSS}", "leaves gradients in the network"),
    method(f"model.register_forward_hook(lambda *_: None)\n        {LOSS}", "leaves hooks in the network"),
    Mistake(METHOD, "x: Tensor, y: Tensor, generator: torch.Generator)", "x: Tensor, y: Tensor)", "takes 4 positional"),
    Mistake(METHOD, "Cost(forward=1, backward=1)", "Cost(forward=2, backward=1)", "cost says [2"),
    Mistake(METHOD, "Cost(forward=1, backward=1)", "(1, 1, 0)", "cost returned tuple, not a Cost"),
    Mistake(METHOD, "Cost(forward=1, backward=1)", "Cost(forward=float('nan'))", "finite and not negative, not nan"),
    Mistake(METHOD, "@dataclass(frozen=True, kw_only=True)\n", "", "amount is no setting, since Smoothed lacks"),
    Mistake(METHOD, "amount: float = 0.1", "amount: float", "setting amount has no default"),
    Mistake(MODEL, "width: int = 16", "width: complex = 16", "cannot be written on the command line"),
    Mistake(EXPLAINER, "    stochastic: ClassVar[bool] = True\n", "", "say stochastic: ClassVar[bool] = True"),
    Mistake(EXPLAINER, "generator=generator, ", "", "torch's global random numbers"),
    Mistake(EXPLAINER, "randn(x.shape[1:]", "randn(x.shape", "depends on the images beside it"),
    Mistake(EXPLAINER, "x, create_graph=create_graph)", "x)", "without a graph"),
    Mistake(EXPLAINER, "return total / self.samples", "return total.sum(dim=1)", "not a map of"),
    Mistake(
        EXPLAINER, "return total / self.samples", "return total / total.abs().max()", "depends on the images beside it"
    ),
    Mistake(EXPLAINER, "return total / self.samples", "return x.data.mul_(0.9) * total", "changes x in place"),
    Mistake(EXPLAINER, "return total / self.samples", "return total.double()", "keep the type of x"),
    Mistake(
        EXPLAINER,
        "return total / self.samples",
        "return total / x.flatten(1).amax(dim=1).view(-1, 1, 1, 1)",
        "an image that is 0 everywhere has a map that is not finite",
    ),
    Mistake(EXPLAINER, ".gather(1, target[:, None])", ".amax(dim=1)", "explain the class target"),
    Mistake(EXPLAINER, "return total / self.samples", "return 0 * total + noise * x", "say ignores_network"),
    Mistake(
        EXPLAINER,
        "    stochastic: ClassVar[bool] = True\n",
        "    stochastic: ClassVar[bool] = True\n    ignores_network: ClassVar[bool] = True\n",
        "networks have maps of their own",
    ),
    Mistake(EXPLAINER, "total + gradient", "total + gradient.detach() * x", "differs from finite differences"),
    Mistake(EXPLAINER, "self.sigma * noise", "0.1 * noise", "setting sigma is never read"),
    Mistake(
        EXPLAINER,
        "            total =",
        "            model.register_forward_hook(lambda *_: None)\n            total =",
        "leaves hooks",
    ),
    Mistake(EXPLAINER, "logits.sum(), x,", "logits.sum(), x.clone(),", "RuntimeError"),
    Mistake(ATTACK, "streams.uniform(x)", "(2 * torch.rand_like(x) - 1)", "draw from context.streams"),
    Mistake(ATTACK, "context.threat.scatter(x, streams", "(x + context.threat.eps * streams", "clamp them"),
    Mistake(
        ATTACK,
        "context.threat.scatter(x, streams.uniform(x).sign())",
        "(x + context.threat.eps * streams.uniform(x).sign()).clamp(0, 1)",
        "from its image in l2",
    ),
    Mistake(
        ATTACK,
        "        return best",
        "        context.partners.zero_()\n        return best",
        "changes partners in place",
    ),
    Mistake(ATTACK, "        return best", "        x.add_(0.01)\n        return best", "changes x in place"),
    Mistake(ATTACK, "return best", "return best[:, 0]", "run returned (4, 28, 28)"),
    Mistake(ATTACK, "return best", "return x", "it returns the clean images"),
    Mistake(ATTACK, "return best", "return best / 0", "NaN or infinity"),
    Mistake(ATTACK, "return best", "return best.numpy()", "run returned ndarray"),
    Mistake(ATTACK, "        return best", "        context.model.train()\n        return best", "another mode"),
    Mistake(ATTACK, "self.draws):", "8):", "setting draws is never read"),
    Mistake(
        ATTACK,
        "streams.uniform(x).sign()",
        "torch.from_numpy(__import__('numpy').random.randn(*x.shape)).to(x).sign()",
        "alone and in a batch",
    ),
    Mistake(
        ATTACK,
        "clean, predicted = context.maps(x, y), ",
        "clean, predicted = context.maps(x.clone().requires_grad_(), y, create_graph=True).detach(), ",
        "is not differentiable",
    ),
    Mistake(
        ATTACK,
        "        return best",
        "        next(context.model.parameters()).data.add_(1)\n        return best",
        "changes the",
    ),
    Mistake(
        METRIC, "higher_is_better: ClassVar[bool] = True", "higher_is_better: ClassVar[bool] = False", "other way round"
    ),
    Mistake(METRIC, "return torch.minimum", "return 1 - torch.minimum", "other way round"),
    Mistake(METRIC, "sizes = values.abs() /", "sizes = values.div_(2).abs() /", "in place; work on a copy"),
    Mistake(METRIC, "= (0.0, 1.0)", "= (0.0, 0.3)", "its bounds are 0 and 0.3"),
    Mistake(METRIC, "= (0.0, 1.0)", "= (1.0, 0.0)", "smallest and the largest"),
    Mistake(METRIC, "torch.maximum(a, b).sum(dim=1)", "torch.maximum(a, b).sum()", "images beside it"),
    Mistake(METRIC, "torch.minimum(a, b).sum(dim=1)", "torch.minimum(a, b).sum()", "images beside it"),
    Mistake(METRIC, "return torch.minimum", "return float('nan') * torch.minimum", "every real image's score is NaN"),
    Mistake(METRIC, "a, b = (self", "torch.rand(1)\n        a, b = (self", "torch's global random numbers"),
    Mistake(
        METRIC,
        "        sizes =",
        "        values = values.view(-1, 28, 28).flatten(1)\n        sizes =",
        "RuntimeError",
    ),
    Mistake(
        METRIC,
        "        sizes =",
        "        if not values.any():\n            raise ValueError('a map is zero')\n        sizes =",
        "with maps that are zero: a map is zero",
    ),
    Mistake(
        "upper_half.py",
        "maps = case",
        "next(case.model.parameters()).mul_(2)\n        maps = case",
        "changes the network's",
    ),
    Mistake(
        "upper_half.py",
        "maps = case.clean_maps",
        "maps = case.explain(case.attacked, case.target)[:, 0]",
        "uses attacked",
    ),
    Mistake("upper_half.py", '"map"', '"network"', "asks for an explanation"),
    Mistake("upper_half.py", "self.rows", "14", "setting rows is never read"),
    Mistake("brightest.py", "return self.repeats", "return 2 * self.repeats", "networks"),
    Mistake("brightest.py", "x * keep", "x.mul_(keep[:, None]) * keep", "in place; work on a copy"),
    Mistake("brightest.py", "return torch.stack(rows)", "return rows[0]", "for 64 images"),
    Mistake(DATASET, "torch.tensor(fixed_order(len(labels)))", "labels.argsort()", "are all of class"),
    Mistake(DATASET, "torch.tensor(fixed_order(len(labels)))", "torch.randperm(len(labels))", "two loads differ"),
    Mistake(DATASET, "(255 / 16)).round()", "(1 / 16)).round()", "of 255, which is white"),
    Mistake(DATASET, "mean=(0.305,)", "mean=(77.8,)", "of pixels in [0, 1]"),
    Mistake(DATASET, '= "digits"', '= "digitz"', "digitz"),
    Mistake(DATASET, "* (255 / 16)).round().to(torch.uint8)", "/ 16).float()", "images must be uint8 from 0 to 255"),
    Mistake(DATASET, "% 2\n", "% 2 + 1\n", "labels go from 1 to 2, and 2 classes are named"),
    Mistake(DATASET, ".long() % 2", ".double() % 2", "labels must be int64"),
    Mistake(DATASET, '"val": ArraySplit(images[1000:1300], labels[1000:1300]),', "", "there is no split val"),
    Mistake(
        DATASET,
        "ArraySplit(images[1300:], labels[1300:])",
        "ArraySplit(images[:1000], labels[:1000])",
        "every test image is also a training image",
    ),
    Mistake(DATASET, "size=8", "size=28", "28×28"),
    Mistake(DATASET, "channels=1", "channels=3", "and images 3 channels"),
    Mistake(DATASET, '("even", "odd")', '("even",)', "at least two different names"),
    Mistake(MODEL, "            Normalize(facts.mean, facts.std),\n", "", "add Normalize(facts.mean, facts.std)"),
    Mistake(MODEL, "facts.classes),\n", "facts.classes),\n            nn.Softmax(dim=1),\n", "leave softmax out"),
    Mistake(MODEL, "nn.Linear(wide, facts.classes)", "nn.Linear(wide, 10)", "images of 13 classes"),
    Mistake(MODEL, "nn.ReLU()", "nn.ReLU(inplace=True)", "works in place"),
    Mistake(MODEL, "nn.Conv2d(facts.channels", "nn.Conv2d(3", "RuntimeError"),
    Mistake(
        MODEL,
        "            nn.ReLU(),\n",
        "            nn.BatchNorm2d(self.width, track_running_stats=False),\n",
        "RuntimeError",
    ),
    Mistake(
        MODEL,
        "        wide =",
        "        __import__('torch').manual_seed(0)\n        wide =",
        "every seed gives the same weights",
    ),
    Mistake(
        MODEL,
        "    def network(self",
        "    @__import__('functools').lru_cache\n    def network(self",
        "two networks share their weights",
    ),
    layer("x + 0.01 * x.new_empty(x.shape).normal_()", "two passes of the same images"),
    layer("x - x.mean(dim=0, keepdim=True)", "depend on the images beside it"),
    layer("x.detach()", "no gradient reaches the image"),
    layer("x * float('inf')", "a logit of a real image is not finite"),
]
"""All of them."""
