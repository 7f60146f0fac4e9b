"""Which commit of this repository trained some weights, found out by the digest of its training sources."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile

from attrobust.benchmark.store.provenance import TRAINING
from attrobust.places import CORE
from attrobust.types import UsageError

UNKNOWN = "unknown"
DIGEST = f"from attrobust.benchmark.store.provenance import code_digest\nprint(code_digest({TRAINING!r}, []))"


def commit_of(code: str, revision: str | None) -> str:
    """The full hash of the commit whose training sources, with the libraries installed here, have a digest.

    Args:
        code: the digest, as weight cards have it.
        revision: the commit, as git names it; None tries HEAD.

    Returns:
        the hash, or ``"unknown"`` where no revision is named and HEAD is not the commit.

    Raises:
        UsageError: the named revision does not exist, or its digest is another.
    """
    try:
        found = _git("rev-parse", "--verify", "--quiet", f"{revision or 'HEAD'}^{{commit}}").decode().strip()
        digest = _digest_at(found)
    except (OSError, subprocess.SubprocessError) as error:
        if revision is None:
            return UNKNOWN
        raise UsageError(f"--commit {revision} is no commit of {CORE.parent} that can be tried") from error
    if digest == code:
        return found
    if revision is None:
        return UNKNOWN
    raise UsageError(
        f"--commit {revision} did not train these weights: its training sources, or the versions of the libraries "
        f"installed here, have the digest {digest[:12]}, and the card says {code[:12]}"
    )


def _digest_at(commit: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as packed:
            packed.extractall(folder, filter="data")
        environment = {**os.environ, "PYTHONPATH": folder}
        words = [sys.executable, "-c", DIGEST]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=True, timeout=120)
    return done.stdout.decode().strip()


def _git(*words: str) -> bytes:
    done = subprocess.run(["git", "-C", str(CORE.parent), *words], capture_output=True, check=True, timeout=60)
    return done.stdout
