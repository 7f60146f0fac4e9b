"""What a fixture hands to many tests is left as it was: a test that changes it fails, not those that run after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from attrobust.benchmark.data.base import Split

WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers by their number of bytes."""
LARGE = 2**20
"""Bytes of a tensor that takes too long to add up after every test: it is known by its version alone."""


Part = Tensor | nn.Module


class Shared:
    """Values that live longer than a test, and how these looked when they were made."""

    def __init__(self) -> None:
        self._values: dict[object, tuple[str, object]] = {}
        self._seen: dict[object, dict[str, object]] = {}

    def keep(self, key: object, name: str, value: object) -> None:
        """Begin to watch the tensors and networks that a value has by now."""
        if found := looks(parts(value, name)):
            self._values[key], self._seen[key] = (name, value), found

    def forget(self, key: object) -> None:
        """Do not watch it any more."""
        self._values.pop(key, None)

    def changed(self, names: Collection[str]) -> list[str]:
        """The places in values of some names where something is not as it was when this was last asked."""
        places = []
        for key, (name, value) in self._values.items():
            if name not in names:
                continue
            now, before = looks(parts(value, name)), self._seen[key]
            if other := [place for place in before if now.get(place) != before[place]]:
                places += other
                self._seen[key] = now
        return places


class Guard:
    """The plugin of pytest that watches what fixtures of all scopes but a test's own hold."""

    def __init__(self) -> None:
        self._shared = Shared()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        value = yield
        if fixturedef.scope != "function":
            self._shared.keep(fixturedef, fixturedef.argname, value)
        return value

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[object]) -> None:
        self._shared.forget(fixturedef)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        yield
        # What a test was not given, not even through another fixture, is not looked through after it.
        if changed := self._shared.changed(getattr(item, "fixturenames", ())):
            pytest.fail(f"this test changes what it shares with others: {', '.join(changed)}", pytrace=False)


def parts(value: object, name: str) -> Iterator[tuple[str, Part]]:
    """The tensors and networks in a value, with the place of each."""
    if isinstance(value, (Tensor, nn.Module)):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from parts(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from parts(item, f"{name}[{index}]")
    elif isinstance(value, Split):
        for key, item in vars(value).items():
            yield from parts(item, f"{name}.{key}")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name), f"{name}.{field.name}")


def looks(found: Iterable[tuple[str, Part]]) -> dict[str, object]:
    """What tells tensors and networks from changed ones, by place."""
    told: dict[str, object] = {}
    for name, part in found:
        if isinstance(part, Tensor):
            told[name] = look(part)
            continue
        for key, module in part.named_modules():
            hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
            at = f"{name}.{key}".rstrip(".")
            told[f"{at}: mode or hooks"] = (module.training, *map(len, hooks))
            for kind in (module._parameters, module._buffers):
                for short, tensor in kind.items():
                    if tensor is not None:
                        told[f"{at}.{short}"] = look(tensor)
    return told


def look(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies and what it is, how often it was written to, the sum of its bytes, and its gradient."""
    size, bytes_each = tensor.numel(), tensor.element_size()
    total: object = None
    if tensor.is_contiguous() and 0 < size * bytes_each <= LARGE and bytes_each in WORDS:
        flat = tensor.detach().view(-1)
        wide = size * bytes_each % 8 == 0 and tensor.data_ptr() % 8 == 0
        total = int(flat.view(torch.int64 if wide else WORDS[bytes_each]).sum())
    version = None if tensor.is_inference() else tensor._version
    grad = None if tensor.grad is None else look(tensor.grad)
    return (tensor.data_ptr(), tensor.shape, tensor.dtype, version, total, tensor.requires_grad, grad)
