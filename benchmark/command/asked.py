"""What a command evaluates: the parts and axes of its protocol, each with the options in place of its own settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.command.saying import tell
from attrobust.benchmark.request.axes import Combination, combinations, seeds_of
from attrobust.benchmark.request.parts import (
    Part,
    adds_nothing,
    differences,
    load_parts,
    picked,
    table_of,
    with_all_modified,
)
from attrobust.benchmark.request.protocol import Protocol
from attrobust.naming.spec import Spec, parse_specs, parse_sweeps
from attrobust.types import UsageError

Asked = tuple[Combination, Protocol]


def asked(options: argparse.Namespace) -> list[Asked]:
    """Every run of a command, with the protocol that it is evaluated by; one where nothing sweeps.

    Parts that have no rows left with these options, or none that another part does not have, are left out with a note.

    Raises:
        UsageError: an unknown name or a bad value in the options or the protocol's file.
    """
    parts = {part.name: part for part in picked(load_parts(options.protocol), options.parts, options.protocol)}
    radii = {name: part.eps for name, part in parts.items()} if "" not in parts else None
    runs: list[Asked] = []
    left_out: list[str] = []
    for one in combinations(dataset=options.dataset, model=options.model, eps=options.eps, parts=radii):
        protocol = _protocol(options, parts[one.part], one)
        check_names(protocol)
        if one.part and not _has_rows(options, parts[one.part], protocol):
            left_out.append(f"{one.words} has none of these methods")
        elif one.part and adds_nothing(protocol, [known for _, known in runs]):
            left_out.append(f"with these options {one.words} adds nothing to the other parts")
        else:
            runs.append((one, protocol))
    if not runs:
        stated = ", ".join(dict.fromkeys(name for part in parts.values() for name in part.selects or ()))
        raise UsageError(f"no part of {options.protocol} has these methods; they have {stated}")
    for line in dict.fromkeys(left_out):
        tell(f"note: {line}; left out")
    if options.choose is not None and len({one.part for one, _ in runs}) > 1:
        raise UsageError("--choose takes one part, since each would choose by itself; name it with --parts")
    return _told_apart(runs) if radii else runs


def _has_rows(options: argparse.Namespace, part: Part, protocol: Protocol) -> bool:
    """Whether a part has rows; those of ``--checkpoint`` are in all parts that state no methods of their own."""
    return bool(protocol.methods or (options.checkpoint and part.selects is None))


def _told_apart(runs: Sequence[Asked]) -> list[Asked]:
    """The parts of a protocol with what tells them from each other, and which of them make one table."""
    protocols = with_all_modified([protocol for _, protocol in runs])
    several = len({protocol.eps for protocol in protocols}) > 1
    told = []
    for (one, _), protocol, words in zip(runs, protocols, differences(protocols), strict=True):
        alike = [
            other.part
            for (other, _), known in zip(runs, protocols, strict=True)
            if table_of(known) == table_of(protocol)
        ]
        radius = (f"eps {protocol.eps}",) if several and "eps" not in one.axes else ()
        told.append((replace(one, differences=radius + words, beside=tuple(alike)), protocol))
    return told


def _protocol(options: argparse.Namespace, part: Part, combination: Combination) -> Protocol:
    def listed(text: str | None, what: str) -> tuple[str, ...] | None:
        return None if text is None else tuple(str(spec) for spec in parse_specs(text, what))

    def swept(text: str | None, what: str) -> tuple[str, ...] | None:
        if text is None:
            return None
        return tuple(sweep.text if sweep.is_swept else str(sweep.specs[0]) for sweep in parse_sweeps(text, what))

    dataset = combination.dataset
    if options.image_size is not None:
        spec = Spec.parse(dataset or part.protocol.dataset)
        if spec.name != "imagefolder":
            raise UsageError(f"--image-size is for --dataset imagefolder; {spec.name} has images of its own size")
        dataset = str(Spec(spec.name, {**spec.settings, "size": str(options.image_size)}))
    # With --checkpoint and without --methods only the checkpoints are rows, and nothing is trained.
    method_texts: tuple[str, ...] | None = () if options.checkpoint else None
    if options.methods is not None:
        method_texts = tuple(sweep.text for sweep in parse_sweeps(options.methods, "--methods"))
    stated = part.protocol.override(eps=combination.eps) if combination.part else part.protocol
    return replace(stated, modified=()).override(
        dataset=dataset,
        model=combination.model,
        images=options.images,
        methods=part.rows_of(method_texts),
        explainers=swept(options.explainers, "--explainers"),
        attacks=listed(options.attacks, "--attacks"),
        metrics=listed(options.metrics, "--metrics"),
        accuracy_attack=_accuracy_attack(options.accuracy_attack),
        baselines=_listed(options.baselines),
        norm=options.norm,
        eps=combination.eps,
        keep_prediction=False if options.allow_flips else None,
        seeds=None if options.seeds is None else seeds_of(options.seeds),
    )


def _accuracy_attack(text: str | None) -> str | None:
    """The option as a protocol writes it: empty for no attack."""
    return text if text is None else "" if text == "none" else str(Spec.parse(text))


def _listed(text: str | None) -> tuple[str, ...] | None:
    """The option as a protocol writes it: an empty tuple for ``none``."""
    return text if text is None else () if text == "none" else tuple(name.strip() for name in text.split(","))


def check_names(protocol: Protocol) -> None:
    """Raise UsageError for an unknown name, before torch is imported."""
    specs_by_axis = {
        "methods": protocol.methods,
        "explainers": protocol.explainers,
        "attacks": protocol.attacks,
        "metrics": protocol.metrics,
        "datasets": (protocol.dataset,),
        "models": (protocol.model,),
    }
    for axis, texts in specs_by_axis.items():
        for spec in parse_specs(",".join(texts), axis) if texts else []:
            REGISTRIES[axis].check(spec.name)
    if protocol.accuracy_attack:
        REGISTRIES["attacks"].check(Spec.parse(protocol.accuracy_attack).name)
