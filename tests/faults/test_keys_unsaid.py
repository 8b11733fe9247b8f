"""A key is in nothing that is written or said, whoever repeats it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curate.errors import ConfigError
from curate.pipeline import Pipeline

KEY = "sk-canary-5f2e9a77"


def test_a_key_is_in_nothing_that_is_written_or_said(tmp_path: Path) -> None:
    """A server echoes the key in answers, errors and its model's name; a child; every command."""
    pytest.importorskip("openai")
    from chat_server import chatting, said

    def act(handler: Any, prompt: str, number: int) -> None:
        echo = handler.headers["Authorization"]
        assert KEY in echo
        if number == 1 and "3" in prompt:
            return handler.send(500, {"error": {"message": echo}})
        if "4" in prompt:
            return handler.send(400, {"error": {"message": echo}})
        text = f"your key is {echo}, {prompt}"
        return handler.send(body=said(text, model=f"m {KEY}", finish_reason=f"stop {echo}"))

    rows = [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(8)]
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = tmp_path / "logs"
    log.mkdir()
    with chatting(act) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        form = {
            "name": "secret",
            "source": {"jsonl": {"path": str(source), "columns": {"id": "id", "prompt": "prompt"}}},
            "engines": {
                "far": {"openai": {"model": "m", "base_url": url, "retries": 1}},
                "near": {"crashing:Crashing": {"folder": str(log)}},
            },
            "stages": [
                {"generate": {"engine": "far", "n": 1, "max_error_rate": 0.5}},
                {"generate": {"engine": "near", "n": 1}},
            ],
            "export": "candidates",
        }  # fmt: skip
        pipeline = tmp_path / "p.yaml"
        pipeline.write_text(json.dumps(form))
        here = Path(__file__).parent
        environment = {
            **os.environ, "OPENAI_API_KEY": KEY, "NO_PROXY": "*",
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])]),
        }  # fmt: skip
        spoken = ""
        for words in (
            ["run", pipeline, "--json"], ["plan", pipeline, "--json"],
            ["status", "secret", "--json"], ["show", "secret", "--id", "r3"],
            ["show", "secret", "--dropped"],
            ["report", "secret"], ["gc", "--json"], ["doctor"],
        ):  # fmt: skip
            place = [] if words[0] == "doctor" else ["--root", str(tmp_path)]
            ended = subprocess.run(
                [sys.executable, "-m", "curate", *map(str, words), *place],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr
            spoken += ended.stdout + ended.stderr
    assert "your key is Bearer [key]" in spoken
    assert KEY not in spoken
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_key_written_into_a_pipeline_is_refused_unsaid(tmp_path: Path) -> None:
    """There is no field for a key, and the error does not repeat what stood there."""
    for fields in (
        {"api_key": KEY}, {"base_url": f"http://user:{KEY}@host/v1"},
        {"api_key_env": KEY}, {"api_key_file": KEY},
    ):  # fmt: skip
        form = {"name": "x", "source": {"jsonl": {"path": "x", "columns": {"prompt": "prompt"}}},
                "engines": {"far": {"openai": {"model": "m", "base_url": "http://h/v1", **fields}}},
                "stages": ["exact_dedup"]}  # fmt: skip
        field = "base_url" if "base_url" in fields else "api_key"
        with pytest.raises(ConfigError, match=field) as caught:
            Pipeline.loads(json.dumps(form))
        assert KEY not in str(caught.value)
