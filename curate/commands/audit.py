"""The command that says what a preference set prefers: `curate audit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from curate.commands.options import Json, Root, say_caution

if TYPE_CHECKING:
    from curate.engines.contract import Engine, EngineSpec

SHOWN = 6  # features of embeddings, and all that lean


def audit(
    name: Annotated[
        str, typer.Argument(metavar="RUN|DATASET", help="A run, or a set: file or folder.")
    ],
    mapping: Annotated[
        list[str], typer.Option("--map", help="Of a set: meaning=column, as in prompt=question")
    ] = [],  # noqa: B006 - typer reads it, nobody writes it
    split: Annotated[str, typer.Option(help="Of a dataset folder; else all.")] = "",
    encoder: Annotated[
        str, typer.Option(help="For features of embeddings; none: leave them out.")
    ] = "packaged:minilm",
    engine: Annotated[
        str, typer.Option(help="Name the features: an engine of the run, or {kind: {...}}; some "
                          "140 calls for each feature that is named.")
    ] = "",
    seed: int = 0,
    root: Root = Path(),
    json: Json = False,
) -> None:  # fmt: skip
    """Say what the data prefer: length and other properties, circles, features of embeddings."""
    from curate.audit import audit as examine

    wanted = None if encoder == "none" else encoder
    roles: Mapping[str, EngineSpec] = {}
    if (root / "runs" / name / "manifest.json").is_file():
        say_caution(root, name)
        roles = _engines_of(root, name) if engine else {}
    namer = _engine(engine, roles) if engine else None
    try:
        found = examine(
            name, root, mapping=mapping, split=split, encoder=wanted, engine=namer, seed=seed
        )
    finally:
        if namer is not None:
            namer.close()
    if json:
        typer.echo(orjson.dumps(found).decode())
        return
    for line in audit_lines(found):
        typer.echo(line)


def _engines_of(root: Path, name: str) -> Mapping[str, EngineSpec]:
    from curate.history import manifest, pipeline_of

    return pipeline_of(root, name, manifest(root, name)).engines


def _engine(form: str, roles: Mapping[str, EngineSpec]) -> Engine:
    """Load the engine that the run's pipeline calls so, or that the YAML form describes."""
    from curate.engines.contract import engine_registry
    from curate.errors import ConfigError
    from curate.yaml_form import read_yaml

    spec = roles.get(form) or engine_registry.parse(read_yaml(form), "--engine")
    if "chat" not in spec.capabilities:
        raise ConfigError(
            f"--engine {form}: a {spec.kind} engine does not answer in words; name one that does"
        )
    return spec.load()


def audit_lines(found: dict[str, Any]) -> list[str]:
    """Return an audit as lines of text; `*` marks what is not chance."""
    from curate.audit.properties import LIMITS

    lines = [f"{found['pairs']} pairs of {found['prompts']} prompts", ""]
    if found["repeated_or_equal"]:
        lines[0] += f"; {found['repeated_or_equal']} more repeat one of them, or are equal answers"
    lines.append(f"{'property':<14} {'pairs':>7}  {'chosen has more':<24} weight [95 %]")
    lines += [f"{row['property']:<14} {_numbers(row)}" for row in found["properties"]]
    lines += ["", *_alike(found["properties"]), LIMITS]
    for name, what in (("circles", "pairs"), ("verdict_circles", "judges' verdicts")):
        if (circles := found[name]) is not None:
            lines += ["", f"{circles['with_circle']} of {circles['prompts']} prompts whose answers "
                      f"were compared all round have {what} in a circle"]  # fmt: skip
    embedded = found["embeddings"]
    if isinstance(embedded, str):
        return [*lines, "", f"no features of embeddings: {embedded}"]
    lines += ["", f"features of embeddings (they explain {embedded['explained']:.0%}):"]
    shown = [row for k, row in enumerate(embedded["features"]) if k < SHOWN or row["leans"]]
    for row in shown:
        about = [f"{k} {v:+.2f}" for k, v in row["goes_with"].items()]
        lines.append(f"{row['feature']:<14} {_numbers(row)}")
        lines += [f"{'':<14} {_name(row['name'])}"] if "name" in row else []
        lines.append(f"{'':<14} words: {', '.join(row['words']) or '-'}; "
                     f"goes with: {', '.join(about) or '-'}")  # fmt: skip
        if row["leans"]:
            lines += [_example(example) for example in row["examples"][:1]]
    left = len(embedded["features"]) - len(shown)
    return [*lines, f"and {left} more, none of which leans; --json has all"] if left else lines


def _alike(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each property that leans and goes together with others."""
    return [
        f"{row['property']} goes together with {', '.join(row['alike'])}: which of them is "
        "preferred, the weights cannot tell"
        for row in rows
        if row.get("alike") and (row["leans"] or row["share_leans"])
    ]


def _name(name: dict[str, Any]) -> str:
    if "problem" in name:
        return f"no name: {name['problem']}"
    fits = "-" if name["r"] is None else f"r {name['r']:+.2f}, p {name['p']:.2g}"
    word = "named" if name["holds"] else "perhaps, but its name did not hold"
    return f"{word}: {name['text']} ({fits} on {name['n']} other pairs)"


def _numbers(row: dict[str, Any]) -> str:
    more = row["more_chosen"]
    share = f"{more['share']:.1%} [{more['low']:.1%}, {more['high']:.1%}]" if more else "-"
    share += " *" if row.get("share_leans") else ""
    if "weight" not in row:
        return f"{row['pairs']:>7}  {share:<24} too rare"
    mark = " *" if row["leans"] else ""
    weight = f"{row['weight']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{row['pairs']:>7}  {share:<24} {weight}{mark}"


def _example(example: dict[str, Any]) -> str:
    """Return the two sides on one line; control characters must not reach the terminal."""
    more, less = (
        "".join(c if c.isprintable() else " " for c in example[side][:100])
        for side in ("more", "less")
    )
    return (
        f"{'':<14} {'chosen' if example['chosen'] else 'rejected'}: {more}\n{'':<14} over: {less}"
    )
