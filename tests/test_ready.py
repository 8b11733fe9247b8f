"""What a later stage lacks is said before the first one is paid for."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate import encoders
from curate.cli import app
from curate.engines import vllm_loading
from curate.engines.vllm import VLLM
from curate.errors import ConfigError, MissingExtra
from curate.loop import run
from curate.pipeline import Pipeline
from curate.stages.embed import Embed

JUDGED = """\
name: judged
source: {jsonl: {path: PROMPTS}}
engines:
  gen: {scripted: {}}
  judge: {openai: {model: m, base_url: "https://judge.example/v1", api_key_env: NO_SUCH_KEY}}
stages:
  - generate: {engine: gen, n: 2}
  - judge: {engine: judge}
  - combine
  - best_worst
"""


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    path = tmp_path / "p.yaml"
    path.write_text(JUDGED.replace("PROMPTS", str(tmp_path / "p.jsonl")))
    return path


def test_a_missing_key_stops_a_run_before_anything_is_generated(judged: Path) -> None:
    pytest.importorskip("openai")
    with pytest.raises(ConfigError, match=r"engine 'judge'.*NO_SUCH_KEY is not set"):
        run(Pipeline.load(judged), judged.parent)
    assert not (judged.parent / "store").exists()
    told = CliRunner().invoke(app, ["validate", str(judged)])
    assert isinstance(told.exception, ConfigError)


def test_until_asks_only_for_what_will_run(judged: Path) -> None:
    assert not run(Pipeline.load(judged), judged.parent, until="generate").finished


def test_a_package_that_is_not_there_is_said_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_loading, "installed", lambda package: False)
    with pytest.raises(MissingExtra, match=r"\[gpu\]"):
        VLLM(model="m").ready()
    monkeypatch.setattr(encoders, "installed", lambda package: False)
    with pytest.raises(MissingExtra, match=r"\[embed\]"):
        Embed().ready()
    monkeypatch.setattr(encoders, "installed", lambda package: True)
    with pytest.raises(ConfigError, match="there is no such folder"):
        Embed(model="./no/such/model").ready()
