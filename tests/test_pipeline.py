"""The YAML form: round trip, clear errors, hostile YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

import curate.engines
import curate.stages  # noqa: F401 - registers the stages
from curate.errors import ConfigError
from curate.pipeline import Pipeline, read_yaml


def test_round_trip(scripted_pipeline: Path) -> None:
    pipeline = Pipeline.load(scripted_pipeline)
    assert Pipeline.loads(pipeline.dumps()) == pipeline
    pipeline.check()


@pytest.mark.parametrize("path", sorted(Path("pipelines").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_pipeline_is_valid(path: Path) -> None:
    Pipeline.load(path).check()


def test_set_changes_a_stage_an_engine_and_the_source(scripted_pipeline: Path) -> None:
    changed = Pipeline.load(
        scripted_pipeline,
        ["margin.at_least=2.5", "engines.small.model=other", "source.shard_rows=5", "seed=3"],
    )
    assert changed.stages[5].model_dump()["at_least"] == 2.5
    assert changed.engines["small"].model_dump()["model"] == "other"
    assert (changed.source.shard_rows, changed.seed) == (5, 3)


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ("at_least", "atleast", "unknown field 'atleast'; did you mean 'at_least'"),
        ("best_worst", "best_wurst", "unknown stage 'best_wurst'; did you mean 'best_worst'"),
        ("scripted", "scriptd", "unknown engine 'scriptd'; did you mean 'scripted'"),
        ("engine: small, n", "engine: smal, n", "no engine named 'smal'; did you mean 'small'"),
        ("  - combine\n", "", "needs `scores`, which no earlier stage writes"),
        ("seed", "seed", ""),
        ("version: 1", "version: 9", "version 9 is not known"),
        ("name: small", "name: ../up", "use letters, digits"),
        ("name: small", "nme: small", "unknown key 'nme'; did you mean 'name'"),
        ("n: 3", "n: three", "valid integer"),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_says_what_and_where(
    scripted_pipeline: Path, find: str, put: str, message: str
) -> None:
    text = scripted_pipeline.read_text().replace(find, put)
    if not message:
        Pipeline.loads(text).check()
        return
    with pytest.raises(ConfigError, match=message):
        Pipeline.loads(text).check()


@pytest.mark.parametrize(
    "text",
    ["a: &x 1\nb: *x", "a: 1\na: 2", "a: [", "!!python/object/apply:os.system ['true']", "\t- x"],
)
def test_hostile_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_yaml(text)


def test_yaml_is_version_1_2() -> None:
    assert read_yaml("{a: 1e-5, b: no, c: 12:30}") == {"a": 1e-5, "b": "no", "c": "12:30"}
