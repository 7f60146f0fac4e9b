"""Evaluates retraining metrics: maps of whole splits, and networks trained on changed images, with a cache on disk."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attrobust.benchmark.data.base import Loaded, Split
from attrobust.benchmark.evaluation.cases import explaining
from attrobust.benchmark.evaluation.evaluate import scored_copy
from attrobust.benchmark.evaluation.inputs import Rules
from attrobust.benchmark.store.provenance import source_digest
from attrobust.benchmark.store.retrainings import SUFFIX, read_hits, write_hits
from attrobust.benchmark.training.job import TrainingJob
from attrobust.benchmark.training.loop import correct, train
from attrobust.explainers.base import Explainer
from attrobust.images import check_pixels
from attrobust.maps.reduction import reduce_map
from attrobust.maps.seeds import derive_seed
from attrobust.metrics.shared.retraining import RetrainingContext, RetrainingMetric
from attrobust.naming.spec import fingerprint
from attrobust.networks.copying import independent_copy
from attrobust.places import ours
from attrobust.process import seeded
from attrobust.types import SplitName

LOG = logging.getLogger("attrobust")


class FloatSplit(Split):
    """A split of float images, held in memory; colours need not be multiples of 1/255.

    Args:
        images: float32 in [0, 1], N×C×H×W.
        labels: int64[N].
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self.labels = images, labels

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """See ``Split.pixels``; rounded to the nearest level."""
        return (255 * self.batch(indices)[0]).round().to(torch.uint8)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See ``Split.batch``; not rounded."""
        positions = torch.as_tensor(indices)
        return self._images[positions], self.labels[positions]

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of shape, colours and labels in order."""
        digest = hashlib.sha256(f"{tuple(self._images.shape)}".encode())
        for values in (self._images, self.labels):
            digest.update(values.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Trains networks on changed images and caches on disk which test images they classify correctly.

    An interrupted training is resumed from the last finished epoch; the same training is not run twice.

    Attributes:
        job: what is trained, from scratch; its images and its seed are replaced.
        data: whose images are changed.
        device: to train on.
        folder: of the cached results.
    """

    job: TrainingJob
    data: Loaded
    device: torch.device
    folder: Path

    def __call__(self, images: Mapping[SplitName, Tensor], seed: int) -> Tensor:
        """Train a network on changed images and test it on changed images.

        Args:
            images: of every split, float32 in [0, 1], N×C×H×W; their classes are those of ``data``.
            seed: of the training.

        Returns:
            Whether each changed test image is classified correctly, bool[N].

        Raises:
            TrainingError: see ``training.loop.train``.
            ValueError: changed images are not finite or not in [0, 1].
        """
        for name, changed in images.items():
            check_pixels(changed, f"changed {name} images")
        splits: dict[SplitName, Split] = {
            name: FloatSplit(changed, self.data.splits[name].labels) for name, changed in images.items()
        }
        digests = {name: split.sha256 for name, split in splits.items()}
        job = replace(self.job, train_sha256=digests["train"], val_sha256=digests["val"], seed=seed)
        key = _key(job, digests["test"])
        result = self.folder / f"{key}{SUFFIX}"
        resume = result.with_suffix(".resume")
        hits = _read(result, len(splits["test"]))
        if hits is None:
            trained = train(
                *(job.method.item, job.model.item, replace(self.data, splits=splits), job.recipe),
                seed=seed,
                device=self.device,
                resume=resume,
                job=key,
                progress="retrain",
            )
            hits = correct(trained.model, splits["test"], len(splits["test"]), self.device)
            write_hits(result, hits.tolist())
        resume.unlink(missing_ok=True)
        return hits


def _key(job: TrainingJob, test_sha256: str) -> str:
    """Fingerprint of everything that decides which test images are recognised."""
    own = source_digest(("benchmark/evaluation/retraining.py",))
    return fingerprint([job.key, job.code, test_sha256, own])


def _read(path: Path, count: int) -> Tensor | None:
    """The result of an earlier training; None where there is none or it is damaged or another's."""
    if not path.is_file():
        return None
    hits = read_hits(path)
    if hits is None or len(hits) != count:
        LOG.warning("%s is of another training or is damaged; training again", path)
        return None
    return torch.tensor(hits)


def all_images(data: Loaded) -> dict[SplitName, Tensor]:
    """The images of every split, N×C×H×W in [0, 1]."""
    return {name: split.batch(range(len(split)))[0] for name, split in data.splits.items()}


def split_maps(model: nn.Module, explainer: Explainer, images: Tensor, rules: Rules) -> Tensor:
    """Maps of a network's predicted classes, computed as for a score, batch by batch.

    The true classes are not used: maps of them could leak the label into the images that networks are trained on.

    Args:
        model: in evaluation mode, on any device.
        explainer: of its predictions.
        images: N×C×H×W.
        rules: reduction, seed and batch size.

    Returns:
        Tensor N×H×W on the CPU, in float64 where the device has it.
    """
    scored, model = scored_copy(model), independent_copy(model)
    explain = explaining(independent_copy(explainer), rules.seed)
    like = next(scored.parameters())
    parts = []
    starts = range(0, len(images), rules.batch_size)
    with seeded(derive_seed("evaluation", rules.seed)), torch.no_grad():
        for start in tqdm(starts, desc="explain", unit="batch", leave=False, disable=None):
            x = images[start : start + rules.batch_size].to(like.device)
            maps = explain(scored, x.to(like.dtype), model(x).argmax(dim=1))
            parts.append(reduce_map(maps, rules.reduction).cpu())
        return torch.cat(parts)


def evaluate_retraining(
    model: nn.Module,
    explainer: Explainer,
    retraining_metrics: Sequence[RetrainingMetric],
    data: Loaded,
    rules: Rules,
    retrain: Callable[[Mapping[SplitName, Tensor], int], Tensor],
    *,
    maps: Callable[[SplitName], Tensor] | None = None,
    progress: str = "retrainings",
) -> list[Tensor]:
    """Evaluate retraining metrics of an explainer and its network.

    Args:
        model: in evaluation mode, on any device.
        explainer: of its predictions.
        studies: the retraining metrics.
        data: the dataset whose images are changed.
        rules: reduction, seed and batch size of the maps.
        retrain: see ``RetrainingContext.retrain``; a ``Retraining``.
        maps: of every image of a split, see ``split_maps``; computed where they are not given.
        progress: label of the progress bar, which counts trainings, cached ones included.

    Returns:
        For every metric float64 repeats×N, of the whole test split.
    """
    images = all_images(data)
    known = maps or functools.cache(lambda name: split_maps(model, explainer, images[name], rules))
    total = sum(retraining_metric.trainings for retraining_metric in retraining_metrics)
    with tqdm(total=total, desc=progress, unit="training", leave=False, disable=None) as bar:

        def counted(changed: Mapping[SplitName, Tensor], seed: int) -> Tensor:
            hits = retrain(changed, seed)
            bar.update()
            return hits

        scores = []
        for retraining_metric in retraining_metrics:
            own = ours(type(retraining_metric))
            context = RetrainingContext(
                images=images if own else {name: part.clone() for name, part in images.items()},
                maps=known if own else lambda name: known(name).clone(),
                mean=torch.tensor(data.mean),
                seed=rules.seed,
                retrain=counted,
            )
            with seeded(derive_seed("metric", rules.seed)):
                scores.append(independent_copy(retraining_metric).score(context))
        return scores
