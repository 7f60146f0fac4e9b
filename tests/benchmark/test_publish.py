"""The published schemas are those of the types, and what is written is as they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from attrobust.benchmark.store.publish import attributes, main, schemas

from helpers.edits import edited, places
from helpers.runs import SMALL, WHOLE, run, written_plan, written_rows

DOCS = Path(__file__).parents[2] / "docs" / "schemas"
Capture = pytest.CaptureFixture[str]


def test_the_published_schemas_are_those_of_the_types(tmp_path: Path) -> None:
    published = {path.name: path.read_text() for path in DOCS.iterdir()}
    assert published == schemas(), "write them again with: python -m attrobust.benchmark.store.publish"
    main(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == published


def validator(name: str) -> Any:
    schema = json.loads((DOCS / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["rows.schema.json", "run.schema.json"])
def test_every_field_is_described(name: str) -> None:
    for title, definition in validator(name).schema["$defs"].items():
        assert definition["description"], title
        for key, field in definition.get("properties", {}).items():
            assert field.get("description"), f"{title}.{key}"


def test_a_run_is_as_the_schemas_say(tmp_path: Path, capsys: Capture) -> None:
    words = ["--methods", "natural,aga:cosd={0.1,1}", "--choose", "topk", "--epochs", "1", *WHOLE]
    words += [*SMALL, "--accuracy-attack", "none", "--metrics"]
    assert run([*words, "topk,gini", "--baselines", "constant-map", "--out", tmp_path], capsys)[0] == 0
    row_schema, plan_schema = validator("rows.schema.json"), validator("run.schema.json")
    rows, plan = [*written_rows(tmp_path).values()], written_plan(tmp_path)
    assert all(not list(row_schema.iter_errors(row)) for row in rows)
    assert not list(plan_schema.iter_errors(plan))
    assert list(row_schema.iter_errors({**rows[0], "schema": 2}))
    lacking = [keys for keys in places(rows[0]) if list(row_schema.iter_errors(edited(rows[0], keys, [None])))]
    assert {("cell",), ("ci",), ("metric", "unit"), ("provenance", "versions")} <= {*lacking}
    assert list(plan_schema.iter_errors({key: value for key, value in plan.items() if key != "entries"}))


def test_attributes_are_read_from_docstrings() -> None:
    text = """What it is.

    Attributes:
        a, b: of both,
            on two lines.
        c: of one.
    """
    assert attributes(text) == {"a": "of both, on two lines.", "b": "of both, on two lines.", "c": "of one."}
    assert attributes("No more than this.") == {}
