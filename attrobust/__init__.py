"""attrobust: a benchmark of how robust a network's attributions are to small perturbations of its input.

This module is the public API for plug-ins and notebooks. Its names are listed, with their types, in ``__init__.pyi``;
each is imported on first use, so importing the package is cheap:

    from attrobust import Method, register_method
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

# In a clone that is not installed and has no symlinks, the rooms are found only beside this folder.
if not (Path(__file__).parent / "benchmark").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
