"""Datasets of the Hub, read from a fake of its HTTP interface on loopback by the real client."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import address, serving

from curate.errors import ConfigError, InputError
from curate.sources.hf import HuggingFace

pytest.importorskip("datasets")

OLD, NEW = "a" * 40, "b" * 40
READ = """
import json, sys
from curate.errors import CurateError
from curate.sources.hf import HuggingFace
for fields in json.loads(sys.argv[1]):
    source = HuggingFace(**fields)
    try:
        units = source.units()
        rows = [row for unit in units for t in source.read(unit) for row in t.to_pylist()]
        said = {"units": units, "prompts": [row["prompt"][0]["content"] for row in rows]}
    except CurateError as error:
        said = {"kind": type(error).__name__, "error": str(error)}
    print(json.dumps(said))
"""
BENCHMARK = """
import json, sys
from curate.errors import CurateError
from curate.methods.benchmark_list import Benchmark
from curate.methods.benchmarks import load
for fields in json.loads(sys.argv[1]):
    try:
        said = {"questions": load(Benchmark(**fields)).questions.texts.to_pylist()}
    except CurateError as error:
        said = {"kind": type(error).__name__, "error": str(error)}
    print(json.dumps(said))
"""


def parquet(*prompts: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"prompt": prompts}), file)
    return file.getvalue()


def commits() -> dict[str, dict[str, bytes]]:
    """Return the files of each commit; the newer one has a card and a second split."""
    old = {"data/train-0.parquet": parquet("one")}
    card = b"---\nlicense: mit\n---\n# A set\n"
    new = {"README.md": card, "data/train-0.parquet": parquet("two", "three")}
    return {OLD: old, NEW: {**new, "data/test-0.parquet": parquet("four")}}


@contextmanager
def hub(branches: dict[str, str]) -> Iterator[Any]:
    """Serve the dataset `me/set`, whose branches may be moved while it is served."""
    files_of = commits()

    def missing(handler: Any, what: str) -> None:
        handler.send(404, {"error": f"no {what}"}, [("X-Error-Code", what)])

    def act(handler: Any, body: bytes) -> None:
        path = unquote(urlsplit(handler.path).path)
        known = re.fullmatch(r"(?:/api)?/datasets/me/set(?:/(\w+)(?:/(\w+)(?:/(.*))?)?)?", path)
        if known is None:
            return missing(handler, "RepoNotFound")
        what, revision, rest = known[1] or "revision", known[2] or "main", known[3] or ""
        commit = branches.get(revision, revision)
        if commit not in files_of:
            return missing(handler, "RevisionNotFound")
        files = files_of[commit]
        if what == "revision":
            return handler.send(body={"id": "me/set", "sha": commit, "siblings": []})
        if what == "tree":
            return handler.send(body=tree(files, rest))
        if rest not in files:
            return missing(handler, "EntryNotFound")
        tag = hashlib.sha256(files[rest]).hexdigest()
        handler.send(raw=files[rest], headers=[("ETag", f'"{tag}"'), ("X-Repo-Commit", commit)])

    with serving(act) as server:
        yield server


def tree(files: dict[str, bytes], under: str) -> list[dict[str, Any]]:
    """Return what lies directly in a folder, as the Hub lists it."""
    inside = {p.removeprefix(f"{under}/") for p in files if not under or p.startswith(f"{under}/")}
    start = f"{under}/" if under else ""
    listed: list[dict[str, Any]] = [
        {"type": "file", "path": start + name, "size": len(files[start + name]), "oid": "0" * 40}
        for name in sorted(inside)
        if "/" not in name
    ]
    folders = sorted({name.partition("/")[0] for name in inside if "/" in name})
    return listed + [{"type": "directory", "path": start + f, "oid": "0" * 40} for f in folders]


def read(
    home: Path, endpoint: str, *sources: dict[str, Any], script: str = READ, **more: str
) -> list[dict[str, Any]]:
    """Read the sources in a process of its own: the client takes its endpoint at import."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment = kept | {
        "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sources)], env=environment, cwd=home,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1500:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def pinned(revision: str, **more: str) -> dict[str, str]:
    return {"path": "me/set", "revision": revision, **more}


def test_what_is_read_and_stored_depends_on_the_commit_behind_the_name(tmp_path: Path) -> None:
    branches = {"main": OLD, "v1": OLD}
    with hub(branches) as server:
        here = address(server)
        first = read(tmp_path, here, pinned("main"), pinned("v1"), pinned(OLD))
        assert [found["prompts"] for found in first] == [["one"]] * 3
        ((unit, digest),) = first[0]["units"]
        assert unit == f"me/set@{OLD}:train"
        assert all(found["units"] == [[unit, digest]] for found in first)
        branches["main"] = NEW
        test = pinned(NEW, split="test")
        moved = read(tmp_path, here, pinned("main"), pinned("v1"), pinned(NEW), test)
        assert [found["prompts"] for found in moved] == [
            ["two", "three"], ["one"], ["two", "three"], ["four"],
        ]  # fmt: skip
        assert moved[0]["units"] == moved[2]["units"] != first[0]["units"]
        assert moved[1]["units"] == first[0]["units"]
        wrong = read(
            tmp_path, here, pinned("v2"), pinned("c" * 40), pinned("v1", path="me/none"),
            pinned("v1", split="dev"),
        )  # fmt: skip
    assert [found["kind"] for found in wrong] == ["InputError"] * 4
    assert "me/set@v2: the Hub says: " in wrong[0]["error"]
    assert f"me/set@{'c' * 40}" in wrong[1]["error"]
    assert "me/none@v1: the Hub says: " in wrong[2]["error"]
    assert "dev" in wrong[3]["error"]
    assert all("\n" not in found["error"] for found in wrong)
    # Without the Hub the library would give the commit that it read last, whichever is asked for.
    offline = read(tmp_path, here, pinned(NEW), pinned(OLD), pinned("main"), HF_HUB_OFFLINE="1")
    read_last = next(found for found in offline if "prompts" in found)
    assert read_last in (moved[1], moved[2])
    other = offline[1] if offline[0] == read_last else offline[0]
    assert "the Hub cannot be reached, and what is cached here is another commit" in other["error"]
    assert "no connection to the Hub" in offline[2]["error"]
    assert (other["kind"], offline[2]["kind"]) == ("InputError", "InputError")  # as it is told


def test_a_hub_that_is_away_may_be_asked_again_later(tmp_path: Path) -> None:
    """Whoever runs it by schedule tries again on the exit code of a StageError alone."""
    codes = [503, 429, 401]

    def act(handler: Any, body: bytes) -> None:
        handler.send(codes[0], {"error": "not now"})

    benchmark = {"name": "mine", "hub": "me/set", "split": "train"}
    for kind in ("StageError", "StageError", "InputError"):
        with serving(act) as server:
            (said,) = read(tmp_path, address(server), pinned("main"))
        assert (said["kind"], "not now" in said["error"]) == (kind, True), said
        codes.pop(0)
    nobody = address(server)  # it is closed by now
    for said in [
        *read(tmp_path, nobody, pinned("main"), pinned(OLD)),
        *read(tmp_path, nobody, benchmark, script=BENCHMARK),
    ]:
        assert said["kind"] == "StageError", said


def test_a_benchmark_is_that_of_its_commit(tmp_path: Path) -> None:
    both = [
        {"name": "mine", "hub": "me/set", "split": "train", "revision": commit}
        for commit in (OLD, NEW)
    ]
    with hub({"main": NEW}) as server:
        here = address(server)
        online = read(tmp_path, here, *both, script=BENCHMARK)
        assert [found["questions"] for found in online] == [["one"], ["two", "three"]]
    offline = read(tmp_path, here, *both, script=BENCHMARK, HF_HUB_OFFLINE="1")
    for found, known in zip(offline, online, strict=True):
        assert found == known or "is another commit" in found["error"]
    assert sum("error" in found for found in offline) == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"path": "json", "revision": "x"}, "'json' is a format, not a dataset"),
        ({"path": "imagefolder"}, "'imagefolder' is a format, not a dataset"),
        ({"path": "rows.parquet", "revision": "x"}, "'rows.parquet' is a file, not a dataset"),
        ({"path": "rows.parquet"}, "is a file, not a dataset; files are read by the sources"),
        ({"path": "folder", "revision": "x"}, "'folder' is a directory, which has no revision"),
        ({"path": "saved", "revision": "x"}, "'saved' is a directory, which has no revision"),
        ({"path": "saved", "name": "en"}, "'saved' is what `save_to_disk` wrote"),
        ({"path": "a/b/c", "revision": "x"}, "'a/b/c' is no directory here, nor a name on the Hub"),
        ({"path": "hf://datasets/me/set", "revision": "x"}, "nor a name on the Hub"),
        ({"path": "me/set"}, "needs `revision`"),
    ],
)
def test_fields_that_do_not_go_together_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.parquet").write_bytes(parquet("one"))
    Path("folder").mkdir()
    Path("saved").mkdir()
    Path("saved/state.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        HuggingFace(**fields).units()
    assert error in str(caught.value)
    assert str(caught.value).startswith("source `hf`: ")


@pytest.mark.parametrize("field", ["path", "revision", "split", "name"])
def test_an_empty_field_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="at least 1 character"):
        HuggingFace(**{"path": "me/set", "revision": OLD, field: ""})


def test_a_configuration_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(parquet("one"))
    with pytest.raises(InputError, match="cannot be loaded: "):
        HuggingFace(path=str(tmp_path), split="dev").units()
