"""LaTeX on tables: an article that they stand in, what is wrong with it, and how wide they really are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

needs_latex = pytest.mark.skipif(
    not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="pdflatex and bibtex are not installed"
)
WRONG = re.compile(r"^(?:!|Overfull|Underfull .hbox|.*(?:Warning|Error|multiply)).*", re.MULTILINE)
MEASURE = "\\sbox0{%s}\\typeout{measured \\the\\wd0}"


def compiled(
    folder: Path, tables: Mapping[str, str], *, two_column: bool = False, papers: Sequence[str] = (), preamble: str = ""
) -> list[str]:
    """Every line of LaTeX and BibTeX that complains of an article with some tables between two paragraphs.

    Args:
        folder: to work in; ``paper.pdf`` is made there.
        tables: LaTeX by the name of its file.
        two_column: whether the article has two columns.
        papers: files of BibTeX, without their suffix.
        preamble: behind the packages.
    """
    for name, source in tables.items():
        (folder / f"{name}.tex").write_text(source, encoding="utf-8")
    text = "All of this is text that stands around the tables of an article. " * 12
    references = "".join(f"Table~\\ref{{{label}}}. " for source in tables.values() for label in labels(source))
    body = "\n\n".join([text, *(f"\\input{{{name}}}\n\n{text}" for name in tables), references])
    cited = (
        f"\\nocite{{*}}\\bibliographystyle{{plain}}\\raggedright\\bibliography{{{','.join(papers)}}}" if papers else ""
    )
    options = "[twocolumn]" if two_column else ""
    (folder / "paper.tex").write_text(
        f"\\documentclass{options}{{article}}\\usepackage{{booktabs}}{preamble}\n"
        f"\\begin{{document}}\n{body}\n{cited}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    latex = ["pdflatex", "-interaction=nonstopmode", "paper.tex"]
    said = []
    for words in [latex, *([["bibtex", "paper"]] if papers else []), latex, latex]:
        done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
        said.append(done.stdout.decode("latin-1"))
    log = (folder / "paper.log").read_text(encoding="latin-1")
    bibliography = [line for line in said[1].splitlines() if "arning" in line or "error" in line] if papers else []
    assert (folder / "paper.pdf").is_file(), log[-3000:]
    return [match[0] for match in WRONG.finditer(log)] + bibliography


def widths(folder: Path, source: str) -> list[float]:
    """How wide LaTeX sets each table, in points."""
    tabulars = re.findall(
        r"(\\(?:small|footnotesize)\\setlength.*?\n\\begin\{tabular\}.*?\\end\{tabular\})", source, re.DOTALL
    )
    # A line that ends behind the settings would be a space in this place.
    body = "\n".join(MEASURE % tabular.replace("pt}\n", "pt}%\n", 1) for tabular in tabulars)
    (folder / "measure.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    words = ["pdflatex", "-interaction=nonstopmode", "measure.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False)
    return [float(found) for found in re.findall(r"measured ([\d.]+)pt", done.stdout.decode("latin-1"))]


def labels(source: str) -> list[str]:
    """Every label of some tables."""
    return re.findall(r"\\label\{([^}]*)\}", source)
