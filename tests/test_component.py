"""Names: which class a name means, here and in a process that has imported nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from curate import component
from curate.component import Registry
from curate.engines.contract import engine_registry
from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.sources.contract import source_registry
from curate.stage import Stage, stage_registry

OWN = '''
from curate.stage import Stage

class MinWords(Stage, name="min_words_of_mine"):
    """Drop nothing."""
    at_least: int = 3
    needs = ("prompt",)
    def apply(self, view, ctx):
        return {}
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's module, in front of the path."""
    (tmp_path / "own_stages.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_stages", raising=False)
    monkeypatch.setattr(stage_registry, "_classes", dict(stage_registry._classes))
    return tmp_path


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_built_in_names_are_known_without_an_import_of_their_package(tmp_path: Path) -> None:
    code = """
import curate
text = "name: n\\nsource: {jsonl: {path: x, columns: {prompt: prompt}}}\\nstages: [exact_dedup]"
print(curate.Pipeline.loads(text).stages[0].kind)
from curate.stage import stage_registry
print(len(stage_registry.names()) > 50)
"""
    assert python(code, tmp_path).stdout.split() == ["exact_dedup", "True"]


def test_a_name_brings_its_module_and_not_the_others(tmp_path: Path) -> None:
    code = """
import sys
from curate.stage import stage_registry
stage_registry.get("exact_dedup")
print(*(m for m in sorted(sys.modules) if m.startswith("curate.stages.")))
"""
    brought = python(code, tmp_path).stdout.split()
    assert "curate.stages.dedup" in brought
    assert not {"curate.stages.judge", "curate.stages.lint"} & set(brought)


@pytest.mark.parametrize("registry", [engine_registry, source_registry, stage_registry])
def test_every_built_in_name_leads_to_its_module(registry: Registry[Any]) -> None:
    classes = {name: registry.get(name) for name in registry.names()}
    ours = {n: c.__module__ for n, c in classes.items() if c.__module__.startswith("curate.")}
    home = f"curate.{registry.what}s"
    elsewhere = getattr(importlib.import_module(home), "ELSEWHERE", {})
    assert ours == {name: f"{home}.{elsewhere.get(name, name)}" for name in ours}
    assert set(elsewhere) <= set(ours)
    assert all(name != module for name, module in elsewhere.items())


def test_no_class_takes_the_name_of_a_built_in_one(tmp_path: Path) -> None:
    code = """
from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.sources.contract import source_registry
from curate.stage import Stage, stage_registry
try:
    class Margin(Stage, name="margin"):
        def apply(self, view, ctx):
            return {}
except ConfigError as error:
    print(error)
print(stage_registry.get("margin").__module__)
"""
    message, kept = python(code, tmp_path).stdout.splitlines()
    assert message == (
        "two stage classes are named 'margin': curate.stages.filters:Margin and __main__:Margin; "
        "give one another name"
    )
    assert kept == "curate.stages.filters"


def test_a_class_defined_again_replaces_itself(own: Path) -> None:
    first = stage_registry.get("own_stages:MinWords")
    del sys.modules["own_stages"]
    again = stage_registry.get("own_stages:MinWords")
    assert again is not first
    assert stage_registry.get("min_words_of_mine") is again


def test_a_script_is_the_module_of_its_file(own: Path) -> None:
    """A user's script defines a stage and reads YAML that names it as `module:Class`."""
    script = own / "own_stages.py"
    script.write_text(
        OWN + "\nif __name__ == '__main__':\n    from curate.stage import stage_registry\n"
        "    print(stage_registry.get('own_stages:MinWords').__module__)\n"
    )
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=own
    )
    assert ended.stdout == "own_stages\n", ended.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("curate.engines.scripted:Scripted", "is not a stage class"),
        ("curate.stage:Stage", "is not a stage class"),
        ("curate.component:Component", "is not a stage class"),
        ("curate.schema:COLUMNS", "is not a stage class"),
        ("..a:X", "write module:Class"),
        ("a:", "write module:Class"),
        ("a b:X", "write module:Class"),
        ("own_broken:X", "NameError: name 'nowhere' is not defined"),
        ("own_stages:Nothing", "has no attribute 'Nothing'"),
    ],
)
def test_a_name_that_leads_to_no_stage(own: Path, name: str, message: str) -> None:
    (own / "own_broken.py").write_text("nowhere\n")
    with pytest.raises(ConfigError, match=message):
        stage_registry.get(name)


def published(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint("min_words_of_mine", value, "curate.stages")
    monkeypatch.setattr(
        component.importlib.metadata, "entry_points",
        lambda group: EntryPoints([entry]) if group == "curate.stages" else EntryPoints(),
    )  # fmt: skip
    monkeypatch.setattr(stage_registry, "_public", {})


def test_an_entry_point_is_held_to_the_contract(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(monkeypatch, "curate.engines.scripted:Scripted")
    with pytest.raises(ConfigError, match="'min_words_of_mine' is not a stage class"):
        stage_registry.get("min_words_of_mine")
    published(monkeypatch, "own_missing:X")
    with pytest.raises(ConfigError, match="cannot import stage 'min_words_of_mine': No module"):
        stage_registry.get("min_words_of_mine")


def test_what_is_written_down_is_found_by_a_process_that_has_imported_nothing(own: Path) -> None:
    stage = stage_registry.parse({"own_stages:MinWords": {"at_least": 5}}, "here")
    assert stage.to_yaml() == {"own_stages:MinWords": {"at_least": 5}}
    assert stage.identity()["kind"] == "min_words_of_mine"  # its parts are those of its kind
    assert stage_registry.get("margin").reference() == "margin"
    assert engine_registry.get("scripted").reference() == "scripted"


def test_a_change_may_name_a_stage_by_its_kind_as_plans_and_books_do(own: Path) -> None:
    text = "name: x\nsource: {jsonl: {path: a.jsonl}}\nstages: ['own_stages:MinWords', margin]\n"
    for name in ("min_words_of_mine", "own_stages:MinWords", "1"):
        stage = Pipeline.loads(text, [f"{name}.at_least=7"]).stages[0]
        assert stage.to_yaml() == {"own_stages:MinWords": {"at_least": 7}}
    with pytest.raises(
        ConfigError, match="no stage is named 'min_wrds_of_mine'; did you mean 'min"
    ):
        Pipeline.loads(text, ["min_wrds_of_mine.at_least=7"])
    with pytest.raises(ConfigError, match="No module named 'own'; install it, or start in the"):
        Pipeline.loads(text.replace("own_stages", "own"), ["1.at_least=7"])


def test_what_an_entry_point_publishes_keeps_its_short_name(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(monkeypatch, "own_stages:MinWords")
    cls = stage_registry.get("min_words_of_mine")
    assert cls.reference() == "min_words_of_mine"
    assert issubclass(cls, Stage)


def test_thousands_of_unknown_fields_are_told_at_once() -> None:
    fields = {f"field_{i}": i for i in range(30_000)}
    with pytest.raises(ConfigError) as raised:
        stage_registry.parse({"margin": fields}, "stage 1")
    assert str(raised.value).endswith("; and 29992 more")
    assert len(str(raised.value)) < 1000
