"""What runs of a sweep have in common, so that an estimate counts it once; ``store.sweep.take_over`` gives it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from attrobust.benchmark.executors.jobs import AuditJob
from attrobust.benchmark.run.flags import DECISIVE
from attrobust.benchmark.run.status import Left
from attrobust.naming.spec import fingerprint


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What earlier runs of a sweep compute that a later one need not.

    Attributes:
        networks: keys of their trainings.
        accuracies: keys of the networks whose clean accuracy they measure.
        audits: fingerprints of what their audits are of.
    """

    networks: frozenset[str]
    accuracies: frozenset[str]
    audits: frozenset[str]

    def taken_from(self, left: Left) -> Left:
        """What is left to do of a run without it."""
        return replace(
            left,
            networks=tuple(job for job in left.networks if job.key not in self.networks),
            accuracies=tuple(job for job in left.accuracies if job.network.key not in self.accuracies),
            audits=tuple(job for job in left.audits if _audited(job) not in self.audits),
        )


def shared_by(runs: Sequence[Left]) -> Shared:
    """What several runs compute."""
    return Shared(
        networks=frozenset(job.key for left in runs for job in left.networks),
        accuracies=frozenset(job.network.key for left in runs for job in left.accuracies),
        audits=frozenset(_audited(job) for left in runs for job in left.audits),
    )


def _audited(job: AuditJob) -> str:
    """What an audit is of; how many images a run has beside those that are audited does not decide it."""
    facts = asdict(job.cell)
    return fingerprint([job.network.key, {name: facts[name] for name in DECISIVE if name != "data_sha256"}])
