"""Where files of attrobust are, and which classes are its own."""

from __future__ import annotations

from pathlib import Path

from attrobust.benchmark.command.listing import REGISTRIES
from attrobust.benchmark.request.plugins import load_plugin, module_of
from attrobust.places import CORE, ROOMS, location, ours, sources

PLUGIN = """
from dataclasses import dataclass
from attrobust import Method, register_method

@register_method("mine")
@dataclass(frozen=True, kw_only=True)
class Mine(Method):
    def loss(self, model, x, y, generator):
        return model(x).sum()
"""


def test_every_registered_class_is_ours_and_a_plugins_is_not(tmp_path: Path) -> None:
    for registry in REGISTRIES.values():
        for name in registry.names():
            assert ours(registry.get(name)), name
    (tmp_path / "mine.py").write_text(PLUGIN)
    load_plugin(tmp_path / "mine.py")
    mine = REGISTRIES["methods"].get("mine")
    assert mine.__module__ == module_of(tmp_path / "mine.py")
    assert not ours(mine)


def test_the_core_and_the_rooms_share_no_file() -> None:
    files = [file for place in ("attrobust", *ROOMS) for _, file in sources(place)]
    assert len(files) == len(set(files)) > 200
    assert location("methods/aga.py").is_file()
    assert dict(sources("attrobust"))["attrobust/places.py"] == CORE / "places.py"
