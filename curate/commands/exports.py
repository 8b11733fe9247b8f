"""Commands that hand on what a run has made: to trainers, to people and back, to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import Root, RunName, say_caution

Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
Most = Annotated[int, typer.Option(min=1, help="Of pairs for people: how many.")]


def _list_forms(wanted: bool) -> None:
    if wanted:
        from curate.export.reference import lines

        typer.echo("\n".join(lines()))
        raise typer.Exit


def export(
    name: RunName,
    out: Annotated[Path, typer.Argument(help="A folder, or a file: x.parquet, x.jsonl.")],
    form: Annotated[
        str, typer.Option("--format", help="A trainer's row format, label-studio or argilla.")
    ] = "preference",
    file: Annotated[
        str, typer.Option("--file", help="parquet or jsonl; else what OUT ends in, or parquet")
    ] = "",
    keep: Annotated[
        list[str], typer.Option(help="A column of the source or the rows to put beside the form's.")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    rows_per_file: Annotated[int, typer.Option(min=1, help="Of a folder.")] = 100_000,
    most: Most = 100,
    force: Force = False,
    listed: Annotated[
        bool, typer.Option("--list", callback=_list_forms, is_eager=True, help="Say all formats.")
    ] = False,
    root: Root = Path(),
) -> None:
    """Write a run's rows in a trainer's format, or its least certain pairs for people to judge."""
    from curate.export.annotate import TOOLS
    from curate.export.trainer_files import Layout
    from curate.exported import export_run

    if form in TOOLS:
        ask(name, out, form, most, force, root)
        return
    say_caution(root, name)
    summary = export_run(root, name, out, form, Layout(file, rows_per_file, keep, force))
    parts = ", ".join(f"{split} {count}" for split, count in summary.splits.items())
    several = len(summary.splits) > 1
    typer.echo(f"{summary.records} records in {out}" + (f": {parts}" if several else ""))
    if several and out.is_file() and "split" not in keep:
        typer.echo(
            "nothing in the file tells these splits apart: a folder has files for each, and "
            "--keep split adds a column",
            err=True,
        )
    for reason, count in summary.rows_dropped.items():
        typer.echo(f"{count:>8} rows gave none: {reason}", err=True)
    for reason, count in summary.pairs_dropped.items():
        typer.echo(f"{count:>8} pairs of other rows gave none: {reason}", err=True)


def ask(
    name: RunName,
    out: Annotated[Path, typer.Argument(help="The JSON file of tasks to write.")],
    tool: Annotated[str, typer.Option(help="label-studio or argilla")] = "label-studio",
    most: Most = 100,
    force: Force = False,
    root: Root = Path(),
) -> None:
    """Write the least certain pairs, or those that `route_pairs` marked, as tasks for people.

    `curate import` takes their answers, and the stage `people` reads them.
    """
    from curate import history
    from curate.export.annotate import write_tasks
    from curate.work import live_tables

    found = history.manifest(root, name)
    say_caution(root, name)
    store, shards = history.shards(root, found)
    count = write_tasks(live_tables(store, shards), out, tool, most, force)
    typer.echo(f"{count} tasks in {out}")


def import_answers(
    name: RunName,
    answers: Annotated[list[Path], typer.Argument(help="What the tool gave back, as JSON.")],
    root: Root = Path(),
) -> None:
    """Add people's answers to those of the run, for the stage `people` to read."""
    from curate import history
    from curate.export.collect import collect

    found = history.manifest(root, name)
    path = root / "runs" / name / "answers.json"
    got = collect(answers, path)
    typer.echo(f"{got.answers} answers of {got.people} people in {path}, {got.new} of them new")
    if any(stage["kind"] == "people" for stage in found["stages"]):
        hint = f"run the pipeline again, with people.path={path}"
    else:
        hint = (
            f"add the stage `people: {{path: {path}}}` behind the candidates, and one that uses "
            "what people say (jury, overrule or calibrate)"
        )
    typer.echo(hint, err=True)


def push(
    name: RunName,
    repo: Annotated[str, typer.Argument(help="owner/name on the Hugging Face Hub.")],
    public: Annotated[bool, typer.Option("--public", help="Make it public, not private.")] = False,
    message: Annotated[str, typer.Option(help="The commit's message.")] = "",
    root: Root = Path(),
) -> None:
    """Upload a run's dataset and its card to the Hub; prints the commit to pin."""
    from curate.export.push import push as upload

    folder = root / "runs" / name / "dataset"
    if (folder.parent / "manifest.json").exists():
        say_caution(root, name)
    commit = upload(folder, repo, message=message or f"curate run {name}", private=not public)
    typer.echo(f"{repo} at {commit}")
