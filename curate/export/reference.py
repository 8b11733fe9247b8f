"""The reference of export forms, from the forms themselves: docs/exports.md and `--list`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pyarrow as pa

from curate.export.annotate import TOOLS
from curate.export.catalogue import ALIASES, FORMS
from curate.export.forms import Form
from curate.export.read_back import READ_BACK
from curate.export.records import DEFAULT_SPLIT
from curate.schema import COLUMNS

_HEAD = """\
<!-- Written by `make docs` from the forms; edit those. -->
# Export forms

`curate export RUN OUT --format FORM` writes a run's rows as a trainer reads them: to one file if
OUT ends in `.parquet` or `.jsonl`, else to a folder with a file or more for each split and a card.
The key `export:` of a pipeline takes the same names for the dataset that the run itself writes.
`--keep NAME` puts a column of the source, or of the rows, beside the form's own, such as TRL's
`ref_chosen_logps`, `tools` and `chat_template_kwargs`; objects within a list are kept as JSON text.
A pipeline's `keep: [NAME]` does so in the run's own dataset, which is what `curate push` uploads.

Rows that give no record are counted, by the reason that stands with each form.

The last column names the trainers whose own loaders have read the form and given back the prompt
and the answers as they were: of TRL in `make test`, with a training step, and of the others in
`make test-trainers`, which installs each in an environment of its own. A form without one is held
to what its trainer documents.
"""
_ASKED = {"role": "user", "content": "What is 6 times 7?"}
_PAIR = {
    "chosen": 0, "rejected": 1, "margin": 1.5, "p_correct": 0.875, "source": "best_worst",
}  # fmt: skip
_ROW = {
    "id": "row-1",
    "prompt": [_ASKED],
    "other_prompt": [{"role": "user", "content": "What is 6 plus 7?"}],
    "reference": "42",
    "candidates": [
        {"text": "42", "model": "org/a", "finish_reason": "stop", "tokens": 1},
        {"text": "It is 13.", "model": "org/b", "finish_reason": "stop", "tokens": 4},
    ],
    "scores": [4.5, 3.0],
    "pairs": [_PAIR],
    "goals": ["An answer worth 5.", "An answer worth 3."],
    "steps": [
        {"candidate": 0, "text": "6 times 7 is 42.", "right": True, "tries": 4, "ended_right": 4},
        {"candidate": 0, "text": "So 43.", "right": False, "tries": 4, "ended_right": 0},
    ],
    "step_pairs": [
        {"prefix": "6 times 7 is 42.\n", "chosen": "So 42.", "rejected": "So 43.",
         "q_chosen": 1.0, "q_rejected": 0.0, "n_chosen": 4, "n_rejected": 4, "confidence": 0.5},
    ],
}  # fmt: skip
"""A row that every form finds what it needs in."""


def page() -> str:
    """Return the reference as Markdown: a table of the forms, then each with its records."""
    table = ["| form | also | for | read by |", "|---|---|---|---|"]
    for name, form in FORMS.items():
        facts = (", ".join(_also(name)), form.description, ", ".join(form.read_by))
        table.append(f"| [`{name}`](#{name}) | {' | '.join(facts)} |")
    people = "| | pairs for people to judge, see [below](#people) | |"
    table += [f"| `{tool}` {people}" for tool in TOOLS]
    sections = ["\n".join(table), *(_section(name, form) for name, form in FORMS.items()), _PEOPLE]
    return _HEAD + "\n" + "\n\n".join(sections) + "\n"


def lines() -> list[str]:
    """Return one line a form: its name, what it is for, and its other names."""
    said = {name: (form.description, _also(name)) for name, form in FORMS.items()}
    said |= {tool: ("pairs for people to judge, a JSON file of tasks", []) for tool in TOOLS}
    return [
        f"{name:<18} {what}" + (f" (also {', '.join(also)})" if also else "")
        for name, (what, also) in said.items()
    ]


def _also(name: str) -> list[str]:
    return [alias for alias, form in ALIASES.items() if form == name]


def _section(name: str, form: Form) -> str:
    """Return one form's part, with the records that the row of examples gives."""
    fields = {key: _ROW[key] for key in COLUMNS if key in _ROW}
    table = pa.Table.from_pylist([fields], schema=pa.schema([(n, COLUMNS[n]) for n in fields]))
    made = form.build(table).table
    if form.numbered is not None:
        size = len(made)
        made = form.numbered(
            made, pa.repeat(DEFAULT_SPLIT, size), pa.array(range(size), pa.int64())
        )
    records = made.to_pylist()
    text = [
        f"## {name}",
        f"For: {form.description}.",
        inspect.cleandoc(form.build.__doc__ or ""),
        f"Needs {', '.join(f'`{need}`' for need in form.needs)}. "
        f'A row without a record: "{form.reason}".',
    ]
    if form.llama_factory is not None:
        told = json.dumps(form.llama_factory)
        text.append(f"`dataset_info.json` beside the files tells LLaMA-Factory: `{told}`")
    if name in READ_BACK:
        mapped = json.dumps(READ_BACK[name])
        lacked = {"margin": "a `margin`", "chosen_score": "scores"}
        may_lack = " or ".join(words for key, words in lacked.items() if key in READ_BACK[name])
        unless = f"; where no pair has {may_lack}, leave that out" if may_lack else ""
        text.append(f"A source reads it back with `columns: {mapped}`{unless}.")
    examples = (json.dumps(record, ensure_ascii=False) for record in records)
    text.append("\n".join(["```json", *examples, "```"]))
    return "\n\n".join(text)


_PEOPLE = """\
## people

`--format label-studio` and `--format argilla` write the pairs that most need a person (those that
`route_pairs` marked, else the least certain) as one JSON file of tasks, as `curate ask` does. The
tool's answers come back with `curate import RUN ANSWERS`, and the stage `people` reads them as the
judgments of human judges."""


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
