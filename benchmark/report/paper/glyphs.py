"""Text as LaTeX prints it, and its width in the Computer Modern fonts."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import cast

SPECIAL: Mapping[str, str] = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "\\": "\\textbackslash{}"},
    **{"<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "†": "\\dag{}", '"': "{\\char34}"},
    **{"–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "…": "\\dots{}", "\u00a0": "~"},
    **{"−": "$-$", "×": "$\\times$", "·": "$\\cdot$", "±": "$\\pm$", "≤": "$\\leq$", "≥": "$\\geq$", "≠": "$\\neq$"},
    **{"≈": "$\\approx$", "∞": "$\\infty$", "→": "$\\rightarrow$", "←": "$\\leftarrow$", "∇": "$\\nabla$"},
    **{"↑": "$\\uparrow$", "↓": "$\\downarrow$", "²": "$^2$", "³": "$^3$", "°": "$^\\circ$", "½": "$\\frac12$"},
    **{
        "ℓ": "$\\ell$",
        "Σ": "$\\Sigma$",
        "Φ": "$\\Phi$",
        "∈": "$\\in$",
        "‖": "$\\|$",
        "√": "$\\surd$",
        "Δ": "$\\Delta$",
    },
    **{"α": "$\\alpha$", "β": "$\\beta$", "γ": "$\\gamma$", "δ": "$\\delta$", "ε": "$\\varepsilon$", "η": "$\\eta$"},
    **{
        "λ": "$\\lambda$",
        "μ": "$\\mu$",
        "µ": "$\\mu$",
        "π": "$\\pi$",
        "ρ": "$\\rho$",
        "σ": "$\\sigma$",
        "τ": "$\\tau$",
    },
    **{"θ": "$\\theta$", "φ": "$\\varphi$", "χ": "$\\chi$", "ψ": "$\\psi$", "ω": "$\\omega$", "κ": "$\\kappa$"},
}
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328"
"""Combining accents that LaTeX can put on a letter in the encoding that it has from the start."""
PLAIN = "ßæøåœłÆØÅŒŁ§¶©£"
"""Other characters that it prints as they are."""
LIGATURES = "-'`"
"""Characters that LaTeX joins with a neighbour."""
LONG = re.compile(r"[^\s-]{24,}")
BREAKS = re.compile(r"(?<=[,:=_/.;()\[\]])(?=[^\s,:=_/.;()\[\]])")
WIDE = 1.0
"""Of a character that is not in the metrics, in em: an upper bound."""


@functools.cache
def glyph(char: str) -> str:
    """A character in LaTeX; one that it has no glyph for as its number, ``[U+4E2D]``."""
    if char in SPECIAL:
        return SPECIAL[char]
    if char in PLAIN or (char.isascii() and char.isprintable()):
        return char
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return char
    return " " if char.isspace() else f"[U+{ord(char):04X}]"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    shown, previous = [], ""
    for char in unicodedata.normalize("NFC", text):
        if char in LIGATURES and previous in (*LIGATURES, "?", "!"):
            shown.append("{}")
        shown.append(glyph(char))
        previous = char
    return "".join(shown)


def breakable(text: str) -> str:
    """``escape`` of a sentence, in which long words may be broken behind their punctuation, or anywhere else."""
    return "".join(
        _broken(part) if LONG.fullmatch(part) else escape(part) for part in re.split(f"({LONG.pattern})", text)
    )


def _broken(word: str) -> str:
    pieces = [piece[at : at + 16] for piece in BREAKS.split(word) for at in range(0, len(piece), 16)]
    return "\\allowbreak{}".join(map(escape, pieces))


@functools.cache
def _fonts() -> dict[str, dict[str, float]]:
    file = importlib.resources.files(__package__).joinpath("fonts.json")
    return cast("dict[str, dict[str, float]]", json.loads(file.read_text(encoding="utf-8")))


def width(text: str, font: str) -> float:
    """Width in points of a text in a font, ``cmr9``; kerns, which make it narrower, are left out.

    Args:
        text: before it is escaped.
        font: family and design size.
    """
    known = _fonts()[font]
    size = float(font.lstrip("cmrbxti"))
    total = 0.0
    for char in unicodedata.normalize("NFC", text):
        letter = unicodedata.normalize("NFD", char)[0]
        shown = glyph(char)
        if shown.startswith("[U+"):
            total += sum(known[part] for part in shown)
        else:
            total += known.get(char, known.get(letter, WIDE * size))
    return total
