"""A pipeline written in Python: stages by class name, a run, and its dataset as an object."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import datasets
import pytest

import curate as c
import curate.stages as s
from curate.engines.scripted import Scripted
from curate.errors import ConfigError
from curate.stage import stage_registry


def pipeline(prompts: Path, export: str | None = "preference") -> c.Pipeline:
    return c.Pipeline(
        name="helpful",
        source=c.Jsonl(
            path=str(prompts), shard_rows=20, columns=c.Columns(id="id", prompt="prompt")
        ),
        engines={
            "gen": Scripted(),
            "judge": Scripted(model="judge", replies=("SCORE: 2", "SCORE: 3", "SCORE: 4")),
        },
        stages=[
            s.ExactDedup(), s.Generate(engine="gen", n=8), s.Judge(engine="judge", samples=3),
            s.Combine(), s.BestWorst(), s.Margin(at_least=0.1, max_std=2.0),
            s.NearDedup(threshold=0.92), s.Split(), s.Rationale(engine="judge"),
        ],
        export=export,
    )  # fmt: skip


def test_a_pipeline_in_python_runs_and_gives_a_dataset_object(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    written = pipeline(scripted_pipeline.with_name("prompts.jsonl"))
    assert c.Pipeline.loads(written.dumps()) == written
    executor = c.Local(workers=2)
    try:
        half = c.run(written, tmp_path, executor=executor, until="judge")
        with pytest.raises(ConfigError, match=r"exported no dataset: it has not finished$"):
            half.dataset()
        ended = c.run(written, tmp_path, executor=executor)
    finally:
        executor.close()
    data = ended.dataset()
    assert isinstance(data, datasets.DatasetDict)
    assert callable(data.push_to_hub)
    assert sum(data.num_rows.values()) == ended.accounting["records"] > 0
    assert {"prompt", "chosen", "rejected"} <= set(data["train"].column_names)


def test_a_run_that_exports_nothing_has_no_dataset(scripted_pipeline: Path, tmp_path: Path) -> None:
    ended = c.run(pipeline(scripted_pipeline.with_name("prompts.jsonl"), export=None), tmp_path)
    assert ended.finished
    with pytest.raises(ConfigError, match="exported no dataset: its pipeline has `export: null`"):
        ended.dataset()


def test_stages_by_class_name_are_the_registered_ones_to_python_and_to_a_type_checker() -> None:
    registered = {
        kind.__name__: kind
        for kind in map(stage_registry.get, stage_registry.names())
        if kind.__module__.startswith("curate.stages.")
    }
    block = next(
        node for node in ast.parse(Path(s.__file__).read_text()).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )  # fmt: skip
    typed = {
        name.asname: node.module
        for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names
    }  # fmt: skip
    assert typed == {name: kind.__module__ for name, kind in registered.items()}
    assert all(getattr(s, name) is kind for name, kind in registered.items())
    assert set(registered) <= set(dir(s))
    with pytest.raises(AttributeError, match="no attribute 'ExactDedupe'; did you mean 'ExactDed"):
        _ = s.ExactDedupe


def test_a_notebook_exports_and_looks_over_what_a_run_made(
    scripted_pipeline: Path, tmp_path: Path
) -> None:
    ended = c.run(pipeline(scripted_pipeline.with_name("prompts.jsonl")), tmp_path)
    done = ended.export(tmp_path / "chats", "sharegpt")
    assert done.records == ended.accounting["records"]
    assert (tmp_path / "chats" / "README.md").is_file()
    layout = c.Layout(keep=["split"], force=True)
    for _ in range(2):
        done = ended.export(str(tmp_path / "rows.jsonl"), layout=layout)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == done.records
    assert '"split"' in lines[0]
    found = c.lint_dataset(str(tmp_path / "rows.jsonl"))
    assert found["rows"] == done.records
    with pytest.raises(ConfigError, match=r"rows\.jsonl exists; choose another name"):
        ended.export(tmp_path / "rows.jsonl")
    with pytest.raises(ConfigError, match="did you mean 'sharegpt'"):
        ended.export(tmp_path / "x", "shargpt")


def test_the_package_offers_its_public_names_and_the_stages() -> None:
    code = (
        "import curate\n"
        "public = [name for name in dir(curate) if not name.startswith('_')]\n"
        "assert public == sorted(curate.__all__), public\n"
        "assert all(hasattr(curate, name) for name in public)\n"
        "print(curate.stages.Margin(at_least=2))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "at_least=2" in said.stdout
