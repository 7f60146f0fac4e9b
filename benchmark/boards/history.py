"""The folder of results as it was published: at a commit of the git repository that it lies in."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

PUBLISHED = "ATTROBUST_PUBLISHED"
"""Environment variable with the commit that was published last; CI sets it to what a change is based on."""


class NoHistoryError(Exception):
    """There is no earlier state; says why."""


def published_state(results: Path, into: Path) -> Path:
    """Write the folder of results as it was published last into another folder; returns where it lies.

    That is the commit that ``ATTROBUST_PUBLISHED`` names. Without it, it is the last commit where files of the folder
    have changed since, else the one before it.

    Args:
        results: the folder in its working tree.
        into: an empty folder.

    Raises:
        NoHistoryError: there is no git, no such commit, or no results in it.
    """
    name = results.name
    changed = bool(_git(results.parent, "status", "--porcelain", "--", name).strip())
    commit = os.environ.get(PUBLISHED, "") or ("HEAD" if changed else "HEAD^")
    if not _git(results.parent, "ls-tree", "--name-only", commit, "--", name).strip():
        raise NoHistoryError(f"commit {commit} has no {name}/")
    with tarfile.open(fileobj=io.BytesIO(_git(results.parent, "archive", "--format=tar", commit, name))) as archive:
        archive.extractall(into, filter="data")
    return into / name


def _git(folder: Path, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, timeout=60)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoHistoryError(f"git {words[0]}: {said[0] if said else 'failed'}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoHistoryError(f"git is not there: {error}") from error
    return done.stdout
