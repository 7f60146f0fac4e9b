"""Audits a network and an explainer on a few images, before the attacks of the run."""

from __future__ import annotations

import logging

from torch import nn

from attrobust.benchmark.audit import answers, jumps, masking, uninformative
from attrobust.benchmark.audit.case import AuditCase
from attrobust.benchmark.evaluation.inputs import Images, Rules
from attrobust.explainers.base import Explainer
from attrobust.maps.seeds import derive_seed
from attrobust.naming.safe import reason
from attrobust.process import seeded
from attrobust.types import Flag

LOG = logging.getLogger("attrobust")


def probe(model: nn.Module, explainer: Explainer, images: Images, rules: Rules) -> list[Flag]:
    """The flags of a network and an explainer, from a few images; deterministic.

    The model and all random states are left unchanged. Where the network itself is not deterministic, that is the only
    flag, since other checks would measure its noise. Where maps are the same for every image, attacks are not tried. An
    audit that raises an exception gives the flag ``not-audited``.

    Args:
        model: in evaluation mode, on any device.
        explainer: whose maps are scored.
        images: of which at most ``case.IMAGES`` are used.
        rules: of the run.
    """
    flags: list[Flag] = []
    with seeded(derive_seed("audit", rules.seed)):
        try:
            case = AuditCase(model, explainer, images, rules)
            flags += answers.stochastic_forward(case)
            if flags:
                return flags
            flags += answers.depends_on_batch(case) + answers.gradient_differs(case) + answers.constant_map(case)
            if case.movable:
                flags += masking.view_differs(case)
                # A second derivative that is nowhere explains no change of a gradient either.
                flags += masking.gradient_vanishes(case) or jumps.gradient_jumps(case)
                flags += masking.attack_does_not_help(case)
            flags += uninformative.uninformative(case)
        except Exception as error:  # whatever networks and explainers raise
            LOG.debug("the audit failed", exc_info=True)
            flags.append(Flag(name="not-audited", reason=f"the audit stopped with {reason(error)}"))
    return flags
