"""Commands that run a pipeline or say what a run would do or has done."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import (
    Changes,
    Json,
    PipelineFile,
    Root,
    book_lines,
    counter_lines,
    heard,
    load,
    print_json,
    reply_lines,
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
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do the shards again in which calls failed.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Only errors, what needs a look, and one last line.")
    ] = False,
    json: Json = False,
) -> None:
    """Run a pipeline; the same command resumes it, and a finished run does nothing."""
    from curate.loop import run as run_pipeline
    from curate.portion import Portion
    from curate.progress import listener

    told = _Told()
    with _leaving_at_once(), listener(json, quiet) as tell, _errors_as_json(json, event="error"):
        checked, portion = load(pipeline, changes), Portion.parse(limit, shard)
        place = _executor(executor, workers)

        def listen(event: dict[str, Any]) -> None:
            told.hear(event)
            heard(tell, event)

        try:
            ended = run_pipeline(
                checked, root, executor=place, until=until or None, portion=portion,
                retry_failed=retry_failed, listener=listen,
            )  # fmt: skip
        finally:
            place.close()
    if ended.signal is not None:
        say("stopped; the same command resumes")
        raise typer.Exit(128 + ended.signal)
    if not json:
        for text in told.warnings(ended.folder.name):
            say(text)
        for text in book_lines(ended.folder, ended.accounting, not quiet, told.since()):
            say(text)
        if portion.of > 1 and not quiet:
            say(f"share {shard} has done what it can; a run without --shard finishes")
        for text in [] if quiet else _beside_estimate(root, ended.folder.name):
            say(text)


@dataclass
class _Told:
    """What the events of one attempt tell beside its books."""

    written: list[dict[str, int] | None] = field(default_factory=list)  # changes of each dataset
    mixed: list[str] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)  # what each stage counted

    def hear(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "export":
            self.written.append(event["changes"])
            self.mixed.extend(event["mixed"])
        elif event["event"] == "stage":
            self.made.append({"stage": event["stage"], "counts": Counter[str]()})
        elif event["event"] == "part":
            self.made[-1]["counts"].update(event["counts"])

    def warnings(self, run: str) -> list[str]:
        """Return what needs a look."""
        return [*self.mixed, *reply_lines(self.made, run)]

    def since(self) -> str:
        """Say how the dataset differs from the last one."""
        if not self.written:
            return " (as it was)"
        if self.written[-1] is None:  # the first
            return ""
        added, removed = (self.written[-1][f"records_{what}"] for what in ("added", "removed"))
        if not added and not removed:  # of rows by their ids; what is in them was not compared
            return " (of the same rows as the last one; records or card differ)"
        return f" (since the last one: {added} added, {removed} removed)"


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
        estimate.add_left(steps, make_plan(checked, root))
        table = estimate.rows_of(steps)
    else:
        steps = make_plan(checked, root)
        estimate.add_costs(steps, estimate.stage_roles(checked)[1:], paid)
        table = rows_of(steps)
    for step in steps if json else ():
        print_json(step)
    for text in () if json else table_lines(table):
        typer.echo(text)


def validate(
    pipeline: PipelineFile,
    changes: Changes = [],  # noqa: B006
    json: Json = False,
) -> None:
    """Check fields, engines, columns, prompts, keys, packages, benchmarks; no data, no model."""
    from curate.rehearsal import check_prompts
    from curate.stage import check_ready

    with _errors_as_json(json, valid=False):
        checked = load(pipeline, changes)
        checked.check()
        check_ready(checked.stages, checked.engines)
        check_prompts(checked.stages)
    stages = len(checked.stages)
    if json:
        print_json({"valid": True, "name": checked.name, "stages": stages})
    else:
        typer.echo(f"{checked.name}: {stages} stages, all columns and engines are there")


def status(
    name: Annotated[str, typer.Argument(help="The run's name; without one, all in a line.")] = "",
    root: Root = Path(),
    json: Json = False,
) -> None:
    """Show how far a run has come, whether it is at work, and whether its rows add up."""
    from curate.attempt import last_attempt
    from curate.history import is_of, manifest, stages_left

    if not name:
        _status_of_all(root, json)
        return
    folder = root / "runs" / name
    attempt = last_attempt(folder)
    said = attempt.text()
    if said and not (folder / "manifest.json").exists():
        print_json(attempt.facts() | {"finished": False}) if json else typer.echo(f"{name}: {said}")
        return
    found = manifest(root, name)
    mine = is_of(found, attempt)
    left = stages_left(root, name, found)
    finished = bool(found["finished"]) and mine
    if json:
        from curate.estimate import against

        state = {**attempt.facts(), "finished": finished, "stages_left": left}
        state |= {"error": found["error"]} if "error" in found and mine else {}
        books = {**found["accounting"], "books": "this attempt" if mine else "an earlier attempt"}
        expected = against(root, name)
        counts = {"counts": found["counts"]} if "counts" in found else {}  # not in older runs
        print_json({**state, **books, **counts, **({"estimates": expected} if expected else {})})
        return
    rest = f", {', '.join(left)} {'is' if len(left) == 1 else 'are'} left" if left else ""
    typer.echo(
        f"{name}: {said or ('finished' if finished else f'unfinished{rest}; {_next(name)}')}"
    )
    if not mine:
        typer.echo("what follows is of an earlier attempt, perhaps with another pipeline:")
        typer.echo("finished" if found["finished"] else f"unfinished{rest}")
    elif said and rest:
        typer.echo(rest.removeprefix(", "))
    rows, *more = book_lines(folder, found["accounting"])
    for text in (*_beside_estimate(root, name), rows + (" so far" if left else ""), *more):
        typer.echo(text)
    for text in reply_lines(found.get("counts", ()), name):
        typer.echo(text)
    for text in counter_lines(found.get("counts", ())):
        typer.echo(text)


def _next(name: str) -> str:
    """Return what to do about a run that ended by itself before its last stage."""
    from curate.portion import Portion

    return "a run without --shard finishes" if Portion.is_share(name) else "run it again"


def _status_of_all(root: Path, json: bool) -> None:
    from curate.attempt import last_attempt
    from curate.errors import ConfigError, CurateError
    from curate.history import is_of, manifest, runs

    names = runs(root)
    if not names:
        raise ConfigError(f"no run below {root}; `curate run PIPELINE` begins one, or name --root")
    for name in names:
        folder, found = root / "runs" / name, None
        attempt = last_attempt(folder)
        said = attempt.text()
        try:
            found = manifest(root, name)
        except CurateError as error:  # killed before it had one, or damaged: the others still show
            said = said or str(error)
        finished = found is not None and bool(found["finished"]) and is_of(found, attempt)
        books = found["accounting"] if found is not None else {}
        if json:
            print_json({"run": name, **attempt.facts(), "finished": finished, **books})
            continue
        words = [said or ("finished" if finished else f"unfinished; {_next(name)}")]
        words += book_lines(folder, books, reasons=False) if books else []
        earlier = " (of an earlier attempt)" if found and not is_of(found, attempt) else ""
        typer.echo(f"{name}: {'; '.join(words)}{earlier}")


def _beside_estimate(root: Path, name: str) -> list[str]:
    from curate.estimate import against, comparison_rows

    return table_lines(comparison_rows(against(root, name)))


@contextmanager
def _errors_as_json(json: bool, **mark: object) -> Iterator[None]:
    """Where JSON goes to stdout, let an error be its last line, with `mark`; stderr has it too."""
    try:
        yield
    except Exception as error:
        if json:
            heard(print_json, {**mark, "kind": type(error).__name__, "error": str(error)})
        raise


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
