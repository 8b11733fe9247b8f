"""Pushing to a fake of the Hub's HTTP interface on loopback, through the real client."""

import base64
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import address, serving

TOKEN = "hf_canarycanary"
PUSH = """
import sys
from pathlib import Path
from curate.errors import CurateError
from curate.export.push import push
try:
    print(push(Path(sys.argv[1]), sys.argv[2], message="version 2", private=sys.argv[3] == "True"))
except CurateError as error:
    print(type(error).__name__, error)
"""


@contextmanager
def hub(refuse=0):
    """A server that answers what `create_repo` and `upload_folder` ask; `seen` is what it got."""
    seen = []

    def act(handler, body):
        here = address(server)
        if handler.command == "GET":
            files = [{"type": "file", "path": "data/train-old.parquet", "size": 1, "oid": "0" * 40}]
            tree = "/tree/" in handler.path
            return handler.send(body=files if tree else {"id": "me/set", "sha": "0" * 40})
        seen.append((handler.path, body, handler.headers.get("Authorization")))
        if refuse:
            return handler.send(refuse, {"error": f"no rights for {TOKEN}"})
        if handler.path.endswith("/repos/create"):
            return handler.send(body={"url": f"{here}/datasets/me/set"})
        if "/preupload/" in handler.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]
            return handler.send(body={"files": modes})
        if "/commit/" in handler.path:
            url = f"{here}/datasets/me/set/commit/{'a' * 40}"
            return handler.send(body={"commitUrl": url, "commitOid": "a" * 40})
        return handler.send(body={"errors": [], "warnings": []})

    with serving(act) as server:
        server.seen = seen
        yield server


@pytest.fixture
def exported(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# A set\n")
    (tmp_path / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1 rows PAR1")
    (tmp_path / "train").mkdir()
    (tmp_path / "train/data-00000-of-00001.arrow").write_bytes(b"local form")
    return tmp_path


def push(folder, endpoint, repo="me/set", private=True, token=TOKEN):
    """Run the client in a process of its own: it reads its endpoint at import."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HOME": str(folder / "home"),
        "NO_PROXY": "*", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", PUSH, str(folder), repo, str(private)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert TOKEN not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout.strip()


def test_the_card_and_the_parquet_files_arrive_in_one_commit(exported):
    with hub() as server:
        assert push(exported, address(server)) == "a" * 40
    created = json.loads(next(body for path, body, _ in server.seen if path.endswith("create")))
    assert (created["name"], created["organization"]) == ("set", "me")
    assert created.get("private") is True or created.get("visibility") == "private"
    (commit,) = [body for path, body, _ in server.seen if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    assert lines[0]["value"]["summary"] == "version 2"
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in lines
        if line["key"] == "file"
    }
    assert files == {
        "README.md": b"# A set\n",
        "data/train-00000-of-00001.parquet": b"PAR1 rows PAR1",
    }
    deleted = [line["value"]["path"] for line in lines if line["key"] == "deletedFile"]
    assert deleted == ["data/train-old.parquet"]
    assert {authorization for _, _, authorization in server.seen} <= {f"Bearer {TOKEN}", None}


def test_public_only_when_asked(exported):
    with hub() as server:
        push(exported, address(server), private=False)
    created = json.loads(next(body for path, body, _ in server.seen if path.endswith("create")))
    assert created.get("private") is not True
    assert created.get("visibility") != "private"


@pytest.mark.parametrize(("status", "kind"), [(403, "ConfigError"), (400, "StageError")])
def test_a_refusal_is_one_clear_error_without_the_token(exported, status, kind):
    with hub(refuse=status) as server:
        said = push(exported, address(server))
    assert said.startswith(kind)
    assert "me/set" in said


def test_what_cannot_be_pushed(exported, tmp_path):
    assert push(exported, "http://127.0.0.1:9", repo="set").startswith("ConfigError 'set' is no")
    assert "no connection" in push(exported, "http://127.0.0.1:9")
    (exported / "README.md").unlink()
    assert "holds no exported dataset" in push(exported, "http://127.0.0.1:9")
