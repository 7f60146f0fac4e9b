"""``--list protocols:quick``: describes one protocol, with the settings of its parts. Imports no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from attrobust.benchmark.request.parts import load_parts
from attrobust.benchmark.request.protocol import load_protocol, protocol_file
from attrobust.naming import toml as settings

WIDTH = 112
INDENT = 20
HIDDEN = ("version", "summary", "parts")


def describe_protocol(name: str) -> str:
    """The text of ``--list protocols:NAME``: what the file states, part by part.

    Raises:
        UsageError: an unknown name, or a file with a mistake.
    """
    parts, whole = load_parts(name), load_protocol(name)
    stated = settings.table(protocol_file(name))
    lines = [f"protocol {whole.title}", "", *textwrap.wrap(whole.summary, WIDTH), "", *_fields(stated)]
    for part in parts:
        if part.name:
            lines += ["", f"part {part.name}", *_fields(stated["parts"][part.name])]
    return "\n".join(lines) + "\n"


def _fields(values: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for key, value in values.items():
        if key not in HIDDEN:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines += textwrap.wrap(
                text or "none",
                WIDTH,
                initial_indent=f"  {key:<{INDENT - 2}}",
                subsequent_indent=" " * INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return lines
