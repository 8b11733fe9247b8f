"""The command line as a user meets it: exit codes, messages, JSON."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import curate

import curate as curate_package


def test_run_then_status_show_plan_export(scripted_pipeline: Path, tmp_path: Path) -> None:
    root = ("--root", tmp_path)
    done = curate("run", scripted_pipeline, *root)
    assert done.returncode == 0, done.stderr
    assert "60 rows = " in done.stderr
    status = json.loads(curate("status", "small", "--json", *root).stdout)
    assert status["finished"]
    assert status["rows_in"] == 60
    said = curate("show", "small", "--dropped", *root)
    lost, *gone = (json.loads(x) for x in said.stdout.splitlines())
    assert {f"{c['stage']}: {c['dropped']}": c["rows"] for c in lost["lost"]} == status["dropped"]
    assert {"id": "again", "stage": "exact_dedup"}.items() <= gone[0].items()
    assert len(gone) == sum(status["dropped"].values())
    assert said.stderr == ""
    wrong = curate("show", "small", "--dropped", "--stage", "margn", *root)
    assert (wrong.returncode, "did you mean 'margin'?" in wrong.stderr) == (2, True)
    few = curate("show", "small", "--dropped", "--text", "--limit", "0", *root)
    lines = few.stdout.splitlines()
    assert lines[:2] == ["rows  stage        why", "1     exact_dedup  exact prompt duplicate"]
    assert lines[-1] == "id  stage  why"
    assert few.stderr == f"0 of {len(gone)} rows shown; --limit {len(gone)} shows all\n"
    history = curate("show", "small", "--id", "p3", *root).stdout.splitlines()
    assert [json.loads(x)["stage"] for x in history][:3] == ["source", "unique_id", "exact_dedup"]
    plan = [
        json.loads(x)
        for x in curate("plan", scripted_pipeline, "--json", *root).stdout.splitlines()
    ]
    assert {step["state"] for step in plan} == {"done"}
    changed = curate("plan", scripted_pipeline, "--set", "margin.at_least=0.5", *root).stdout
    assert "at_least 0.01 -> 0.5" in changed
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


def test_stages_engines_and_doctor() -> None:
    listed = curate("stages").stdout
    assert "margin" in listed
    assert "at_least" in curate("stages", "margin").stdout
    assert "openai" in curate("engines").stdout
    assert "`concurrency`" in curate("engines", "openai").stdout
    assert "cores" in curate("doctor").stdout


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert curate("--version").stdout == f"curate {version('curate-preferences')}\n"


def test_the_list_of_commands_is_not_cut_off() -> None:
    """Each has a line that fits a terminal of 80 columns; `curate COMMAND --help` says more."""
    listed = curate("--help").stdout.partition("Commands:\n")[2].splitlines()
    assert len(listed) == 19
    assert not [line for line in listed if line.endswith("...") or len(line) > 80]


def test_where_nothing_was_dropped_no_empty_table_is_shown(tmp_path: Path) -> None:
    rows, pipeline = tmp_path / "rows.jsonl", tmp_path / "p.yaml"
    rows.write_text('{"id": "a", "prompt": "p", "good": "yes", "bad": "no"}\n')
    columns = "{id: id, prompt: prompt, chosen: good, rejected: bad}"
    pipeline.write_text(
        f"name: all\nsource: {{jsonl: {{path: {rows}, columns: {columns}}}}}\n"
        "stages: [exact_dedup]\n"
    )
    root = ("--root", tmp_path)
    done = curate("run", pipeline, *root)
    assert done.stderr.splitlines()[-2:] == [
        "1 rows = 1 kept + 0 dropped + 0 failed",
        f"1 records in {tmp_path / 'runs/all/dataset'}",
    ]
    said = curate("show", "all", "--dropped", "--text", *root)
    assert said.stdout == "no row was dropped, and none failed\n"
    assert curate("status", "all", *root).stdout.splitlines()[:2] == [
        "all: finished", "1 rows = 1 kept + 0 dropped + 0 failed",
    ]  # fmt: skip


def test_importing_curate_and_its_help_load_nothing_heavy() -> None:
    heavy = ("torch", "vllm", "datasets", "faiss", "polars", "pyarrow")
    code = f"import sys, curate.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_run_takes_a_limit_a_share_and_an_executor(scripted_pipeline: Path, tmp_path: Path) -> None:
    run = ("run", scripted_pipeline, "--root", tmp_path)
    limited = curate(*run, "--limit", "5", "--executor", "local", "--workers", "1")
    assert limited.returncode == 0, limited.stderr
    assert "5 rows = " in limited.stderr
    assert json.loads(curate("status", "small-first-5", "--json", "--root", tmp_path).stdout)
    share = curate(*run, "--shard", "1/3", "--executor", "{local: {workers: 2, attempts: 1}}")
    assert share.returncode == 0, share.stderr
    assert "share 1/3" in share.stderr
    unknown = curate(*run, "--executor", "locl")
    assert unknown.returncode == 2
    assert "unknown executor 'locl'; did you mean 'local'?" in unknown.stderr
    wrong = curate(*run, "--executor", "{local: {worker: 2}}", "--workers", "3")
    assert wrong.returncode == 2
    assert "unknown field 'worker'; did you mean 'workers'?" in wrong.stderr
    assert curate(*run, "--executor", "[local]", "--workers", "3").returncode == 2
    assert curate(*run, "--shard", "4/3").returncode == 2


def test_a_stage_of_ones_own_is_found_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from curate.stage import Stage\n"
        "class Nothing(Stage):\n    '''Does nothing.'''\n    def apply(self, view, ctx):\n"
        "        return {}\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Why?"}\n')
    (tmp_path / "p.yaml").write_text(
        "name: own\nsource: {jsonl: {path: rows.jsonl, columns: {prompt: prompt}}}\n"
        "stages: ['own:Nothing']\nexport: null\n"
    )
    ended = subprocess.run(  # without the current folder in front, as the installed command does
        [sys.executable, "-P", "-m", "curate", "run", "p.yaml"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_a_reader_that_goes_away_does_not_end_the_run(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    """`curate run --json | head -1`, and the same with both outputs in the pipe."""
    for number, more in enumerate(("--json", "--json 2>&1", "2>&1")):
        root = tmp_path / str(number)
        run = f"{sys.executable} -m curate run {scripted_pipeline} --root {root} {more}"
        first = "head -1" if "json" in more else "true"
        ended = subprocess.run(
            ["bash", "-c", f"{run} | {first}; exit ${{PIPESTATUS[0]}}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stderr) == (0, "")
        assert json.loads((root / "runs/small/manifest.json").read_bytes())["finished"]


def test_the_public_names_are_the_same_to_python_and_to_a_type_checker() -> None:
    source = Path(curate_package.__file__).read_text()
    block = next(
        node for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )  # fmt: skip
    typed = {
        name.asname: node.module
        for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names
    }  # fmt: skip
    assert typed == curate_package._HOME | {"stages": "curate"}
    assert {"Ray", "Columns", "Raw"} <= set(curate_package.__all__)
    for name in curate_package.__all__:
        assert getattr(curate_package, name).__name__.removeprefix("curate.") == name
    assert {*curate_package.__all__} <= {*dir(curate_package)}  # what a notebook completes
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'; did you mean 'Pipeline'"):
        _ = curate_package.Pipelin
    heavy = ("torch", "polars", "ray", "vllm", "pyarrow")
    code = f"import sys, curate; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_run_that_fails_ends_its_events_with_the_error(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "prompt": 3}\n')
    failed = curate("run", scripted_pipeline, "--json", "--root", tmp_path)
    assert failed.returncode == 2
    last = json.loads(failed.stdout.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("error", "InputError")
    assert failed.stderr == f"error: {last['error']}\n"
