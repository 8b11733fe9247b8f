"""What a run will cost: its first rows go through the real engines, and the rest is in proportion.

Good for stages that work row by row. A stage that looks at all rows together (deduplication,
selection) drops another share of few rows than of many, so what comes after it is less certain.
Seconds are by the clock, with as many calls at once as the sample has: an engine that answers
more calls together than that takes less.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curate import history
from curate.books import funnel, numbered
from curate.disk import replace_synced, writing
from curate.elapsed import Took, elapsed
from curate.errors import ConfigError, did_you_mean
from curate.events import Listener
from curate.executors import Executor
from curate.field_errors import explain
from curate.ingest import ingest
from curate.loop import run
from curate.pipeline import Pipeline
from curate.portion import Portion
from curate.stage import Context, Stage
from curate.store import Store
from curate.tasks import all_stages
from curate.work import Shard, view_columns
from curate.yaml_form import read_yaml

FILE = "estimate.json"
_SIDES = ("estimated", "actual")
_WORTH_A_LOOK = 0.2  # seconds; in less no encoder is loaded
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
            hint = did_you_mean(str(name), {*models, *filter(None, models.values())})
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
    `tokens` (out), `seconds` by the clock, `once` (those of them that do not grow with the rows:
    an engine starts, an encoder loads) and `cost` in dollars. The sample is a run of its own, and
    what it commits in whole shards the run will not do again. The estimate is kept in the run's
    folder for `curate status`. Raises as `loop.run`, and ConfigError where there are no rows.
    """
    ended = run(pipeline, root, executor=executor, portion=Portion(limit=rows), listener=listener)
    if not ended.finished:
        raise ConfigError("the sample was stopped; the same command goes on with it")
    store, parts = history.shards(root, history.manifest(root, ended.folder.name))
    if not parts:
        raise ConfigError("there is nothing to estimate: the source has no rows")
    total = sum(shard.parts[0].rows_in for shard in ingest(pipeline.source, store))
    steps = _steps(_seen(pipeline, ended.folder, store, parts), total)
    roles = stage_roles(pipeline)
    add_costs(steps, roles, prices or {})
    folder = root / "runs" / pipeline.name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "sample_rows": rows,
        "steps": steps,
        "roles": roles,
        "prices": {role: price.model_dump() for role, price in (prices or {}).items()},
    }
    replace_synced(folder / FILE, orjson.dumps(kept))
    return steps


def stage_roles(pipeline: Pipeline) -> list[list[str]]:
    """Return the engines that the source (none) and each stage of a run name."""
    stages = all_stages(pipeline)
    return [[], *([role for role, _ in stage.engine_roles()] for stage in stages)]


def totals(shards: Sequence[Shard], took: Sequence[Took] = ()) -> list[dict[str, Any]]:
    """Return what the source and each stage took: `rows` in and out, counts, seconds.

    By the clock where `took` has the stages'; of what other runs did, at the same pace.
    """
    steps = []
    for place, step in enumerate(funnel(shards)):
        seconds = sum(shard.parts[place].seconds for shard in shards)
        mine = took[place - 1] if 0 < place <= len(took) else Took()
        counts = {name: step["counts"][name] for name in MEASURED if name in step["counts"]}
        entry = {"stage": step["stage"], "rows": step["rows_in"], "rows_out": step["rows_out"]}
        clock = {"seconds": round(mine.coming_up + seconds * mine.pace, 3)}
        steps.append(entry | counts | clock | {"once": round(mine.coming_up, 3)})
    return steps


def add_costs(
    steps: Sequence[dict[str, Any]],
    roles: Sequence[Sequence[str]],
    prices: Mapping[str, Price],
) -> None:
    """Add `cost` to each step whose engines, in `roles` at its place, all have a price.

    What a stage with several engines asks each of them is not known, so they count alike.
    """
    for step, mine in zip(steps, roles, strict=True):
        if mine and all(role in prices for role in mine):
            step["cost"] = sum(_cost(step, prices[role]) for role in mine) / len(mine)


def add_left(steps: Sequence[dict[str, Any]], planned: Sequence[Mapping[str, Any]]) -> None:
    """Add to each estimated step with calls what is `left` of them, and of tokens and cost.

    `planned` are the stages as `plan` gives them: rows whose parts are there are not done again.
    """
    for step, now in zip(steps[1:], planned, strict=True):  # the source is no stage
        if step.get("calls"):
            share = min(1.0, now["rows"] / step["rows"])
            left = {n: round(step[n] * share) for n in MEASURED[:3] if n in step}
            step["left"] = left | ({"cost": step["cost"] * share} if "cost" in step else {})


def _cost(step: Mapping[str, Any], price: Price) -> float:
    tokens = step.get("prompt_tokens", 0) * price.input + step.get("tokens", 0) * price.output
    return float(tokens / 1e6 + step.get("seconds", 0.0) * price.gpu_hour / 3600)


def against(root: Path, name: str) -> list[dict[str, Any]]:
    """Return, for each stage with an estimate, {stage, estimated, actual}; none without one.

    `actual` is what the run's parts took so far, each counted once, whichever run made it; its
    cost is by the prices of the estimate.
    """
    path = root / "runs" / name / FILE
    if not path.is_file():
        return []
    try:
        kept = orjson.loads(path.read_bytes())
        expected = kept["steps"]
        prices = {role: Price.model_validate(form) for role, form in kept["prices"].items()}
        roles = [list(mine) for mine in kept["roles"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    found = history.manifest(root, name)
    _, shards = history.shards(root, found)
    kinds = [stage["kind"] for stage in found["stages"]]
    actual = totals(shards, elapsed(path.parent, kinds))
    add_costs(actual, roles[: len(actual)], prices)
    names = ("rows", *MEASURED)
    return [
        {
            "stage": was["stage"],
            "estimated": {n: was[n] for n in names if n in was},
            "actual": {n: now[n] for n in names if n in now},
        }
        for was, now in zip(expected, actual, strict=False)
        if was["stage"] == now["stage"]
    ]


def rows_of(steps: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return an estimate as a table's rows, the sum last."""
    table = [["stage", "rows", "it will take about"]]
    names = numbered(step["stage"] for step in steps)
    table += [[n, f"{s['rows']:,}", _amounts(s)] for n, s in zip(names, steps, strict=True)]
    summed = (*MEASURED, "once")
    whole = {n: sum(step.get(n, 0) for step in steps) for n in summed if _any(steps, n)}
    table.append(["in all", "", _amounts(whole)])
    rest = [step["left"] for step in steps if "left" in step]
    left = {n: sum(one.get(n, 0) for one in rest) for n in MEASURED if _any(rest, n)}
    if left and left["calls"] < whole["calls"]:
        table.append(["still to do", "", _amounts(left) if left["calls"] else "no call"])
    return table


def comparison_rows(pairs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return estimates beside what was, a row a stage that calls an engine, and the sum."""
    names = numbered(pair["stage"] for pair in pairs)
    called = [{**pair, "stage": name} for pair, name in zip(pairs, names, strict=True)]
    shown = [pair for pair in called if any(pair[side].get("calls") for side in _SIDES)]
    if not shown:
        return []
    whole: dict[str, Any] = {"stage": "in all"}
    for side in _SIDES:
        given = [pair[side] for pair in pairs]
        whole[side] = {n: sum(g.get(n, 0) for g in given) for n in MEASURED if _any(given, n)}
    return [
        [p["stage"], f"estimated {_amounts(p['estimated'])}", f"was {_amounts(p['actual'])}"]
        for p in [*shown, whole]
    ]


def _seen(
    pipeline: Pipeline, folder: Path, store: Store, shards: Sequence[Shard]
) -> list[dict[str, Any]]:
    """Return what the sample took, as `totals`, with what of it is taken once."""
    stages = all_stages(pipeline)
    steps = totals(shards, elapsed(folder, [stage.kind for stage in stages]))
    for place, stage in enumerate(stages, 1):
        step = steps[place]
        if next(stage.engine_roles(), None) or step["seconds"] < _WORTH_A_LOOK:
            continue
        warm = _warm_seconds(stage, store, [history.earlier(s, place) for s in shards])
        step["once"] = round(max(0.0, step["seconds"] - warm), 3)
    return steps


def _warm_seconds(stage: Stage, store: Store, before: Sequence[Shard]) -> float:
    """Return how long a stage without an engine takes once all that it loads is loaded."""
    rows = history.live_table(store, before, view_columns(stage, before[0]))
    seconds = 0.0
    for _ in range(2):  # the first one loads
        started = time.perf_counter()
        stage.apply(rows, Context(seed=0))
        seconds = time.perf_counter() - started
    return seconds


def _steps(seen: Sequence[Mapping[str, Any]], total: int) -> list[dict[str, Any]]:
    expected = float(total)
    steps = []
    for step in seen:
        entry: dict[str, Any] = {"stage": step["stage"], "rows": round(expected)}
        if step["rows"]:
            factor = expected / step["rows"]
            entry |= {n: round(step[n] * factor) for n in MEASURED[:3] if n in step}
            growing = step["seconds"] - step["once"]
            entry["seconds"] = round(step["once"] + growing * factor, 1)
            entry["once"] = round(step["once"], 1)
            expected *= step["rows_out"] / step["rows"]
        steps.append(entry)
    return steps


def _any(steps: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(name in step for step in steps)


def _amounts(step: Mapping[str, Any]) -> str:
    units = {"calls": "calls", "prompt_tokens": "tokens in", "tokens": "tokens out"}
    facts = [f"{step[name]:,} {unit}" for name, unit in units.items() if step.get(name)]
    if "seconds" in step:
        once = f" ({step['once']:,.1f} of them once)" if step.get("once", 0) >= 0.1 else ""
        facts.append(f"{step['seconds']:,.1f} s{once}")
    if "cost" in step:
        facts.append(f"${step['cost']:,.2f}" if step["cost"] >= 0.01 else "under $0.01")
    return ", ".join(facts)
