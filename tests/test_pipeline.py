"""The YAML form: round trip, clear errors, hostile YAML."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from curate.errors import ConfigError
from curate.pipeline import Pipeline
from curate.yaml_form import read_yaml


def test_round_trip(scripted_pipeline: Path) -> None:
    pipeline = Pipeline.load(scripted_pipeline)
    assert Pipeline.loads(pipeline.dumps()) == pipeline
    pipeline.check()


def test_a_pipeline_may_have_no_stage_and_not_lack_the_key(scripted_pipeline: Path) -> None:
    """From one form to another, and nothing else: what Python runs, `export` reads again."""
    none = replace(Pipeline.load(scripted_pipeline), stages=(), engines={}, export="prompt-only")
    assert Pipeline.loads(none.dumps()) == none
    for key in ("stages: []", "stages:", ""):
        text = f"name: x\nsource: {{jsonl: {{path: a}}}}\n{key}\n"
        if key == "stages: []":
            assert Pipeline.loads(text).stages == ()
            continue
        with pytest.raises(ConfigError, match="the pipeline has no `stages`"):
            Pipeline.loads(text)


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
    ["a: &x 1\nb: *x", "a: 1\na: 2", "a: [", "!!python/object/apply:os.system ['true']", "\t- x",
     "{{a: 1}: 2}", "{[1]: 2}", "a: \x00", "? [a]\n: 1"],
)  # fmt: skip
def test_hostile_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_yaml(text)


def test_yaml_is_version_1_2() -> None:
    assert read_yaml("{a: 1e-5, b: no, c: 12:30}") == {"a": 1e-5, "b": "no", "c": "12:30"}
    dates = {"a": "2020-01-02", "b": "2020-99-99", "c": "2020-01-02 03:04:05"}  # 1.2 has no dates
    assert read_yaml("{a: 2020-01-02, b: 2020-99-99, c: 2020-01-02 03:04:05}") == dates


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a: 1\nb: {'9' * 5000}", "line 2: 9+... has 5000 digits"),
        ("a: 18446744073709551616", "line 1: .* has 20 digits; a whole number has 64 bits"),
        ("a: 0x10000000000000000", "0x10000000000000000... is beyond 64 bits"),
        ("- 1\n- {[1]: 2}", "line 2: a list or a mapping cannot be a key"),
    ],
)
def test_values_that_no_pipeline_can_hold_say_where(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(text)
    assert read_yaml("[18446744073709551615, -9223372036854775808, '9999999999999999999999']") == [
        2**64 - 1, -(2**63), "9" * 22,
    ]  # fmt: skip


def test_what_is_as_long_as_data_is_refused_before_it_is_built(yaml_events: list[object]) -> None:
    with pytest.raises(ConfigError, match="line 20000: more than 20,000 keys and values"):
        read_yaml("\n".join(f"k{i}: {i}" for i in range(1_000_000)))
    assert 40_000 < len(yaml_events) < 40_010  # of two millions: it reads no further


SMALL_TEXT = """
name: small
source: {jsonl: {path: x, columns: {prompt: prompt}}}
stages: [margin, {margin: {at_least: 2}}, {judge: {engine: gen}}]
engines: {gen: }
"""


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("stages: [3]", "margin.at_least=1", "no stage is named 'margin'; known: 3"),
        ("stages: [{}]", "margin.at_least=1", "no stage is named 'margin'"),
        ("stages: [{}]", "1.at_least=1", "stage 1 is not written as `name` or `name: {"),
        ("stages: {a: 1}", "margin.at_least=1", "`stages` must be a list"),
        (SMALL_TEXT, "engines.gen.model=x", "`gen` is not written as `name` or `name: {"),
        (SMALL_TEXT, "engines.gem.model=x", "no such engine; did you mean 'gen'?"),
        (SMALL_TEXT, "seed.x=2", "`seed` has no fields"),
        (SMALL_TEXT, "margin=2", "several stages are named 'margin'; use the number of one: 1, 2"),
        (SMALL_TEXT, "margin.at_least=2", "several stages are named 'margin'; use the number of "),
        (SMALL_TEXT, "2=3", "`2` is a stage; name a field: 2.at_least=3"),
        (SMALL_TEXT, "2.at_least.x=3", "`at_least` must be a mapping"),
        ("name: x", "source.path=3", "`source` is not written as `name` or `name: {"),
        ("name: x\nsource: {a: 1, b: 2}", "source.path=3", "`source` is not written as"),
        ("name: x\nengines: [a]", "engines.a.x=3", "`engines` must be a mapping"),
    ],
)
def test_set_on_what_is_malformed_says_so(text: str, change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--set {change!r}: {message}")):
        Pipeline.loads(text, [change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=18446744073709551616", "a whole number has 64 bits at most"),
        ("seed=true", "`seed` must be a whole number"),
        ("export=3", "`export` must be text, or null for none"),
        ("export=[1]", "`export` must be text, or null for none"),
        ("license=[1]", "`license` must be text, or null for none"),
        ("export=preferance", "unknown export form 'preferance'; did you mean 'preference'?"),
        ("export=stepwise", "the export as 'stepwise' needs `steps`, which no stage writes"),
    ],
)
def test_seed_export_and_license_are_checked_before_anything_runs(
    scripted_pipeline: Path, change: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Pipeline.load(scripted_pipeline, [change]).check()


def test_a_seed_beyond_64_bits_is_refused_from_python_too(scripted_pipeline: Path) -> None:
    pipeline = Pipeline.load(scripted_pipeline)
    with pytest.raises(ConfigError, match="at most 64 bits"):
        replace(pipeline, seed=2**70)


def test_parts_of_other_kinds_are_refused_from_python(scripted_pipeline: Path) -> None:
    written = Pipeline.load(str(scripted_pipeline))  # a notebook has the path as text
    for part, value, said in (
        ("source", "rows.jsonl", "is no source but a str; a path is named with its kind, as in"),
        ("stages", ["margin"], r"stage 1 is an object such as stages\.Margin.*not 'margin'"),
        (
            "stages",
            [*written.stages, type(written.stages[0])],
            "stage 10 is an object .*ExactDedup",
        ),
        ("stages", written.stages[0], r"`stages` must be a list of stages, not ExactDedup\("),
        ("engines", ["small"], "`engines` must be a mapping of roles to engines"),
        ("engines", {"small": "vllm"}, "engine 'small' is an object such as curate.VLLM.*'vllm'"),
        ("keep", None, "`keep` must be a list of columns"),
        ("name", 5, "pipeline name 5: use letters"),
    ):
        with pytest.raises(ConfigError, match=said):
            replace(written, **{part: value})


LABELLED = """\
name: x
source: {jsonl: {path: a.jsonl, columns: {chosen: c, rejected: r}}}
stages:
  - lint
  - margin: {at_least: 1}
"""


def test_a_margin_that_no_pair_can_have_is_said_before_the_run() -> None:
    said = (
        r"stage 2 \(`margin`\) would drop every pair: .*; map its `margin`, or `chosen_score` and"
    )
    with pytest.raises(ConfigError, match=said):
        Pipeline.loads(LABELLED).check()
    for before, after in (
        ("rejected: r", "rejected: r, margin: m"),
        ("rejected: r", "rejected: r, chosen_score: s, rejected_score: t"),
        ("rejected: r", "rejected: r, margins: m"),
        ("columns: {chosen: c, rejected: r}", "columns: {candidates: c, scores: s}"),
    ):
        text = LABELLED.replace(before, after)
        if "margins" in after or "candidates" in after:
            makes = "combine\n  - best_worst" if "candidates" in after else "combine"
            text = text.replace("- lint", f"- {makes}")
        Pipeline.loads(text).check()


def test_the_export_needs_its_columns(scripted_pipeline: Path) -> None:
    text = scripted_pipeline.read_text()
    short = text.partition("  - best_worst")[0]
    with pytest.raises(ConfigError, match=r"as 'preference' needs `pairs`.*best_worst"):
        Pipeline.loads(short).check()
    Pipeline.loads(short + "export: scored\n").check()
    Pipeline.loads(short + "export: null\n").check()


def test_a_stage_is_named_by_kind_or_number(scripted_pipeline: Path) -> None:
    pipeline = Pipeline.load(scripted_pipeline)
    assert pipeline.place_of("margin") == pipeline.place_of("6") == pipeline.place_of(6) == 5
    twice = replace(pipeline, stages=[*pipeline.stages, pipeline.stages[0]])
    with pytest.raises(ConfigError, match=r"several stages are named 'exact_dedup'.*: 1, 10"):
        twice.place_of("exact_dedup")
