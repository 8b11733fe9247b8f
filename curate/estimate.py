"""What a run will cost: its first rows go through the real engines, and the rest is in proportion.

Good for stages that work row by row. A stage that looks at all rows together (deduplication,
selection) drops another share of few rows than of many, so what comes after it is less certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate import history
from curate.books import funnel
from curate.component import explain
from curate.disk import replace_synced, writing
from curate.errors import ConfigError, did_you_mean
from curate.events import Listener
from curate.executors import Executor
from curate.ingest import ingest
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.stage import Stage
from curate.work import Shard
from curate.yaml_form import read_yaml

FILE = "estimate.json"
MEASURED = ("calls", "prompt_tokens", "tokens", "seconds", "cost")


class Price(BaseModel):
    """What an engine costs: dollars per million tokens, and dollars per hour of its GPUs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)
    gpu_hour: float = Field(0.0, ge=0)


def read_prices(path: Path, pipeline: Pipeline) -> dict[str, Price]:
    """Return the price of each engine role that a YAML file prices by its role or its model.

    `judge: {input: 0.25, output: 1.25}`, or `gen: {gpu_hour: 2.5}`. Raises ConfigError for a
    name that the pipeline has not, or a price that is none.
    """
    try:
        found = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read prices {path}: {error.strerror}") from None
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: write `engine: {{input: ..., output: ...}}`, dollars a million")
    models = {role: str(getattr(spec, "model", "")) for role, spec in pipeline.engines.items()}
    prices: dict[str, Price] = {}
    for name, form in found.items():
        roles = [role for role, model in models.items() if name in (role, model)]
        if not roles:
            hint = did_you_mean(str(name), [*models, *filter(None, models.values())])
            raise ConfigError(f"{path}: the pipeline has no engine or model {name!r}{hint}")
        try:
            price = Price.model_validate(form)
        except ValidationError as error:
            raise ConfigError(f"{path}: {name}: {explain(error, Price)}") from None
        prices |= {role: price for role in roles if name == role or role not in found}
    return prices


def estimate(
    pipeline: Pipeline,
    root: Path,
    rows: int,
    *,
    prices: Mapping[str, Price] | None = None,
    executor: Executor | None = None,
    listener: Listener = lambda event: None,
) -> list[dict[str, Any]]:
    """Run the first `rows` rows and return what each stage will take for all of them.

    Each entry has `stage`, `rows` expected, and where they were seen `calls`, `prompt_tokens`,
    `tokens` (out), `seconds` (of work: several workers share them) and `cost` in dollars. The
    sample is a run of its own, and what it commits in whole shards the run will not do again.
    The estimate is kept in the run's folder for `curate status`. Raises as `loop.run`.
    """
    ended = run(pipeline, root, executor=executor, portion=Portion(limit=rows), listener=listener)
    if not ended.finished:
        raise ConfigError("the sample was stopped; the same command goes on with it")
    store, parts = history.shards(root, history.manifest(root, ended.folder.name))
    total = sum(shard.parts[0].rows_in for shard in ingest(pipeline.source, store))
    steps = _steps(totals(parts), total)
    if prices:
        add_costs(steps, pipeline.stages, prices)
    folder = root / "runs" / pipeline.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    replace_synced(folder / FILE, orjson.dumps({"sample_rows": rows, "steps": steps}))
    return steps


def totals(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Return what each stage of a run took: `rows` in and out, counts, seconds of work."""
    steps = []
    for place, step in enumerate(funnel(shards)):
        seconds = sum(shard.parts[place].seconds for shard in shards)
        counts = {name: step["counts"][name] for name in MEASURED if name in step["counts"]}
        entry = {"stage": step["stage"], "rows": step["rows_in"], "rows_out": step["rows_out"]}
        steps.append(entry | counts | {"seconds": round(seconds, 3)})
    return steps


def add_costs(
    steps: Sequence[dict[str, Any]], stages: Sequence[Stage], prices: Mapping[str, Price]
) -> None:
    """Add `cost` to the last steps, which are those of `stages`, where all their engines have one.

    What a stage with several engines asks each of them is not known, so they count alike.
    """
    for step, stage in zip(steps[-len(stages) :], stages, strict=True):
        roles = [role for role, _ in stage.engine_roles()]
        if not roles or any(role not in prices for role in roles):
            continue
        mine = [prices[role] for role in roles]
        cost = sum(
            step.get("prompt_tokens", 0) * price.input / 1e6
            + step.get("tokens", 0) * price.output / 1e6
            + step.get("seconds", 0.0) * price.gpu_hour / 3600
            for price in mine
        )
        step["cost"] = cost / len(mine)


def against(root: Path, name: str) -> list[dict[str, Any]]:
    """Return, for each stage with an estimate, {stage, estimated, actual}; none without one.

    `actual` is what the run's parts took so far, each counted once, whichever run made it.
    """
    path = root / "runs" / name / FILE
    if not path.is_file():
        return []
    try:
        expected = orjson.loads(path.read_bytes())["steps"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
    _, shards = history.shards(root, history.manifest(root, name))
    actual = totals(shards)
    pairs = zip(expected, actual, strict=False)
    names = ("rows", *MEASURED)
    return [
        {
            "stage": was["stage"],
            "estimated": {n: was[n] for n in names if n in was},
            "actual": {n: now[n] for n in names if n in now},
        }
        for was, now in pairs
        if was["stage"] == now["stage"]
    ]


def lines(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return an estimate as lines of text, the sum last."""
    text = [f"{'stage':<16} {'rows':>9}  it will take about"]
    text += [f"{step['stage']:<16} {step['rows']:>9,}  {_amounts(step)}" for step in steps]
    whole = {n: sum(step.get(n, 0) for step in steps) for n in MEASURED if _any(steps, n)}
    return [*text, f"{'in all':<16} {'':>9}  {_amounts(whole)}"]


def comparison_lines(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return estimates beside what was, one line a stage that calls an engine."""
    return [
        f"{pair['stage']:<16} estimated {_amounts(pair['estimated'])}; "
        f"was {_amounts(pair['actual'])}"
        for pair in pairs
        if pair["estimated"].get("calls") or pair["actual"].get("calls")
    ]


def _steps(seen: Sequence[Mapping[str, Any]], total: int) -> list[dict[str, Any]]:
    expected = float(total)
    steps = []
    for step in seen:
        entry: dict[str, Any] = {"stage": step["stage"], "rows": round(expected)}
        if step["rows"]:
            factor = expected / step["rows"]
            entry |= {n: round(step[n] * factor) for n in MEASURED[:3] if n in step}
            entry["seconds"] = round(step["seconds"] * factor, 1)
            expected *= step["rows_out"] / step["rows"]
        steps.append(entry)
    return steps


def _any(steps: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(name in step for step in steps)


def _amounts(step: Mapping[str, Any]) -> str:
    units = {"calls": "calls", "prompt_tokens": "tokens in", "tokens": "tokens out"}
    facts = [f"{step[name]:,} {unit}" for name, unit in units.items() if step.get(name)]
    facts += [f"{step['seconds']:,.1f} s"] if "seconds" in step else []
    if "cost" in step:
        facts.append(f"${step['cost']:,.2f}" if step["cost"] >= 0.01 else "under $0.01")
    return ", ".join(facts)
