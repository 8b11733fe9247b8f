"""Every recipe on real text with a real model: what came in, what came out, what it cost.

Run `python benchmarks/recipes.py OUT.json [rows] [recipe ...]`: the recipes (all where none is
named) on the first rows of the data that they name, with SmolLM2-135M in vLLM for every chat
model, answers cut to 48 tokens, lists and reasons to 96. No reward model comes as a Python package,
so rewards are a hash of the text. A recipe thus runs to its end on what a model says, and the table
shows what it calls and how much of so weak a model's output it lets through; it says nothing about
the data that a model of use would give. Where a recipe compares two models (cdr, cream, delta,
scir, spa), both are this one, so that nothing differs and no pair is right. Results are added to
OUT.json; `--page OUT.json` writes this page. 2 cores shared with other work, November
2026; the rows were measured over one afternoon's commits, some with a copy of the model a role.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.engines.local_models import SMOLLM2, resolve
from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM
from curate.errors import CurateError
from curate.evaluation.dataset_lint import has_errors, lint_dataset
from curate.executors import Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.recipes import FOLDER, recipes
from curate.stage import Stage

MOST_TOKENS = 48  # of an answer; lists in JSON and reasons get twice as many
PAGE = Path(__file__).with_suffix(".md")


def small(stage: Any) -> Any:
    """Return the stage, and those within it, with short answers that are never cut away."""
    changes: dict[str, Any] = {}
    fields = type(stage).model_fields
    if "sampling" in fields:
        longest = MOST_TOKENS * (1 if stage.kind in ("generate", "continue_steps") else 2)
        most = min(stage.sampling.max_tokens or longest, longest)
        changes["sampling"] = stage.sampling.model_copy(update={"max_tokens": most})
    if "drop_truncated" in fields:
        changes["drop_truncated"] = False
    one_token = {getattr(stage, name, "") for name in ("score", "verdict")} & {
        "expected",
        "log_odds",
    }
    if "structured" in fields and not one_token:
        changes["structured"] = True
    if "allow_code" in fields:  # of a model that hardly writes any, and in the sandbox all the same
        changes |= {"allow_code": True, "isolation": "machine"}
    if "min_mass" in fields:  # a small model would rather say something else
        changes["min_mass"] = 0.01
    return stage.model_copy(update=changes)


def with_small_models(pipeline: Pipeline, folder: Path) -> Pipeline:
    """Return the pipeline with a copy of the small model for each role that a chat model has."""
    names, engines = {}, {}
    ranked = any(stage.kind == "rank_models" for stage in pipeline.stages)
    for role, spec in pipeline.engines.items():
        copy = folder / (role if ranked else "small")  # one name, one process for all stages
        if not copy.exists():
            copy.symlink_to(resolve(SMOLLM2), target_is_directory=True)
        names[getattr(spec, "model", "")] = str(copy)
        chats = "chat" in spec.capabilities
        engines[role] = VLLM(model=str(copy), max_model_len=2048) if chats else Scripted()
    stages: list[Stage] = []
    for stage in map(small, pipeline.stages):
        if "order" in type(stage).model_fields:
            order = tuple(names.get(name, name) for name in stage.order)
            stage = stage.model_copy(update={"order": order})
        stages.append(stage)
    return replace(pipeline, engines=engines, stages=tuple(stages))


def measure(name: str, rows: int) -> dict[str, Any]:
    """Run one recipe and return its figures; `error` says why there are none."""
    root, counts = Path(tempfile.mkdtemp()), Counter[str]()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "part":
            counts.update(event["counts"])

    started = time.perf_counter()
    executor = Local(workers=2)
    try:
        pipeline = with_small_models(Pipeline.load(FOLDER / f"{name}.yaml"), root)
        ended = run(pipeline, root, executor=executor, portion=Portion(limit=rows), listener=listen)
        if not ended.finished:
            return {"error": "it was stopped"}
        books = ended.accounting
        lost = Counter(books["dropped"]) + Counter(books["failed"])
        found = {
            "rows": books["rows_in"],
            "rows out": books.get("rows_exported", books.get("rows_alive")),
            "records": books.get("records", 0),
            "calls": counts["calls"],
            "tokens": counts["tokens"],
            "seconds": round(time.perf_counter() - started),
            "lost most by": lost.most_common(1)[0][0] if lost else "",
        }
        if found["records"]:
            report = lint_dataset(str(ended.folder / "dataset"))
            found["lint"] = "errors" if has_errors(report) else "clean"
        return found
    except CurateError as error:
        return {"error": " ".join(str(error).split())[:300]}
    finally:
        executor.close()
        shutil.rmtree(root)


def page(found: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown page."""
    columns = ("rows", "rows out", "records", "lint", "calls", "tokens", "seconds", "lost most by")
    lines = [
        "# Every recipe on a real model\n",
        (__doc__ or "").split("\n\n", 1)[1].strip() + "\n",
        "| recipe | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in sorted(found.items()):
        values = (str(row.get(column, "-")) for column in columns)
        lines.append(f"| `{name}` | " + " | ".join(values) + " |")
    missing = sorted({recipe.name for recipe in recipes()} - set(found))
    if missing:
        lines.append(f"\nNot measured: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Measure and keep what was measured after each recipe, or write the page."""
    if arguments[0] == "--page":
        PAGE.write_text(page(json.loads(Path(arguments[1]).read_text())), encoding="utf-8")
        return
    out, rows = Path(arguments[0]), int(arguments[1]) if arguments[1:] else 8
    found = json.loads(out.read_text()) if out.exists() else {}
    for name in arguments[2:] or [recipe.name for recipe in recipes()]:
        found[name] = measure(name, rows)
        print(name, json.dumps(found[name]), flush=True)
        out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
