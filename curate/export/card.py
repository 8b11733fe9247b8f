"""The dataset card: YAML front matter for the Hub, then how the data were made.

Everything that comes from a pipeline, an engine or the data is hostile text: it is escaped,
or fenced by a fence longer than any run of backticks inside.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from curate.export.trust import Trust

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_LARGE = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**12, "1B<n<10B"))
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")

LIMITS = """\
- Preferences come from models, not people. Judges favour long, confident and familiar-sounding
  answers and their own style; margins measure the judge's confidence, not truth.
- An instruction hidden in an answer can sway a judge; filters lower that risk and do not end it.
- Answers may be wrong, unsafe or private. Check a sample before you train on it.
- Thresholds fit the engines listed above; with other engines, measure again."""


@dataclass(frozen=True)
class CardFacts:
    """What a card tells about a run.

    Each of `stages` is {stage, rows_in, rows_out, dropped: {reason: rows}, failed: {error:
    rows}}; each of `engines` a mapping of strings (role, model, revision, ...).
    """

    name: str
    pipeline_yaml: str
    stages: Sequence[Mapping[str, Any]] = ()
    engines: Sequence[Mapping[str, Any]] = ()
    license: str | None = None
    seed: int = 0


def dataset_card(
    facts: CardFacts,
    form: str,
    splits: Mapping[str, int],
    dropped: Mapping[str, int],
    rows: int,
    trust: Trust | None = None,
    files: str = "data/{}-*.parquet",
) -> str:
    """Return the README. `splits` are records by split, `rows` the input rows exported.

    `trust` has seen these rows; `files` are those of a split.
    """
    records = sum(splits.values())
    funnel = [
        *facts.stages,
        {
            "stage": f"export ({form})",
            "rows_in": rows + sum(dropped.values()),
            "rows_out": rows,
            "dropped": dropped,
        },
    ]
    split_rows = [[name, f"{count:,}"] for name, count in splits.items()]
    sections = [
        f"---\n{_front_matter(facts, splits, files)}---",
        f"# {escape(facts.name)}",
        f"Preference data in the form `{form}`: {records:,} records from {rows:,} prompts, "
        "generated, judged and filtered by language models with `curate`.",
        _table(["split", "records"], split_rows),
        "## How it was made",
        f"Seed {facts.seed}. The pipeline:",
        fenced(facts.pipeline_yaml, "yaml"),
        "## Rows through the stages",
        _table(["stage", "rows in", "rows out", "dropped", "failed"], [_row(s) for s in funnel]),
        "## Engines",
        _engines(facts.engines),
        "## How far to trust it",
        "\n".join((trust or Trust()).lines(facts.stages, escape)),
        "## Known limits",
        LIMITS,
        "## How to reproduce",
        "Save the pipeline above as `pipeline.yaml` and run `curate run pipeline.yaml`. The same "
        "input, seed and recorded answers give the same files, byte for byte; freshly sampled "
        "answers differ unless the engine itself is deterministic.",
    ]
    return "\n\n".join(sections) + "\n"


def size_category(records: int) -> str:
    """Return the Hub's name for a number of records."""
    for below, name in (*_SIZES, *_LARGE):
        if records < below:
            return name
    return "n>1T"


def fenced(text: str, language: str) -> str:
    """Return a code block that no content can end: its fence is longer than any inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    # A carriage return also ends a line in Markdown; other control characters have no place.
    clean = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "�", text.replace("\r", "\n"))
    return f"{fence}{language}\n{clean.rstrip()}\n{fence}"


def escape(text: object) -> str:
    """Return one line of Markdown that shows `text` and nothing else: no markup, no HTML."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", str(text)).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line).replace("://", ":&#47;&#47;").replace("@", "&#64;")


def _front_matter(facts: CardFacts, splits: Mapping[str, int], pattern: str) -> str:
    fields: dict[str, Any] = {"pretty_name": _printable(facts.name)}
    if facts.license:
        fields["license"] = _printable(facts.license)
    fields["annotations_creators"] = ["machine-generated"]
    fields["size_categories"] = [size_category(sum(splits.values()))]
    fields["tags"] = ["curate", "preference", "rlhf", "dpo", "synthetic"]
    files = [{"split": name, "path": pattern.format(name)} for name in splits]
    fields["configs"] = [{"config_name": "default", "data_files": files}]
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(fields, text)
    return text.getvalue()


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _row(stage: Mapping[str, Any]) -> list[str]:
    return [
        escape(stage.get("stage", "")),
        f"{int(stage.get('rows_in', 0)):,}",
        f"{int(stage.get('rows_out', 0)):,}",
        _reasons(stage.get("dropped")),
        _reasons(stage.get("failed")),
    ]


def _reasons(counts: Mapping[str, int] | None) -> str:
    ordered = sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))
    return "<br>".join(f"{escape(reason)}: {count:,}" for reason, count in ordered)


def _engines(engines: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "- " + "; ".join(f"{escape(key)}: {escape(value)}" for key, value in engine.items())
        for engine in engines
    ]
    return "\n".join(lines) or "No engine was used."


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
