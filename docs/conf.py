"""Settings of Sphinx, which builds the manual: ``python -m sphinx -W -b html docs docs/_build``."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "extension"), str(HERE.parent)]

import attrobust  # noqa: E402

project = "attrobust"
author = "the attrobust authors"
version = release = attrobust.__version__
copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference"]
exclude_patterns = ["_build", "extension"]
html_theme = "furo"
html_title = f"attrobust {release}"

# Links to headings, as in flags.md#noise-beats-attack.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes of a dataclass are listed with the class, and not once more as members.
napoleon_use_ivar = True
