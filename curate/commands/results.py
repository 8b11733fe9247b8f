"""Commands that look at what a run has made, and hand it on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.options import Root, RunName, print_json, say, say_caution, table_lines


def show(
    name: RunName,
    row: Annotated[str, typer.Option("--id", help="One row's whole history.")] = "",
    dropped: Annotated[
        bool, typer.Option("--dropped", help="How many rows each stage lost and why, and which.")
    ] = False,
    stage: Annotated[str, typer.Option(help="Only what this kind of stage did.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Of --dropped: rows by name.")] = 1000,
    text: Annotated[
        bool | None,
        typer.Option("--text/--json", help="Text to read, or JSON lines; by default JSON lines "
                     "where the output is no terminal.", show_default=False),
    ] = None,
    root: Root = Path(),
) -> None:  # fmt: skip
    """Show one row's history with every call that was made for it, or what was dropped and why."""
    if bool(row) == dropped:
        raise typer.BadParameter("give either --id ID or --dropped")
    readable = sys.stdout.isatty() if text is None else text
    _check_stage(root, name, stage)
    say_caution(root, name)
    if not row:
        _show_dropped(root, name, stage, limit, readable)
        return
    from curate.commands.rows import history_lines
    from curate.replay import show_row

    _leave_pandas_out(root, name)
    steps = [s for s in show_row(root, name, row) if stage in ("", s["stage"])]
    for line in history_lines(steps) if readable else ():
        typer.echo(line)
    for step in steps if not readable else ():
        print_json(step)


def _check_stage(root: Path, name: str, stage: str) -> None:
    """Refuse a stage that the run does not have: nothing was lost there, which says nothing."""
    from curate import history
    from curate.errors import ConfigError, did_you_mean

    found = history.manifest(root, name)
    known = {"source", "export", *(str(s["kind"]) for s in found["stages"])}
    known |= {loss["stage"] for loss in history.losses(found)}
    known |= {*history.stages_left(root, name, found)}
    if stage and stage not in known:
        raise ConfigError(
            f"--stage: run {name!r} has no stage {stage!r}{did_you_mean(stage, known)}"
        )


class _NoPandas:
    """Makes an import of pandas fail, as if it were not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


_NO_PANDAS = _NoPandas()


def _leave_pandas_out(root: Path, name: str) -> None:
    """Keep Arrow from importing pandas, which it does at the first Python value it is given.

    That is a fifth of what `show` takes, and no stage of ours needs it. `to_pandas` does not work
    afterwards, so it is left alone where a stage of a user's own is applied again.
    """
    import pyarrow as pa

    from curate.history import manifest
    from curate.stage import stage_registry

    kinds = [str(stage["kind"]) for stage in manifest(root, name)["stages"]]
    if "pandas" in sys.modules or not all(map(stage_registry.is_built_in, kinds)):
        return
    sys.meta_path.insert(0, _NO_PANDAS)
    try:
        pa.scalar("")  # Arrow looks for pandas once
    finally:
        sys.meta_path.remove(_NO_PANDAS)


def _show_dropped(root: Path, name: str, stage: str, limit: int, readable: bool) -> None:
    """Say the counts, and then up to `limit` of the rows themselves."""
    from curate import history
    from curate.store import Store

    found = history.manifest(root, name)
    counts = [c for c in history.losses(found) if stage in ("", c["stage"])]
    rows = history.dropped(Store(root / "store"), history.with_losses(root, found), limit, stage)
    if stage in ("", "export"):
        rows += history.unexported(root, name, found, limit - len(rows))
    lost = sum(count["rows"] for count in counts)
    if readable and not lost:
        typer.echo("no row was dropped, and none failed" + (f", at {stage}" if stage else ""))
    elif readable:
        table = [[f"{c['rows']:,}", c["stage"], _fate(c)] for c in counts]
        for line in table_lines([["rows", "stage", "why"], *table]):
            typer.echo(line)
        typer.echo("")
        for line in table_lines(
            [["id", "stage", "why"], *([r["id"], r["stage"], _fate(r)] for r in rows)]
        ):
            typer.echo(line)
    else:
        print_json({"lost": counts})
        for lost_row in rows:
            print_json(lost_row)
    if len(rows) < lost:
        say(f"{len(rows):,} of {lost:,} rows shown; --limit {lost} shows all")


def _fate(entry: dict[str, Any]) -> str:
    return str(entry["dropped"]) if "dropped" in entry else f"failed: {entry['failed']}"


def report(
    name: RunName,
    out: Annotated[Path | None, typer.Option(help="File to write; else beside the run.")] = None,
    against: Annotated[str, typer.Option(help="Another run to compare with.")] = "",
    encoder: Annotated[
        str,
        typer.Option(help="For features of embeddings, where the run stored none of its answers; "
                     "packaged:minilm takes some minutes on a CPU."),
    ] = "none",
    root: Root = Path(),
) -> None:  # fmt: skip
    """Write one HTML page about a run: what to look at, rows, judges, models, leanings, cost."""
    from curate.disk import replace_synced
    from curate.errors import ConfigError
    from curate.estimate import against as beside_estimate
    from curate.report import report as make_report

    path = out or root / "runs" / name / "report.html"
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file in it, as {path / 'report.html'}")
    for run in filter(None, (name, against)):
        say_caution(root, run)
    page = make_report(
        root,
        name,
        against or None,
        encoder=None if encoder == "none" else encoder,
        estimates=beside_estimate(root, name),
    )
    replace_synced(path, page.encode())
    typer.echo(path)
