"""Trying a network and an explainer out before their maps are attacked."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from attrobust.benchmark.audit import answers, masking
from attrobust.benchmark.audit.case import Trial
from attrobust.benchmark.evaluation.evaluate import Images, Rules
from attrobust.explainers.base import Explainer
from attrobust.maps.seeds import derive_seed
from attrobust.types import Flag

LOG = logging.getLogger("attrobust")


def probe(model: nn.Module, explainer: Explainer, images: Images, rules: Rules) -> list[Flag]:
    """What is wrong with a network and an explainer, as far as a few images tell; the same flags every time.

    The model and all random states are left as they were. Where the network answers the same question in two ways,
    nothing else is looked at, which would measure the noise; where maps are the same for every image, no attack is
    tried, which could not move them. An audit that fails is a flag too, ``not-audited``.

    Args:
        model: in evaluation mode, on any device.
        explainer: whose maps are scored.
        images: of which at most ``trial.IMAGES`` are looked at.
        rules: of the run.
    """
    found: list[Flag] = []
    with _seeded(derive_seed("audit", rules.seed)):
        try:
            trial = Trial(model, explainer, images, rules)
            found += answers.stochastic_forward(trial)
            if found:
                return found
            found += answers.depends_on_batch(trial) + answers.constant_map(trial)
            if trial.movable:
                found += masking.view_differs(trial) + masking.gradient_vanishes(trial)
                found += masking.attack_does_not_help(trial)
        except Exception as error:  # whatever networks and explainers raise
            LOG.debug("the audit failed", exc_info=True)
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            found.append(Flag(name="not-audited", reason=f"the audit stopped with {reason}"))
    return found


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of the audit's own for all who draw, and afterwards the states as they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
