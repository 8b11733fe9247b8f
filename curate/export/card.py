"""The dataset card: YAML front matter for the Hub, then how the data were made.

Everything that comes from a pipeline, an engine or the data is hostile text: it is escaped,
or fenced by a fence longer than any run of backticks inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curate.engines.served import mixed_models
from curate.export.records import ExportSummary
from curate.export.trust import Trust
from curate.printable import printable
from curate.yaml_form import write_yaml

_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")

LIMITS = """\
- An instruction hidden in an answer can sway a judge; filters lower that risk and do not end it.
- Answers may be wrong, unsafe or private. Check a sample before you train on it.
- Thresholds fit the engines listed above; with other engines, measure again."""
_JUDGED = """\
- Preferences come{} from models. Judges favour long, confident and familiar-sounding answers and
  their own style; margins measure the judge's confidence, not truth."""


class Origin(NamedTuple):
    """Whether language models wrote answers, whether they judged, whether people did, and whether
    the source came with judgments or pairs.
    """

    answers: bool = False
    verdicts: bool = False
    people: bool = False
    given: bool = False


@dataclass(frozen=True)
class CardFacts:
    """What a card tells about a run.

    Each of `stages` is {stage, name (of several of a kind "judge 2"), rows_in, rows_out,
    dropped: {reason: rows}, failed: {error: rows}, inside: {column: {reason: elements dropped in
    rows that stayed}}}; each of `engines` and `encoders` a mapping of strings (role or stage,
    model, revision, ...). `source` is a digest of the rows as they were read, `version` that of
    curate.
    """

    name: str
    pipeline_yaml: str
    stages: Sequence[Mapping[str, Any]] = ()
    engines: Sequence[Mapping[str, Any]] = ()
    license: str | None = None
    seed: int = 0
    encoders: Sequence[Mapping[str, Any]] = ()
    origin: Origin = field(default_factory=Origin)
    source: str = ""
    version: str = ""

    @property
    def rows(self) -> int:
        """Rows that are left after the last stage; 0 where that is not known."""
        return int(self.stages[-1].get("rows_out", 0)) if self.stages else 0


def dataset_card(
    facts: CardFacts,
    form: str,
    done: ExportSummary,
    trust: Trust | None = None,
    files: str = "data/{}-*.parquet",
    info: Mapping[str, Any] | None = None,
) -> str:
    """Return the README of a dataset of which `done` says what became of its rows.

    `trust` has seen these rows; `files` are those of a split; `info` is the Hub's `dataset_info`.
    """
    rows, trust = done.rows_exported, trust or Trust()
    pairs = done.pairs_dropped
    funnel = [
        *facts.stages,
        {
            "stage": f"export ({form})",
            "rows_in": rows + sum(done.rows_dropped.values()),
            "rows_out": rows,
            "dropped": done.rows_dropped,
            "inside": {"pairs": pairs} if pairs else {},
        },
    ]
    split_rows = [[name, f"{count:,}"] for name, count in done.splits.items()]
    sections = [
        f"---\n{_front_matter(facts, done.splits, files, info)}---",
        f"# {escape(facts.name)}",
        f"Preference data in the form `{form}`: {done.records:,} records from {rows:,} prompts, "
        f"filtered with `curate`. {_who(facts.origin, trust)}",
        _table(["split", "records"], split_rows),
        "## How it was made",
        f"Seed {facts.seed}. The pipeline:",
        fenced(facts.pipeline_yaml, "yaml"),
        "## Rows through the stages",
        _funnel_table(funnel),
        "## Engines and encoders",
        _models(facts),
        "## How far to trust it",
        "\n".join([*trust.lines(facts.stages, escape), *_mixed(facts)]),
        "## Known limits",
        _limits(facts.origin),
        "## How to reproduce",
        _reproduce(facts),
    ]
    return "\n\n".join(sections) + "\n"


def size_category(records: int) -> str:
    """Return the Hub's name for a number of records: "n<1K", "1K<n<10K" and on to "n>1T"."""
    for power, name in enumerate(_SIZES):
        if records < 1000 * 10**power:
            return f"n<{name}" if not power else f"{_SIZES[power - 1]}<n<{name}"
    return f"n>{_SIZES[-1]}"


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


def _front_matter(
    facts: CardFacts,
    splits: Mapping[str, int],
    pattern: str,
    info: Mapping[str, Any] | None,
) -> str:
    fields: dict[str, Any] = {"pretty_name": printable(facts.name, mark=False)}
    if facts.license:
        fields["license"] = printable(facts.license, mark=False)
    fields["annotations_creators"] = _annotators(facts.origin)
    fields["size_categories"] = [size_category(sum(splits.values()))]
    synthetic = ["synthetic"] if facts.origin.answers else []
    fields["tags"] = ["curate", "preference", "rlhf", "dpo", *synthetic]
    files = [{"split": name, "path": pattern.format(name)} for name in splits]
    fields["configs"] = [{"config_name": "default", "data_files": files}]
    if info is not None:
        fields["dataset_info"] = dict(info)
    return write_yaml(fields)


def _annotators(origin: Origin) -> list[str]:
    """Return who made the preferences, in the Hub's words; "other" are people of no known kind."""
    found = ["machine-generated"] if origin.verdicts else []
    found += ["other"] if origin.people else []
    return found + (["found"] if origin.given or not found else [])


def _who(origin: Origin, trust: Trust) -> str:
    """Return two sentences on where answers and preferences come from."""
    judges = [
        *(["the verdicts of language models"] if origin.verdicts else []),
        *(["the answers of people"] if origin.people else []),
        *(["labels or scores that came with the source"] if origin.given else []),
    ]
    if not judges:
        judges = ["what came with the source, and the stages below"]
    writers = "Language models wrote answers in this run" if origin.answers else (
        "The answers came with the source"
    )  # fmt: skip
    sources = ", ".join(f"{escape(name)} {n:,}" for name, n in sorted(trust.sources.items()))
    made = f" Pairs by what made them: {sources}." if sources else ""
    return f"{writers}; preferences rest on {' and '.join(judges)}.{made}"


def _limits(origin: Origin) -> str:
    partly = " partly" if origin.people or origin.given else ""
    return f"{_JUDGED.format(partly)}\n{LIMITS}" if origin.verdicts else LIMITS


def _models(facts: CardFacts) -> str:
    used = [*facts.engines, *facts.encoders]
    lines = [
        "- " + "; ".join(f"{escape(key)}: {escape(value)}" for key, value in one.items())
        for one in used
    ]
    return "\n".join(lines) or "No engine and no encoder was used."


def _mixed(facts: CardFacts) -> list[str]:
    said = (escape(text) for text in mixed_models(facts.engines))
    return [f"- {text[0].upper()}{text[1:]}." for text in said]


def _reproduce(facts: CardFacts) -> str:
    version = f"Install `curate-preferences=={facts.version}`, save" if facts.version else "Save"
    source = (
        f" The rows that were read, in their order, have the digest `{facts.source}`: the same "
        "input gives the same number in a card of one's own."
        if facts.source
        else ""
    )
    return (
        f"{version} the pipeline above as `pipeline.yaml` and run `curate run pipeline.yaml`. "
        "The same input, seed and recorded answers give the same files, byte for byte; freshly "
        f"sampled answers differ unless the engine itself is deterministic.{source}"
    )


def _funnel_table(funnel: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows through the stages, and what was dropped inside rows where anything was."""
    header, rows = ["stage", "rows in", "rows out", "dropped", "failed"], [_row(s) for s in funnel]
    if any(stage.get("inside") for stage in funnel):
        header.append("dropped inside rows that stayed")
        rows = [[*row, _inside(stage)] for row, stage in zip(rows, funnel, strict=True)]
    return _table(header, rows)


def _inside(stage: Mapping[str, Any]) -> str:
    """Return how many pairs and candidates a stage dropped inside rows that it kept, and why."""
    columns = stage.get("inside", {}).items()
    return "<br>".join(f"{escape(name)}: {_reasons(counts)}" for name, counts in columns)


def _row(stage: Mapping[str, Any]) -> list[str]:
    return [
        escape(stage.get("name", stage.get("stage", ""))),
        f"{int(stage.get('rows_in', 0)):,}",
        f"{int(stage.get('rows_out', 0)):,}",
        _reasons(stage.get("dropped")),
        _reasons(stage.get("failed")),
    ]


def _reasons(counts: Mapping[str, int] | None) -> str:
    ordered = sorted((counts or {}).items(), key=lambda item: (-item[1], item[0]))
    return "<br>".join(f"{escape(reason)}: {count:,}" for reason, count in ordered)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
