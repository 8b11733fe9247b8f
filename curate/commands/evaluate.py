"""Commands that look at labelled and preference sets: `curate judge eval`, `curate lint`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import orjson
import typer

from curate.commands.options import Changes, Json, Root, unwrapped

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.methods.evidence import Truth

EVALUATED = ("id", "prompt", "reference", "meta", "candidates", "pairs", "judgments")

judge = typer.Typer(no_args_is_help=True, help="Hold judges against people: `judge eval`.")
Data = Annotated[str, typer.Argument(help="A dataset folder, or a Parquet, JSONL or Arrow file.")]
Map = Annotated[list[str], typer.Option("--map", help="meaning=column, as in prompt=question")]
Split = Annotated[str, typer.Option(help="One split of a dataset folder.")]


@judge.callback()
def _judge() -> None:
    """Keep `eval` a command of its own name, though it is the only one."""


@judge.command("eval")
def judge_eval(
    data: Data,
    human: Annotated[list[str], typer.Option(help="A column with a human verdict, or several.")],
    judges: Annotated[
        list[str], typer.Option("--judge", help="A stored judge; first = tested.")
    ] = [],  # noqa: B006
    mapping: Map = [],  # noqa: B006
    verdict: Annotated[list[str], typer.Option(help="How a value reads: 3=a, 0=tie, -3=b")] = [],  # noqa: B006
    own: Annotated[list[str], typer.Option(help="judge=model prefix, for self-preference.")] = [],  # noqa: B006
    pipeline: Annotated[
        Path | None, typer.Option(help="Take its judge stages and engines.")
    ] = None,
    changes: Changes = [],  # noqa: B006
    truth: Annotated[str, typer.Option(help="Of several humans: majority, or mean.")] = "majority",
    split: Split = "train",
    seed: int = 0,
    root: Root = Path(),
    json: Json = False,
) -> None:
    """Hold judges against humans: agreement, biases, calibration, and what filters buy."""
    from curate.evaluation.datasets import columns_of, open_set, read_rows
    from curate.evaluation.judge_eval import Question, evaluate_judges, verdicts_of

    source = open_set(data, columns_of([*mapping, *_by_name(data, mapping, split)]), split)
    if pipeline is None:
        rows, models = read_rows(source), dict[str, str]()
    else:
        rows, models = _judged(source, pipeline, changes, root)
    question = Question(
        human,
        judges,
        _pairs(own, "--own"),
        verdicts_of(_pairs(verdict, "--verdict")),
        cast("Truth", truth),
        seed,
        known_models=models,
    )
    report = evaluate_judges(rows, question)
    if json:
        typer.echo(orjson.dumps(report).decode())
        return
    from curate.evaluation.show import show_report

    show_report(report, unwrapped())


def lint(data: Data, mapping: Map = [], split: Split = "", json: Json = False) -> None:  # noqa: B006
    """Look over a preference set for what no training set should hold; exit 1 on errors."""
    from curate.evaluation.dataset_lint import has_errors, lint_dataset
    from curate.methods.lint_checks import ERRORS, FINDINGS

    report = lint_dataset(data, mapping, split)
    if json:
        typer.echo(orjson.dumps(report).decode())
    else:
        typer.echo(f"{report['rows']} rows, of which were read: {', '.join(report['columns'])}")
        for name, count in report["findings"].items():
            kind = "error" if name in ERRORS else "warning"
            typer.echo(f"{kind:<8} {name:<20} {count:>9}  {FINDINGS[name]}")
    if has_errors(report):
        raise typer.Exit(1)


def _judged(
    source: Any, path: Path, changes: list[str], root: Path
) -> tuple[pa.Table, dict[str, str]]:
    """Run the pipeline's judge stages over the set, as a run that resumes.

    Return its rows, and the model of each judge that is one engine's.
    """
    from curate import history
    from curate.errors import ConfigError, InputError
    from curate.loop import run
    from curate.pipeline import Pipeline
    from curate.report.judges import judge_models

    given = Pipeline.load(path, changes)
    stages = [s for s in given.stages if "judgments" in s.appends and next(s.engine_roles(), None)]
    if not stages:
        raise ConfigError(f"{path}: no stage asks an engine for judgments; add `judge` or another")
    name = f"{given.name}-judge-eval"
    run(Pipeline(name, source, stages, given.engines, given.seed, export=None), root)
    store, shards = history.shards(root, history.manifest(root, name))
    if not sum(shard.rows for shard in shards):
        raise InputError(f"no row of the set is left; `curate show {name} --dropped` says why")
    rows = history.live_table(store, shards, EVALUATED)
    models = judge_models(store, shards)
    return rows, {judge: model for judge, model in models.items() if model}


def _by_name(data: str, mapping: list[str], split: str) -> list[str]:
    """Return a mapping of the columns that are called as they are meant, where none says so."""
    from curate.evaluation.datasets import open_set
    from curate.sources.columns import Columns

    given = {item.partition("=")[0] for item in mapping}
    if given & {"chosen", "rejected", "candidates", "response", "messages"}:
        return []
    source = open_set(data, Columns(), split)
    batch: Any = next(iter(source.open(source.parts()[0].name)), None)
    if batch is None:
        return []
    there = batch.schema.names if hasattr(batch, "schema") else batch[0].values
    if not {"chosen", "rejected"} <= set(there):
        return []
    wanted = ("prompt", "chosen", "rejected")
    return [f"{name}={name}" for name in wanted if name in there and name not in given]


def _pairs(items: list[str], option: str) -> dict[str, str]:
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} {item!r}: write name=value")
        found[name] = value
    return found
