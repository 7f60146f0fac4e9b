"""Names of files and folders that mean the same on every system, and paths that do not mean what was typed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{number}" for kind in ("com", "lpt") for number in "0123456789¹²³")}
"""Names that Windows keeps for devices, whatever the ending."""
FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*\x7f]')
"""Characters that no name has on Windows."""
LONGEST = 200
"""Bytes of a name; file systems take 255, and what is made of a name is longer."""
LONGEST_PART, LONGEST_PATH = 255, 4000
"""Bytes of a name, and of a path, that file systems take."""
LETTERS = 60
"""Of a text, in a file's name."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def unsuitable(name: str) -> str:
    """What keeps a text from being the name of a file or folder on every system, in words; empty where nothing does."""
    if name.startswith("."):
        return "begins with a dot"
    if name != name.strip().rstrip("."):
        return "begins or ends with a space, or ends with a dot"
    if found := FORBIDDEN.search(name):
        return f"has the character {found[0]!r}"
    if name.partition(".")[0].rstrip().lower() in DEVICES:
        return "is the name of a device on Windows"
    if len(name.encode(errors="replace")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return "" if name else "is empty"


def not_a_file(path: Path) -> str:
    """What is at a path in place of a file, in words, e.g. ``is a folder``; empty where there is a file."""
    return _other_than("file", path)


def not_a_folder(path: Path) -> str:
    """What is at a path in place of a folder, in words, e.g. ``is a file``; empty where there is a folder."""
    return _other_than("folder", path)


def _other_than(wanted: Literal["file", "folder"], path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "does not exist"
    except NotADirectoryError:
        return "does not exist: what should be a folder of it is a file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    kinds = {"file": stat.S_ISREG, "folder": stat.S_ISDIR, "pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK}
    kind = next((name for name, is_one in kinds.items() if is_one(mode)), "device")
    return "" if kind == wanted else f"is a {kind}, and no {wanted}"


def real(path: Path) -> Path:
    """The absolute path without links; one whose links lead back to themselves stays as far as it can be followed."""
    return Path(os.path.realpath(path))


def as_part(text: str) -> str:
    """A text from outside as a part of a file's name: at most 60 letters, digits, ``_``, ``.`` and ``-``."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:LETTERS]


def free_name(name: str, used: set[str]) -> str:
    """A name that no other file has, on file systems that ignore case too, and no device on Windows; added to ``used``.

    Args:
        name: that is wanted, without ending.
        used: names that are taken, casefolded.
    """
    wanted = f"{name or 'unnamed'}_" if name.partition(".")[0].lower() in DEVICES or not name else name
    found, number = wanted, 1
    while found.casefold() in used:
        number += 1
        found = f"{wanted}-{number}"
    used.add(found.casefold())
    return found


def not_a_path(text: str) -> str:
    """Why a text is not the path that was meant, or none at all, in words; empty where nothing is wrong.

    It may be an address, longer than paths are, or a home folder: shells replace ``~`` at the start of a word only, so
    that ``--out=~/runs`` would be a folder called ``~``.
    """
    if not text:
        return "an empty name is no path"
    if URL.match(text):
        return f"{text} is an address; download what is there and name the file or folder"
    parts = [len(part.encode(errors="replace")) for part in text.split("/")]
    if "\0" in text or max(parts) > LONGEST_PART or sum(parts) > LONGEST_PATH:
        return f"{text[:LETTERS]!r}… is no path: it is too long, or has a character that no path has"
    if text.startswith("~") and not Path(text.split("/", maxsplit=1)[0]).exists():
        rest = text[1:]
        instead = f"$HOME{rest}" if not rest or rest.startswith("/") else "the whole path"
        return f"{text}: the shell replaces ~ only where a word begins with it; write {instead}"
    return ""
