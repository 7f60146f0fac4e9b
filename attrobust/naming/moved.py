"""What plug-ins imported before everything was called ``attrobust.…``, and what to write now. Imports no torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from traceback import extract_tb

from attrobust.naming.locate import locate
from attrobust.places import ROOMS, if_ones_own, room

_BY_FOLDER = {
    ("attrobust", "attrobust.naming"): "spec registry suggest checks",
    ("attrobust", "attrobust.networks"): "batch_norm kinks low_curvature passes pooling smoothing sizes",
    ("attrobust", "attrobust.maps"): "ranks reduction seeds certificates lengths",
    ("methods", "attrobust.methods.losses"): "activation adversarial draws gradients integrated",
    ("explainers", "attrobust.networks"): "tracing probe",
    ("explainers", "attrobust.explainers.shared"): "chunks gradient masking least_squares noise",
    ("explainers", "attrobust.maps"): "segments",
    ("explainers", "attrobust.explainers.captum_engine"): "differentiable graph rectifiers captum_lrp lrp_rules",
    ("attacks", "attrobust.attacks.engine"): "adam adaptive descent feasible walk signed board prediction scored",
    ("attacks", "attrobust.attacks.objectives"): "mass scores",
    ("attacks", "attrobust.attacks.published"): "variants ghorbani path on_loss maps",
    ("metrics", "attrobust.metrics.similarity"): "cosine pearson spearman kendall topk lens ssim normalized_l2"
    " mass_center wasserstein target_similarity",
    ("metrics", "attrobust.metrics.faithfulness"): "insertion deletion infidelity retrieval",
    ("metrics", "attrobust.metrics.sensitivity"): "sensitivity",
    ("metrics", "attrobust.metrics.complexity"): "gini",
    ("metrics", "attrobust.metrics.localization"): "localization",
    ("metrics", "attrobust.metrics.curvature"): "curvature hessian aga_bound",
    ("metrics", "attrobust.metrics.certified"): "certified",
    ("metrics", "attrobust.metrics.retraining"): "roar kar diffroar",
    ("metrics", "attrobust.metrics.shared"): "curve derivatives removal case",
    ("benchmark", "attrobust.benchmark.checkpoints"): "packages external dialects claims",
    ("benchmark", "attrobust.benchmark.request"): "request protocol criterion",
    ("benchmark", "attrobust.benchmark.evaluation"): "scores retraining",
    ("benchmark", "attrobust"): "files",
}
MOVED = {f"{old}.{name}": f"{new}.{name}" for (old, new), names in _BY_FOLDER.items() for name in names.split()} | {
    "attrobust.views": "attrobust.networks.smoothed",
    "attrobust.explainers.shared.segments": "attrobust.maps.segments",
    "attrobust.types.ThreatModel": "attrobust.threat.ThreatModel",
    "attrobust.Study": "attrobust.RetrainingMetric",
    "attrobust.Bench": "attrobust.RetrainingContext",
    "attrobust.softplus_view": "attrobust.softplus_model",
    "explainers.controls": "attrobust.explainers.baselines",
    "attrobust.types.format_eps": "attrobust.threat.format_eps",
    "explainers.captum": "attrobust.explainers.shared.from_captum",
    "explainers.network_view": "attrobust.networks.private_copy",
    "attacks.ranks": "attrobust.attacks.objectives.stand_ins",
    "metrics.rows": "attrobust.maps.rows",
    "attacks.views": "attrobust.attacks.engine.differentiated",
    "metrics.study": "attrobust.metrics.shared.retraining",
    "benchmark.components": "attrobust.naming.component",
    "benchmark.settings": "attrobust.naming.toml",
    "benchmark.zoo": "attrobust.benchmark.checkpoints.find",
    "benchmark.weights": "attrobust.benchmark.checkpoints.state_dict",
    "benchmark.cards": "attrobust.benchmark.checkpoints.card",
    "benchmark.cli": "attrobust.benchmark.command.main",
    "benchmark.training": "attrobust.benchmark.training.loop",
    "benchmark.training.image_facts": "attrobust.benchmark.data.base.image_facts",
    "benchmark.recipe": "attrobust.benchmark.training.recipe",
    "benchmark.evaluation": "attrobust.benchmark.evaluation.evaluate",
}
"""Modules whose new name is more than ``attrobust.`` and the old one, and what changed its module."""


def moved_imports(tree: ast.Module) -> list[str]:
    """What to change in a module's own imports, e.g. ``methods.base is now attrobust.methods.base``.

    Looked at are the statements that run when the module is imported, outside of ``try`` and ``if``. A ``metrics`` of
    the author's own is left alone.
    """
    return [*dict.fromkeys(advice for node in tree.body for advice in _advice(node))]


def moved_for(error: BaseException) -> str:
    """What to change where an old name is what raised ``error``, all of that file in one line; else empty."""
    if not isinstance(error, ImportError):
        return ""
    refusing = {room("attrobust") / "places.py", *(room(name) / "__init__.py" for name in ROOMS)}
    frames = [(Path(frame.filename).resolve(), frame.lineno or 0) for frame in extract_tb(error.__traceback__)]
    frames = [(file, line) for file, line in frames if file.is_file() and file not in refusing]
    if not frames:
        return ""
    file, line = frames[-1]
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ""
    statements = (node for node in tree.body if node.lineno <= line <= (node.end_lineno or node.lineno))
    if not any(_advice(node) for node in statements):
        return ""
    advice = moved_imports(tree)
    if type(error) is ImportError and error.name in ROOMS:
        advice.append(if_ones_own(error.name))
    return "; ".join(advice)


def _advice(node: ast.stmt) -> list[str]:
    return [advice for module, name in _imported(node) if (advice := _renamed(module, name))]


def _imported(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Modules that a statement imports, each with the name it takes from there, or empty."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
        yield from ((node.module, alias.name) for alias in node.names)


def _renamed(module: str, name: str) -> str:
    """What is now called what; empty where the module is not an old name of ours."""
    top = module.partition(".")[0]
    if top not in (*ROOMS, "attrobust") or _is_somebody_elses(module):
        return ""
    for old in (f"{module}.{name}", module):
        if old in MOVED:
            return f"{old} is now {MOVED[old]}"
    if top == "attrobust":
        return ""
    if _exists(f"attrobust.{module}"):
        return f"{module} is now attrobust.{module}"
    return "" if _is_somebody_elses(top) else f"{top} is now attrobust.{top}, which has no {module.partition('.')[2]}"


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _is_somebody_elses(module: str) -> bool:
    """Whether a module of such a name exists and is not ours."""
    try:
        spec = locate(module)
    except Exception:  # There is none, or a finder of somebody else's failed.
        return False
    top = module.partition(".")[0]
    return spec.origin is None or not Path(spec.origin).resolve().is_relative_to(room(top))
