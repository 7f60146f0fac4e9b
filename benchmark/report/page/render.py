"""The page as text: template, style, script and data in one file that asks for no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from attrobust.benchmark.report.notes import all_notes
from attrobust.benchmark.report.page.payload import payload
from attrobust.benchmark.report.page.pictures import pictures
from attrobust.benchmark.report.table import ALL, Leaderboard
from attrobust.benchmark.report.verdict.legend import reading
from attrobust.benchmark.report.verdict.page import sections
from attrobust.benchmark.report.verdict.terminal import ARROWS
from attrobust.benchmark.report.verdict.view import verdict_of, with_verdict
from attrobust.benchmark.report.words import caption, left_out, legend, protocols
from attrobust.naming.safe import visible

HERE = Path(__file__).parent
STYLES = ("colours", "layout", "verdict", "table", "dialog", "print")
SCRIPTS = ("elements", "theme", "columns", "filters", "table", "histogram", "dialog", "start")
"""In the order in which they are put together; the script is one function, so that it leaves no global names."""
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""Of characters that could end a script element or begin a comment; JSON has them only inside of strings."""


def render(*boards: Leaderboard) -> str:
    """One leaderboard or several as an HTML file.

    Names are data: the template escapes them, and the script sets them as text. A content security policy allows the
    style and the script of the page, by their hashes, and no request of any kind.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=_readable,
    )
    style = _joined("style", STYLES, "css")
    script = f'(() => {{\n"use strict";\n{_joined("script", SCRIPTS, "js")}}})();\n'
    data = payload(boards) | {"subsets": dict(subset_words(boards))}
    shown, judged = pictures(boards, data), with_verdict(boards)
    return environment.get_template("page.html").render(
        title=protocols(boards),
        caption=caption(*boards),
        legend=legend(*boards),
        verdicts=sections(judged, ARROWS),
        reading=reading(judged, [verdict_of(board) for board in judged]) if judged else "",
        notes=all_notes(boards),
        style=Markup(style),
        script=Markup(script),
        style_hash=_sha256(style),
        script_hash=_sha256(script),
        data=Markup(embedded(data)),
        pictures=Markup(embedded(shown)) if shown else "",
    )


def subset_words(boards: Sequence[Leaderboard]) -> Iterator[tuple[str, str]]:
    """Names of the subsets that tables have, and what they are."""
    names = dict.fromkeys(group.subset for board in boards for group in board.groups)
    for subset in names:
        right = "those every network classifies correctly"
        yield subset, "all images" if subset == ALL else f"{right}{left_out(boards[0])}"


def embedded(data: object) -> str:
    """JSON that may stand in a script element whatever its strings hold."""
    text = json.dumps(_visible(data), separators=(",", ":"), allow_nan=False)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _visible(data: object) -> object:
    """The same without control characters, and without what turns the direction of text around."""
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, Mapping):
        return {_visible(key): _visible(value) for key, value in data.items()}
    return [_visible(value) for value in data] if isinstance(data, (list, tuple)) else data


def _readable(value: object) -> object:
    """What the template writes: text as ``_visible`` makes it; style, script and data are finished."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _joined(folder: str, names: tuple[str, ...], suffix: str) -> str:
    return "".join((HERE / folder / f"{name}.{suffix}").read_text(encoding="utf-8") for name in names)


def _sha256(text: str) -> str:
    """As a content security policy names an element by what it holds."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
