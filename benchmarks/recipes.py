"""Every recipe on real text with a real model: what came in, what came out, what it cost.

Run `python benchmarks/recipes.py OUT.json [recipe ...]`: the recipes (all where none is named) on
the first rows of the data that they name, with SmolLM2-135M in vLLM for every chat model. Answers
are cut to 64 tokens (192 in `code_verified` and `math_steps`). What is parsed is held to its form
(`structured`), with texts of at most 120 characters (`longest_text`), since so small a model seldom
keeps to a form by itself. Where a recipe needs a weaker model (`weak`, `base`, `sft`; `small` and
`tiny` of `ultrafeedback`), it is the same model with noise on its weights: a normal deviate times
0.2 of each matrix's own deviation, or 0.1 for `small` and for `before`, a round between two models.
No reward model comes as a Python package, so rewards are a hash of the text.

Some thresholds are meant for a strong model and let nothing through of one that small: the column
`set` says which were set otherwise, as by `--set`. The model solves none of the problems and code
tasks that come with the recipes, so these two have easier ones from this folder.

The table shows that a recipe runs to its end on what a model says, what it calls and what it lets
through. It says nothing about the data that a model of use would give: this judge prefers what
stands first, and copies the form's own words as its reasons. Results are added to OUT.json;
`--page OUT.json` writes this page. Measured over one evening's commits in November 2026, on 2 cores
shared with other work, so seconds
differ several-fold between runs.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.engines.local_models import SMOLLM2, resolve
from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM
from curate.errors import CurateError
from curate.evaluation.dataset_lint import has_errors, lint_dataset
from curate.executors import Executor, Local
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.recipes import FOLDER, recipes
from curate.stage import Stage

ROWS = 6
MOST_TOKENS = 64  # of an answer that is no form
LONGER = {"code_verified": 192, "math_steps": 192}
LONGEST_TEXT = 120  # characters of a text in a form
NOISE = {"weak": 0.2, "base": 0.2, "sft": 0.2, "tiny": 0.2, "before": 0.1, "small": 0.1}
SET: Mapping[str, tuple[int, Sequence[str]]] = {
    "code_verified": (6, ["source.path=benchmarks/easy_code_tasks.jsonl"]),
    "coig_p": (6, ["judge_prompts.at_least=1"]),
    "constraints": (6, ["min_score.at_least=1"]),
    "critiques": (
        25,
        ["judge_pairs.sampling={temperature: 1.0}", "critique_agreement.at_least=null"],
    ),
    "factuality": (3, ["claims.most=4", "consistency.n=5", "consistency.min_claims=1"]),
    "fspo": (27, ["consensus.min_consistency=0"]),
    "instag": (6, ["merge_tags.min_rows=1"]),
    "knowledge_conflict": (16, ["margin.at_least=0.1"]),
    "mapl": (6, ["min_score.at_least=1"]),
    "math_steps": (
        6,
        [
            "source.path=benchmarks/easy_problems.jsonl",
            *("generate.n=32", "continue_steps.n=1", "continue_steps.most=3"),
            "label_steps.min_tries=1",
        ],
    ),
    "personas": (12, ["consensus.min_consistency=0"]),
    "pugc": (6, ["backtranslate.at_least=0.2"]),
    "salmon": (6, ["combine.torn=mean"]),
    "scir": (12, ["8.at_least=0.01"]),
    "ultrafeedback": (6, ["judge.sampling={temperature: 1.0}"]),
    "wildfeedback": (
        19,
        [
            *("find_feedback.wanted=any", "judge_prompts.at_least=1"),
            "judge.sampling={temperature: 1.0}",
        ],
    ),
}
"""Rows, and changes as by `--set`, where six rows and a recipe's own thresholds leave nothing."""
PAGE = Path(__file__).with_suffix(".md")


def small(stage: Any, most_tokens: int) -> Any:
    """Return the stage, and those within it, with short answers held to their forms."""
    changes: dict[str, Any] = {}
    fields = type(stage).model_fields
    one_token = {getattr(stage, name, "") for name in ("score", "verdict")} & {
        "expected",
        "log_odds",
    }
    if "structured" in fields and not one_token:
        changes |= {"structured": True, "longest_text": LONGEST_TEXT}
    if "sampling" in fields and (not changes or stage.kind == "generate_set"):
        most_tokens *= getattr(stage, "n", 1) if changes else 1  # a set is one answer
        most = min(stage.sampling.max_tokens or most_tokens, most_tokens)
        changes["sampling"] = stage.sampling.model_copy(update={"max_tokens": most})
    if "drop_truncated" in fields:
        changes["drop_truncated"] = False
    if "allow_code" in fields:  # of a model that hardly writes any, and in the sandbox all the same
        changes |= {"allow_code": True, "isolation": "machine"}
    if "min_mass" in fields:  # a small model would rather say something else
        changes["min_mass"] = 0.01
    for name in ("to", "otherwise"):
        held = getattr(stage, name, None)
        if isinstance(held, dict):
            changes[name] = {
                k: small(s, most_tokens) if isinstance(s, Stage) else s for k, s in held.items()
            }
        elif isinstance(held, Stage):
            changes[name] = small(held, most_tokens)
    return stage.model_copy(update=changes)


def model_with_noise(share: float, folder: Path) -> Path:
    """Return a folder with the small model, whose matrices got noise of a share of their spread."""
    target = folder / f"noise-{share:g}"
    if target.exists():
        return target
    import torch
    from safetensors.torch import load_file, save_file

    target.mkdir()
    draw = torch.Generator().manual_seed(0)
    for path in resolve(SMOLLM2).iterdir():
        if path.suffix != ".safetensors":
            (target / path.name).symlink_to(path)
            continue
        weights = load_file(path)
        for name, weight in sorted(weights.items()):
            if weight.dim() > 1:
                noise = torch.randn(weight.shape, generator=draw) * weight.float().std() * share
                weights[name] = (weight.float() + noise).to(weight.dtype)
        save_file(weights, target / path.name, metadata={"format": "pt"})
    return target


def with_small_models(pipeline: Pipeline, folder: Path) -> Pipeline:
    """Return the pipeline with the small model, or a weaker one, for each chat model."""
    names, engines = {}, {}
    for role, spec in pipeline.engines.items():
        model = str(model_with_noise(NOISE[role], folder) if role in NOISE else resolve(SMOLLM2))
        names[getattr(spec, "model", "")] = model
        chats = "chat" in spec.capabilities
        engines[role] = VLLM(model=model, max_model_len=2048) if chats else Scripted()
    stages: list[Stage] = []
    most_tokens = LONGER.get(pipeline.name, MOST_TOKENS)
    for stage in (small(stage, most_tokens) for stage in pipeline.stages):
        if "order" in type(stage).model_fields:
            order = tuple(names.get(name, name) for name in stage.order)
            stage = stage.model_copy(update={"order": order})
        stages.append(stage)
    return replace(pipeline, engines=engines, stages=tuple(stages))


def measure(name: str, executor: Executor, models: Path) -> dict[str, Any]:
    """Run one recipe and return its figures; `error` says why there are none.

    `models` is a folder for the models with noise.
    """
    root, counts = Path(tempfile.mkdtemp()), Counter[str]()

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "part":
            counts.update(event["counts"])

    rows, changes = SET.get(name, (ROWS, ()))
    started = time.perf_counter()
    try:
        pipeline = with_small_models(Pipeline.load(FOLDER / f"{name}.yaml", list(changes)), models)
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
            "set": " ".join(f"`{change}`" for change in changes),
        }
        if found["records"]:
            report = lint_dataset(str(ended.folder / "dataset"))
            found["lint"] = "errors" if has_errors(report) else "clean"
        return found
    except CurateError as error:
        return {"error": " ".join(str(error).split())[:300]}
    finally:
        shutil.rmtree(root)


def page(found: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown page."""
    columns = (
        *("rows", "rows out", "records", "lint", "calls", "tokens", "seconds"),
        *("lost most by", "set"),
    )
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
    out = Path(arguments[0])
    found = json.loads(out.read_text()) if out.exists() else {}
    executor = Local(workers=2)  # one for all, as its child keeps a model that the next recipe uses
    with tempfile.TemporaryDirectory() as models:
        for name in arguments[1:] or [recipe.name for recipe in recipes()]:
            found[name] = measure(name, executor, Path(models))
            print(name, json.dumps(found[name]), flush=True)
            out.write_text(json.dumps(found, indent=1))
    executor.close()


if __name__ == "__main__":
    main(sys.argv[1:])
