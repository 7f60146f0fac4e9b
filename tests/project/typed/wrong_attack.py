"""Mistakes in an attack, each on a line that says so."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attrobust import Attack, AttackOutput, Context, ThreatModel, register_attack, register_explainer


@register_attack("wrong")
@dataclass(frozen=True, kw_only=True)
class Wrong(Attack):
    on_prediction: ClassVar[bool] = 1.5  # error

    def check_threat(self, threat: float) -> None:  # error
        assert threat

    def run(self, context: Context, x: Tensor) -> Tensor:  # error
        return context.threat.project(x)  # error


@register_explainer("wrong-axis")  # error: pyright
@dataclass(frozen=True, kw_only=True)
class WrongReturn(Attack):  # error: mypy
    @property
    def source_model(self) -> None:  # error
        return None

    def run(self, context: Context, x: Tensor, y: Tensor) -> AttackOutput:  # error
        return context.attack(x, y)  # error


@register_attack("no-run")
@dataclass(frozen=True, kw_only=True)
class NoRun(Attack):
    def run_it(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        return context.source_model(x)  # error


NoRun()  # error
ThreatModel(norm="l1", eps=0.1)  # error
