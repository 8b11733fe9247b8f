"""A key on Ray: in nothing that the run, its events or Ray's own logs hold."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from curate.loop import run
from curate.pipeline import Pipeline

pytest.importorskip("ray", reason="needs the extra `ray`")
pytest.importorskip("openai")
from chat_server import chatting, said

from curate.executors.ray import Ray

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

KEY = "sk-canary-5f2e9a77"


@pytest.fixture
def session(monkeypatch):
    """Where Ray keeps its session: a path that is short enough for its sockets."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_key_is_in_nothing_that_is_written(tmp_path, session, monkeypatch):
    """A server echoes it in answers, errors and the name of its model."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")

    def act(handler, prompt, number):
        echo = handler.headers["Authorization"]
        assert KEY in echo
        if "4" in prompt:
            return handler.send(400, {"error": {"message": echo}})
        return handler.send(body=said(f"your key is {echo}, {prompt}", model=f"m {KEY}"))

    source = tmp_path / "prompts.jsonl"
    rows = [{"id": f"r{k}", "prompt": f"p{k}"} for k in range(8)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    heard = []
    executor = Ray(workers=1, num_cpus=0.5)
    with chatting(act) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        pipeline = Pipeline.loads(
            f"name: t\nsource: {{jsonl: {{path: {source}}}}}\n"
            f"engines: {{far: {{openai: {{model: m, base_url: {url}, retries: 1}}}}}}\n"
            "stages: [{generate: {engine: far, n: 1, max_error_rate: 0.5}}]\n"
            "export: candidates\n"
        )
        try:
            ended = run(pipeline, tmp_path, executor=executor, listener=heard.append)
        finally:
            executor.close()
    assert ended.finished
    assert sum(ended.accounting["failed"].values()) == 1
    logs = [path for path in session.rglob("*") if path.is_file()]
    assert any(path.suffix in (".out", ".err", ".log") for path in logs)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"your key is Bearer [key]" in path.read_bytes() for path in written)
    for path in (*logs, *written):
        assert KEY.encode() not in path.read_bytes(), path
    assert KEY not in repr(heard)
