"""The loop: the books balance, a rerun does nothing, a change redoes what depends on it."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import curate

from curate import history
from curate.errors import ConfigError, InputError, LockHeld, StageError
from curate.executors.local import Local
from curate.guard import locked
from curate.loop import run
from curate.outcome import Outcome
from curate.pipeline import Pipeline
from curate.plan import plan
from curate.replay import show_row


def go(path: Path, root: Path, *changes: str, workers: int = 2) -> tuple[Outcome, dict[str, int]]:
    """Run and return the outcome with the shards each stage had to do."""
    todo: dict[str, int] = {}

    def listen(event: dict[str, object]) -> None:
        if event["event"] == "stage":
            todo[str(event["stage"])] = int(str(event["todo"]))

    executor = Local(workers=workers)
    ended = run(Pipeline.load(path, changes), root, executor=executor, listener=listen)
    executor.close()
    return ended, todo


def dataset_hash(root: Path) -> dict[str, str]:
    folder = root / "runs" / "small" / "dataset"
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def parts(root: Path) -> dict[str, str]:
    """Every committed part: record name -> sha256 of its bytes, checked against the record."""
    found = {}
    for path in (root / "store").glob("*/*.json"):
        record = json.loads(path.read_text())
        raw = (root / "store" / record["file"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == record["sha256"]
        found[f"{path.parent.name}/{path.stem}"] = record["sha256"]
    return found


def test_the_books_balance(scripted_pipeline: Path, tmp_path: Path) -> None:
    ended, _ = go(scripted_pipeline, tmp_path)
    books = ended.accounting
    assert ended.finished
    assert books["rows_in"] == 60
    lost = sum(books["dropped"].values()) + sum(books["failed"].values())
    assert books["rows_exported"] + lost == 60
    assert sum(n for why, n in books["dropped"].items() if why.startswith("exact_dedup")) == 1


def test_a_finished_run_does_nothing(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    before = {p: p.stat().st_ino for p in (tmp_path / "store").rglob("*")}
    ended, todo = go(scripted_pipeline, tmp_path)
    assert ended.finished
    assert set(todo.values()) == {0}
    assert {p: p.stat().st_ino for p in (tmp_path / "store").rglob("*")} == before


def test_a_threshold_redoes_only_what_follows(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    _, todo = go(scripted_pipeline, tmp_path, "margin.at_least=0.02")
    redone = {stage for stage, n in todo.items() if n}
    assert "margin" in redone
    assert not redone & {"exact_dedup", "generate", "likelihood", "combine", "best_worst"}


def test_a_runtime_field_redoes_nothing(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path)
    _, todo = go(scripted_pipeline, tmp_path, "engines.small.delay_s=0.001")
    assert set(todo.values()) == {0}


def test_a_judge_does_not_depend_on_the_judge_before_it(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    text = scripted_pipeline.read_text().replace(
        "  - combine\n", "  - likelihood: {engine: small, name: second}\n  - combine\n"
    )
    scripted_pipeline.write_text(text)
    go(scripted_pipeline, tmp_path)
    changed = text.replace("likelihood: {engine: small}", "likelihood: {engine: small, name: x}")
    scripted_pipeline.write_text(changed)
    counts: list[int] = []

    def listen(event: dict[str, object]) -> None:
        if (event["event"], event.get("stage")) == ("stage", "likelihood"):
            counts.append(int(str(event["todo"])))

    executor = Local(workers=2)
    run(Pipeline.load(scripted_pipeline), tmp_path, executor=executor, listener=listen)
    assert counts[0] > 0
    assert counts[1] == 0


def test_the_dataset_is_the_same_for_any_shard_size_and_worker_count(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    hashes = []
    for rows, workers in ((8, 1), (1, 2), (1000, 4)):
        root = tmp_path / f"{rows}"
        go(scripted_pipeline, root, f"source.shard_rows={rows}", workers=workers)
        found = dataset_hash(root)
        hashes.append({k: v for k, v in found.items() if not k.endswith("README.md")})
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[0]


def test_new_rows_leave_old_shards_alone(scripted_pipeline: Path, tmp_path: Path) -> None:
    go(scripted_pipeline, tmp_path, "source.shard_rows=10")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(prompts.read_text() + '{"id": "new", "prompt": "Why is rain warm?"}\n')
    ended, todo = go(scripted_pipeline, tmp_path, "source.shard_rows=10")
    assert ended.accounting["rows_in"] == 61
    assert todo["generate"] == 1


def test_a_second_run_is_refused(tmp_path: Path, scripted_pipeline: Path) -> None:
    with locked(tmp_path / "runs" / "small"), pytest.raises(LockHeld, match="another run"):
        go(scripted_pipeline, tmp_path)


def start(path: Path, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "curate", "run", str(path), "--root", str(root),
         "--set", "engines.small.delay_s=0.02", "--workers", "2"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for_records(root: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((root / "store").glob("*/*.json"))) >= count:
            return
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_and_the_same_command_resumes(
    scripted_pipeline: Path, tmp_path: Path, number: int, code: int
) -> None:
    calm, hurt = tmp_path / "calm", tmp_path / "hurt"
    go(scripted_pipeline, calm)
    process = start(scripted_pipeline, hurt)
    wait_for_records(hurt, 20, process)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert json.loads((hurt / "runs/small/manifest.json").read_text())["finished"] is False
    go(scripted_pipeline, hurt)
    assert parts(hurt) == parts(calm)
    assert dataset_hash(hurt) == dataset_hash(calm)


def test_a_run_that_ends_on_an_error_leaves_word_of_how_far_it_came(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    with pytest.raises(StageError) as raised:
        go(scripted_pipeline, tmp_path, "engines.small.fail_every=1")
    found = history.manifest(tmp_path, "small")
    assert not found["finished"]
    assert [stage["kind"] for stage in found["stages"]] == ["unique_id", "exact_dedup"]
    assert found["error"] == str(raised.value)
    books = found["accounting"]
    assert books["rows_in"] == 60 == books["rows_alive"] + sum(books["dropped"].values())
    steps = plan(Pipeline.load(scripted_pipeline, ["engines.small.fail_every=1"]), tmp_path)
    assert [s["state"] for s in steps[:4]] == ["done", "done", "todo", "waiting"]
    assert [step["stage"] for step in show_row(tmp_path, "small", "p3")] == [
        "source", "unique_id", "exact_dedup",
    ]  # fmt: skip
    status = curate("status", "small", "--root", tmp_path)
    assert f"small: stopped at generate after 0 of 8 shards: {raised.value}\n" in status.stdout
    assert go(scripted_pipeline, tmp_path)[0].finished
    assert "error" not in history.manifest(tmp_path, "small")


def test_a_source_that_cannot_be_read_is_said_by_the_first_run_and_hides_no_earlier_one(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    good = prompts.read_text()
    prompts.write_text(good + "not JSON\n")
    with pytest.raises(InputError):
        go(scripted_pipeline, tmp_path)
    assert "row 61: invalid JSON" in history.manifest(tmp_path, "small")["error"]
    prompts.write_text(good)
    go(scripted_pipeline, tmp_path)
    before = (tmp_path / "runs/small/manifest.json").read_bytes()
    prompts.write_text(good + "not JSON\n")
    with pytest.raises(InputError):
        go(scripted_pipeline, tmp_path, "seed=3")
    assert (tmp_path / "runs/small/manifest.json").read_bytes() == before
    assert "seed" not in (tmp_path / "runs/small/pipeline.yaml").read_text()


def test_a_run_killed_with_another_pipeline_leaves_the_calls_of_the_one_before(
    scripted_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is gone before it writes a manifest, or between the pipeline and that."""
    go(scripted_pipeline, tmp_path)

    def calls() -> list[object]:
        return [step.get("calls") for step in show_row(tmp_path, "small", "p3")]

    before = calls()
    assert any(isinstance(made, list) for made in before)

    class Killed(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("curate.manifest.orjson.dumps", die)
        with pytest.raises(Killed):
            go(scripted_pipeline, tmp_path, "generate.n=2")
    assert calls() == before
    path = tmp_path / "runs/small/pipeline.yaml"
    path.write_text(path.read_text().replace("n: 3", "n: 2"))
    assert calls() == before


def test_until_takes_a_number_where_several_stages_are_of_one_kind(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    text = scripted_pipeline.read_text()
    again = "  - likelihood: {engine: small, name: second}\n  - combine\n"
    scripted_pipeline.write_text(text.replace("  - combine\n", again))
    pipeline = Pipeline.load(scripted_pipeline)
    with pytest.raises(ConfigError, match=r"^until: several stages are named 'likelihood'.*: 3, 4"):
        run(pipeline, tmp_path, until="likelihood")
    assert run(pipeline, tmp_path, until="3").accounting["stages"] == 4
    assert run(pipeline, tmp_path, until="4").accounting["stages"] == 5
    assert run(pipeline, tmp_path, until="unique_id").accounting["stages"] == 1
