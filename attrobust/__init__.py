"""attrobust: how far can a perturbation nobody sees move a neural network's explanation?

What plug-ins and notebooks import. The names are those of ``__init__.pyi``; each is imported on first use, so importing
this package is cheap:

    from attrobust import Method, register_method
"""

from pathlib import Path

import lazy_loader

__version__ = "0.1.0"

# In a clone that is not installed the rooms lie beside this folder; where there are no symlinks, that is all there is.
if not (Path(__file__).parent / "benchmark").is_dir():
    __path__.append(str(Path(__file__).resolve().parent.parent))

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
