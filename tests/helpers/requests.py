"""Requests as the command makes them when nothing but the protocol is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrobust.benchmark.command.options import benchmark_parser
from attrobust.benchmark.request.protocol import Protocol
from attrobust.benchmark.request.request import Request, make_request


def request_of(protocol: Protocol, out: Path | None = None, **options: Any) -> Request:
    """The request of a protocol; options replace those of the command, by the names that ``make_request`` has."""
    typed = benchmark_parser().parse_args([])
    names = ("choose", "accuracy_floor", "recipe", "epochs", "data_root", "retrain", "interval", "batch_size", "memory")
    given = {name: getattr(typed, name) for name in names}
    return make_request(protocol, **{**given, "checkpoints": [], "audit": True, "device": "cpu", "out": out, **options})
