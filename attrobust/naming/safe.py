"""Text from outside, such as names and error messages, made safe for each place where it is written.

LaTeX has ``report.paper.glyphs.escape``, and HTML the escaping of its template and of JSON.
"""

from __future__ import annotations

import functools
import re

BREAKS = re.compile("\\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+\\s*")
"""Ends of lines, as ``str.splitlines`` knows them."""
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""Control characters but for tabs and ends of lines, and characters that have no width or turn text around."""
SPECIAL = "\\|*_<>`~$"
"""Characters that Markdown reads as more than themselves."""
LINKS = re.compile(r"(?:\](?=[(\[:])|&(?=#|\w+;)|:(?=//)|(?<=\bwww)\.|(?<=\w)@(?=\w))")
"""Where a link, a reference or an entity of Markdown would begin."""
STARTS = re.compile(r"^(?:[#+=-](?=[#+=\s-]|$)|\d+(?=[.)](?:\s|$)))")
"""What makes a heading or a list of a line that begins with it."""
LETTERS = 300
"""Of what went wrong, in rows."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of a cell that spreadsheets compute."""


def line(text: str) -> str:
    """Text in one line, without anything that a terminal obeys: ``\\x1b`` stands for an escape character."""
    joined = BREAKS.sub(" ", text)
    return joined if joined.isprintable() else "".join(map(_shown, joined))


def reason(error: BaseException) -> str:
    """What went wrong in one line for rows and tables, whatever the author of an exception wrote into it."""
    # Half of a pair of surrogates, as in names of files that are no UTF-8, is in no document.
    readable = described(error).encode("utf-8", "backslashreplace").decode()
    return (readable.splitlines() or [""])[0][:LETTERS]


def has_words(error: BaseException) -> bool:
    """Whether an exception can be asked what it says; its author's ``__str__`` may raise, or what it is made of."""
    try:
        str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
    return True


def message_of(error: BaseException) -> str:
    """What an exception says; its class where that cannot be asked."""
    return str(error) if has_words(error) else type(error).__name__


def described(error: BaseException) -> str:
    """The class of an exception, and what it says."""
    kind = type(error).__name__
    if isinstance(error, MemoryError) and not error.args:
        return f"{kind}: there is not enough memory"
    return f"{kind}: {error}" if has_words(error) else kind


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its class where it says nothing."""
    return next((text for text in message_of(error).splitlines() if text.strip()), type(error).__name__)


def lines(text: str) -> str:
    """Text of several lines, each as ``line`` makes it."""
    return "\n".join(map(line, text.split("\n")))


def visible(text: str) -> str:
    """Text in which escapes stand for what ``CONTROL`` finds; ends of lines, and all else, stay."""
    return CONTROL.sub(lambda match: _shown(match[0]), text)


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def markdown(text: str) -> str:
    """Text in one line that Markdown shows as it is, and that is no link."""
    shown = LINKS.sub(lambda match: f"\\{match[0]}", line(text).translate(_escapes()))
    return STARTS.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", shown)


@functools.cache
def _escapes() -> dict[int, str]:
    return str.maketrans({char: f"\\{char}" for char in SPECIAL})


def csv_cell(value: object) -> object:
    """A cell of a CSV: text in one line, with an apostrophe in front where a spreadsheet would compute it.

    Numbers stay as they are.
    """
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{line(value)}" if value.startswith(FORMULA) else line(value)
    return value
