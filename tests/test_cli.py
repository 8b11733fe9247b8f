"""The command line as a user meets it: exit codes, messages, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def curate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_run_then_status_show_plan_export(scripted_pipeline: Path, tmp_path: Path) -> None:
    root = ("--root", tmp_path)
    done = curate("run", scripted_pipeline, *root)
    assert done.returncode == 0, done.stderr
    assert "60 rows = " in done.stderr
    status = json.loads(curate("status", "small", "--json", *root).stdout)
    assert status["finished"]
    assert status["rows_in"] == 60
    gone = [json.loads(x) for x in curate("show", "small", "--dropped", *root).stdout.splitlines()]
    assert {"id": "again", "stage": "exact_dedup"}.items() <= gone[0].items()
    assert len(gone) == sum(status["dropped"].values())
    history = curate("show", "small", "--id", "p3", *root).stdout.splitlines()
    assert [json.loads(x)["stage"] for x in history][:3] == ["source", "unique_id", "exact_dedup"]
    plan = [
        json.loads(x)
        for x in curate("plan", scripted_pipeline, "--json", *root).stdout.splitlines()
    ]
    assert {step["state"] for step in plan} == {"done"}
    changed = curate("plan", scripted_pipeline, "--set", "margin.at_least=0.5", *root).stdout
    assert "at_least: 0.01 → 0.5" in changed
    out = tmp_path / "out"
    wrote = curate("export", "small", out, "--format", "preference", "--file", "jsonl", *root)
    assert wrote.returncode == 0, wrote.stderr
    assert list(out.rglob("*.jsonl"))


def test_errors_are_one_line_and_have_their_code(scripted_pipeline: Path, tmp_path: Path) -> None:
    wrong = curate("run", scripted_pipeline, "--set", "marginn.at_least=1")
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "did you mean 'margin'" in wrong.stderr
    missing = curate("status", "nowhere", "--root", tmp_path)
    assert missing.returncode == 2
    assert "no run 'nowhere'" in missing.stderr
    assert curate("run").returncode == 2


def test_stages_and_doctor() -> None:
    listed = curate("stages").stdout
    assert "margin" in listed
    assert "at_least" in curate("stages", "margin").stdout
    assert "cores" in curate("doctor").stdout


def test_importing_curate_and_its_help_load_nothing_heavy() -> None:
    heavy = ("torch", "vllm", "datasets", "faiss", "polars", "pyarrow")
    code = f"import sys, curate.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
