"""Commands that run a pipeline or say what a run would do or has done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import (
    Changes,
    Json,
    PipelineFile,
    Root,
    RunName,
    books_of,
    heard,
    load,
    print_json,
    say,
    table_lines,
)


def run(
    pipeline: PipelineFile,
    changes: Changes = [],  # noqa: B006 - typer reads it, nobody writes it
    root: Root = Path(),
    executor: Annotated[
        str, typer.Option(help="Where tasks run: a name or {name: {...}}")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Shards in flight at once.")] = None,
    until: Annotated[str, typer.Option(help="Stop after this stage: its kind or number.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    shard: Annotated[str, typer.Option(help="i/n: one share of the shards, for job arrays.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and one last line.")] = False,
    json: Json = False,
) -> None:
    """Run a pipeline; the same command resumes it, and a finished run does nothing."""
    from curate.loop import run as run_pipeline
    from curate.portion import Portion
    from curate.progress import listener

    checked, portion = load(pipeline, changes), Portion.parse(limit, shard)
    place = _executor(executor, workers)
    with _leaving_at_once(), listener(json, quiet) as tell:
        try:
            ended = run_pipeline(
                checked, root, executor=place, until=until or None, portion=portion,
                listener=lambda event: heard(tell, event),
            )  # fmt: skip
        finally:
            place.close()
    if ended.signal is not None:
        say("stopped; the same command resumes")
        raise typer.Exit(128 + ended.signal)
    if not json:
        books_of(ended.folder, ended.accounting, reasons=not quiet)
        if portion.of > 1 and not quiet:
            say(f"share {shard} has done what it can; a run without --shard finishes")
        for text in [] if quiet else _beside_estimate(root, ended.folder.name):
            say(text)


def plan(
    pipeline: PipelineFile,
    changes: Changes = [],  # noqa: B006
    sample: Annotated[
        int | None, typer.Option(min=1, help="Run the first N rows, to estimate the rest.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="YAML: engine: {input, output} in $ a million, or gpu_hour")
    ] = None,
    root: Root = Path(),
    json: Json = False,
) -> None:
    """Say what a run would do, stage by stage, and why; with --sample, what it would cost."""
    from curate import estimate
    from curate.plan import plan as make_plan
    from curate.plan import rows_of
    from curate.progress import listener

    checked = load(pipeline, changes)
    paid = estimate.read_prices(prices, checked) if prices else {}
    if sample is not None:
        with listener(json=False) as tell:
            steps = estimate.estimate(checked, root, sample, prices=paid, listener=tell)
        table = estimate.rows_of(steps)
    else:
        steps = make_plan(checked, root)
        estimate.add_costs(steps, estimate.stage_roles(checked)[1:], paid)
        table = rows_of(steps)
    for step in steps if json else ():
        print_json(step)
    for text in () if json else table_lines(table):
        typer.echo(text)


def validate(pipeline: PipelineFile, changes: Changes = []) -> None:  # noqa: B006
    """Check fields, engines, columns, keys and packages; touches no data and no model."""
    from curate.stage import check_ready

    checked = load(pipeline, changes)
    checked.check()
    check_ready(checked.stages, checked.engines)
    typer.echo(f"{checked.name}: {len(checked.stages)} stages, all columns and engines are there")


def status(name: RunName, root: Root = Path(), json: Json = False) -> None:
    """Show how far a run has come and whether its rows add up."""
    from curate.estimate import against
    from curate.history import manifest, stages_left

    found = manifest(root, name)
    left = stages_left(root, name, found)
    if json:
        expected = against(root, name)
        estimates = {"estimates": expected} if expected else {}
        state = {"finished": found["finished"], "stages_left": left}
        state |= {"error": found["error"]} if "error" in found else {}
        print_json({**state, **found["accounting"], **estimates})
        return
    rest = f", {', '.join(left)} {'is' if len(left) == 1 else 'are'} left" if left else ""
    typer.echo(f"{name}: {'finished' if found['finished'] else f'unfinished{rest}; run it again'}")
    if "error" in found:
        typer.echo(f"the last attempt ended on: {found['error']}")
    for text in _beside_estimate(root, name):
        typer.echo(text)
    books_of(root / "runs" / name, found["accounting"])


def _beside_estimate(root: Path, name: str) -> list[str]:
    from curate.estimate import against, comparison_rows

    return table_lines(comparison_rows(against(root, name)))


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """End the process at a second signal: shards in flight are left behind, threads and all."""
    try:
        yield
    except KeyboardInterrupt as second:
        say("stopped; the same command resumes")
        os._exit(128 + (second.args[0] if second.args else 2))


def _executor(form: str, workers: int | None) -> Any:
    from curate.executors import executor_registry
    from curate.yaml_form import read_yaml

    found = executor_registry.parse(read_yaml(form), "--executor")
    return found if workers is None else found.model_copy(update={"workers": workers})
