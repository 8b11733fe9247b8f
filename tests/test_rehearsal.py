"""`validate` puts prompts together before any model is there, and tells what it found as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from curate import prompts, rehearsal, stages
from curate.cli import app
from curate.engines.contract import Requests
from curate.errors import ConfigError, StageError
from curate.loop import run
from curate.pipeline import Pipeline
from curate.prompts import Template, load_template
from curate.stage import Context, EngineRole, Stage, check_ready

built_in = prompts._built_in

PIPELINE = """\
name: asked
source: {jsonl: {path: nowhere.jsonl, columns: {prompt: prompt}}}
engines: {one: {scripted: {}}}
stages:
  - generate: {engine: one, n: 2}
  - STAGE
export: candidates
"""
RECIPES = sorted((Path(__file__).parents[1] / "pipelines" / "recipes").glob("*.yaml"))


class OwnPrompt(Stage, name="own_prompt"):
    """A user's stage: it fills its template with a field of one name, whatever that shows."""

    needs = ("id", "prompt")
    writes = ("said",)

    engine: Annotated[str, EngineRole(("chat",))]
    template: str
    fails: bool = False

    def apply(self, view: pa.Table, ctx: Context) -> dict[str, Any]:
        """Ask; or fail as a stage may on data that is none."""
        if self.fails:
            raise StageError("this row cannot be")
        filled = load_template(self.template).conversations(len(view), question="q")
        return {"said": ctx.engine(self.engine).chat(Requests(filled)).text}


def validate(folder: Path, stage: str, *options: str) -> Result:
    path = folder / "pipeline.yaml"
    path.write_text(PIPELINE.replace("STAGE", stage))
    return CliRunner().invoke(app, ["validate", str(path), *options])


def template(folder: Path, text: str) -> str:
    path = folder / "mine.md"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Say it: {question}", None),
        ("Say it: {qestion}", "prompt mine.md: missing field 'qestion'"),
        ("Say nothing.", "prompt mine.md: unknown field 'question'"),
        ("Say it: {question!r}", "prompt mine.md: {question!r} is not a plain field name"),
        ("Say it: {question", "prompt mine.md: "),
        ("x\n<!-- user -->\n{question}", "prompt mine.md: text before the first section marker"),
    ],
)
def test_a_template_of_a_users_own_stage_is_filled(
    tmp_path: Path, text: str, error: str | None
) -> None:
    stage = f"own_prompt: {{engine: one, template: {template(tmp_path, text)}}}"
    told = validate(tmp_path, stage, "--json")
    (said,) = map(json.loads, told.stdout.splitlines())
    if error is None:
        assert (told.exit_code, said) == (0, {"valid": True, "name": "asked", "stages": 2})
        return
    assert isinstance(told.exception, ConfigError)
    assert (said["valid"], said["kind"]) == (False, "ConfigError")
    assert said["error"] == str(told.exception)
    assert said["error"].startswith(f"stage 2 (`own_prompt`): {error}")


@pytest.mark.parametrize("score", ["parsed", "expected"])
def test_a_rubric_with_a_placeholder_names_the_stage_and_the_file(
    tmp_path: Path, score: str
) -> None:
    rubric = template(tmp_path, "- Is {answer} fine?")
    for kind, field in (("judge", f", score: {score}"), ("judge_list", ""), ("judge_pairs", "")):
        stage = f"{kind}: {{engine: one, rubric: {rubric}{field}}}"
        error = validate(tmp_path, stage).exception
        assert isinstance(error, ConfigError)
        assert f"stage 2 (`{kind}`): rubric {rubric!r} has the placeholder {{answer}}" in str(error)
    missing = validate(tmp_path, "judge: {engine: one, rubric: ./none.md}").exception
    assert "stage 2 (`judge`): cannot read the prompt './none.md'" in str(missing)


def test_a_template_that_shows_an_unknown_column_is_named(tmp_path: Path) -> None:
    mine = template(tmp_path, "About {prompt} by {persona}")
    error = validate(tmp_path, f"write: {{engine: one, template: {mine}, to: note}}").exception
    assert isinstance(error, ConfigError)
    said = f"stage 2 (`write`) needs `persona` (the template {mine!r} shows {{persona}}), which no"
    assert said in str(error)


def test_what_a_made_up_row_cannot_do_is_no_error(tmp_path: Path) -> None:
    mine = template(tmp_path, "{wrong}")
    stage = f"own_prompt: {{engine: one, template: {mine}, fails: true}}"
    assert validate(tmp_path, stage).exit_code == 0


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("few_shot: {by: persona}", "few_shot"),
        ("few_shot: {by: persona}", "few_shot_choice"),
        ("retrieve: {labels: [people]}", "judge_example"),
    ],
)
def test_templates_of_stages_that_ask_no_engine_are_filled(stage: str, name: str) -> None:
    named = Pipeline.loads(PIPELINE.replace("STAGE", stage)).stages[-1]
    check_ready([named], {})
    plain = load_template(name)
    field = min(plain.fields)
    for text, error in (
        (plain.text.replace(f"{{{field}}}", ""), f"unknown field {field!r}"),
        (plain.text + "{more}", "missing field 'more'"),
    ):
        changed = {name: Template(name, text)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prompts, "_built_in", lambda one, c=changed: c.get(one) or built_in(one))
            with pytest.raises(ConfigError) as told:
                check_ready([named], {})
        assert str(told.value).startswith(f"stage `{named.kind}`: prompt {name}: {error}")


def test_a_run_stops_before_it_reads_anything(tmp_path: Path) -> None:
    mine = template(tmp_path, "- Is {answer} fine?")
    text = PIPELINE.replace("STAGE", f"judge: {{engine: one, rubric: {mine}}}")
    with pytest.raises(ConfigError, match=r"stage 2 \(`judge`\): rubric .* \{answer\}"):
        run(Pipeline.loads(text), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_json_tells_of_every_other_fault_too(tmp_path: Path) -> None:
    for stage, error in (
        ("nonsense", "unknown stage 'nonsense'"),
        ("margin: {at_least: 1}", "needs `pairs`, which no earlier stage writes"),
        ("judge: {engine: two}", "no engine named 'two'"),
    ):
        told = validate(tmp_path, stage, "--json")
        (said,) = map(json.loads, told.stdout.splitlines())
        assert (said["valid"], said["kind"]) == (False, "ConfigError")
        assert error in said["error"]
        assert validate(tmp_path, stage).stdout == ""
    told = CliRunner().invoke(app, ["validate", str(tmp_path / "none.yaml"), "--json"])
    assert json.loads(told.stdout)["error"].startswith("cannot read pipeline")
    assert "all columns and engines are there" in validate(tmp_path, "exact_dedup").stdout


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_made_up_row_gets_through_every_stage_of_the_recipes_that_asks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    real = rehearsal._asked

    def spy(stage: Stage, sample: pa.Table) -> Any:
        found = real(stage, sample)
        tried.append(stage.kind)
        return found

    monkeypatch.setattr(rehearsal, "_asked", spy)
    pipeline = Pipeline.load(path)
    rehearsal.check_prompts(pipeline.stages)
    assert tried == [s.kind for s in pipeline.stages if any(True for _ in s.engine_roles())]


def test_no_encoder_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = rehearsal._asked

    def spy(stage: Stage, sample: pa.Table) -> Any:
        asked.append(stage.kind)
        return real(stage, sample)

    monkeypatch.setattr(Context, "encode", lambda *_, **__: asked.append("an encoder"))
    monkeypatch.setattr(rehearsal, "_asked", spy)
    rehearsal.check_prompts([stages.Embed(), stages.Rationale(engine="one")])
    assert asked == ["rationale"]
