"""Names: found without importing, suggested on a typo, owned by one class."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path

import pytest
import torch

from attrobust.naming.registry import Registry
from attrobust.types import UsageError


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "fruit"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "apple.py").write_text(
        'from attrobust.naming.registry import Registry\nregister = Registry("fruit", "fruit").register\n\n\n'
        '@register("apple")\nclass Apple:\n    """Round ``and`` red.\n\n    More."""\n'
    )
    (package / "broken.py").write_text('raise RuntimeError("mouldy")\n\n\n@register("pear")\nclass Pear:\n    pass\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    return "fruit"


def test_names_and_summaries_are_read_without_importing(room: str) -> None:
    entries = Registry[object]("fruit", room).entries()
    assert [(entry.name, entry.summary) for entry in entries] == [("apple", "Round ``and`` red."), ("pear", "")]


def test_a_name_loads_its_class(room: str) -> None:
    assert Registry[object]("fruit", room).get("apple").__name__ == "Apple"


def test_what_a_module_sets_in_the_process_when_it_is_loaded_is_put_back(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / room / "apple.py"
    rude = "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.manual_seed(7)\ntorch.set_grad_enabled(False)\n"
    file.write_text(rude + file.read_text())
    monkeypatch.delitem(sys.modules, f"{room}.apple", raising=False)
    before = torch.get_rng_state()
    Registry[object]("fruit", room).get("apple")
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name_is_answered_with_a_suggestion_and_the_known_names(room: str) -> None:
    with pytest.raises(UsageError, match=r"unknown fruit 'aple'. Did you mean 'apple'\? Known: apple, pear"):
        Registry[object]("fruit", room).get("aple")


def test_a_broken_entry_is_named_and_does_not_hide_the_others(room: str) -> None:
    registry = Registry[object]("fruit", room)
    with pytest.raises(UsageError, match=r"fruit 'pear' of fruit.broken:Pear does not load: RuntimeError: mouldy"):
        registry.get("pear")
    assert registry.names() == ["apple", "pear"]


def test_a_name_cannot_be_taken_twice(room: str) -> None:
    registry = Registry[object]("fruit", room)
    with pytest.raises(UsageError, match=r"'apple' .* is already registered by fruit.apple:Apple"):
        registry.register("apple")(type("Other", (), {}))


@pytest.mark.parametrize("name", ["a/b", "A", "", "a:b", "a b", "-a"])
def test_names_that_a_spec_or_a_file_could_not_hold_are_refused(name: str, room: str) -> None:
    with pytest.raises(UsageError, match="must be lower-case letters"):
        Registry[object]("fruit", room).register(name)


def test_installed_plugins_are_listed_and_a_broken_one_names_its_distribution(
    room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = importlib.metadata.EntryPoint("kiwi", "no_such_module:Kiwi", "attrobust.fruits")
    monkeypatch.setattr(
        "attrobust.naming.registry.entry_points", lambda group: [point] if group.endswith("fruits") else []
    )
    registry = Registry[object]("fruit", room)
    assert "kiwi" in registry.names()
    with pytest.raises(UsageError, match="no_such_module"):
        registry.get("kiwi")


def test_an_installed_class_may_keep_its_decorator(room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry[object]("fruit", room)
    module = types.ModuleType("orchard")
    monkeypatch.setitem(sys.modules, "orchard", module)
    cls = type("Kiwi", (), {"__module__": "orchard"})
    module.Kiwi = cls  # type: ignore[attr-defined]
    point = importlib.metadata.EntryPoint("kiwi", "orchard:Kiwi", "attrobust.fruits")
    monkeypatch.setattr("attrobust.naming.registry.entry_points", lambda **_: [point])
    assert registry.names() == ["apple", "kiwi", "pear"]
    registry.register("kiwi")(cls)
    assert registry.get("kiwi") is cls
