"""`show` leaves out what takes longer to import than to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SHOW = """
import sys
from curate.cli import app
app(["show", "RUN", "--id", "p3"], standalone_mode=False)
print(*sorted({"pandas", "pyarrow.parquet", "curate.loop", "curate.stages.lint"} & {*sys.modules}))
"""
OWN = '''
import pyarrow as pa
from typing import Annotated
from curate.engines.contract import Requests, Sampling
from curate.stage import EngineRole, Stage

class Ask(Stage):
    """Ask what Pandas hands on."""
    engine: Annotated[str, EngineRole(("chat",))] = "gen"
    needs = ("prompt",)
    writes = ("heard",)
    def apply(self, view, ctx):
        handed = pa.Table.from_pandas(view.to_pandas(), schema=view.schema)
        prompts = handed["prompt"].combine_chunks()
        return {"heard": ctx.engine("gen").chat(Requests(prompts, Sampling())).text}
'''


def python(folder: Path, *arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_built_in_stages_are_shown_without_the_large_libraries(scripted_pipeline: Path) -> None:
    folder = scripted_pipeline.parent
    python(folder, "-m", "curate", "run", str(scripted_pipeline), "--quiet")
    name = next(line for line in scripted_pipeline.read_text().splitlines() if "name:" in line)
    *steps, brought = python(folder, "-c", SHOW.replace("RUN", name.split()[1])).splitlines()
    assert any(json.loads(step).get("calls") for step in steps)
    assert brought == ""


def test_a_stage_of_ones_own_has_its_pandas(tmp_path: Path) -> None:
    (tmp_path / "own_asking.py").write_text(OWN)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "p3", "prompt": "Why?"}) + "\n")
    (tmp_path / "p.yaml").write_text(
        "name: own\nsource: {jsonl: {path: rows.jsonl, columns: {id: id, prompt: prompt}}}\n"
        "engines: {gen: {scripted: {}}}\nstages: ['own_asking:Ask']\nexport: null\n"
    )
    python(tmp_path, "-m", "curate", "run", "p.yaml", "--quiet")
    shown = python(tmp_path, "-m", "curate", "show", "own", "--id", "p3").splitlines()
    asked = json.loads(shown[-1])["calls"]
    assert [call["messages"][0]["content"] for call in asked] == ["Why?"]
