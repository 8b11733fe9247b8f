"""Pairs for people to judge, as tasks of Label Studio or Argilla; `people` reads the answers.

Which answer is shown first is drawn from a hash of the pair, and nothing in a task says which
one the pipeline chose.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from curate.arrays import flat
from curate.disk import replace_synced
from curate.errors import ConfigError, did_you_mean
from curate.export.files import not_there
from curate.export.pairs import plain
from curate.export.uncertain import Least, doubt, live_places, pair_facts, pair_keys
from curate.methods.judgments import floats, true
from curate.schema import PROMPT
from curate.stages.people import text_key

TOOLS = ("label-studio", "argilla")

LABEL_STUDIO_CONFIG = """\
<View>
  <Text name="prompt" value="$prompt"/>
  <Text name="first" value="$first"/>
  <Text name="second" value="$second"/>
  <Choices name="better" toName="prompt" choice="single" required="true">
    <Choice value="first"/><Choice value="second"/><Choice value="tie"/>
  </Choices>
</View>
"""
"""The labelling interface for the tasks; paste it into the project's settings."""


def write_tasks(
    tables: Iterable[pa.Table], path: Path, tool: str, most: int = 100, force: bool = False
) -> int:
    """Write the `most` least certain live pairs as tasks; return how many there are.

    `tables` hold id, prompt, candidates and pairs. Where they hold `for_people` and `gain` (the
    stage `route_pairs`), the pairs marked there are asked about instead, those with the most to
    gain first. Label Studio gets a JSON list to import and, beside it, its interface as
    `<path>.xml`; Argilla gets a JSON list of records with the fields prompt, first and second, for
    a label question called `better`. Raises ConfigError where there are no pairs to ask about, for
    another tool, or for a file that is there unless `force`.
    """
    if tool not in TOOLS:
        raise ConfigError(f"unknown tool {tool!r}{did_you_mean(tool, TOOLS)}")
    not_there(path, force)
    labels = path.with_name(path.name + ".xml")
    if tool == "label-studio":
        not_there(labels, force)
    held = Least(most)
    for table in tables:
        missing = [
            n for n in ("id", "prompt", "candidates", "pairs") if n not in table.column_names
        ]
        if missing:
            raise ConfigError(f"there is nothing to ask people: no column {', '.join(missing)}")
        live, order = _asked(table)
        keys = pair_keys(table["id"], table["pairs"])[live]
        for k in np.lexsort((keys, order))[:most].tolist():
            if held.wants(float(order[k]), int(keys[k])):
                task = _task(pair_facts(table, int(live[k])), int(keys[k]))
                held.add(float(order[k]), int(keys[k]), task)
    tasks = held.entries()
    if not tasks:
        raise ConfigError(
            "there is nothing to ask people: no pair is left in this run, or none is `for_people`"
        )
    made = [_label_studio(t) if tool == "label-studio" else _argilla(t) for t in tasks]
    replace_synced(path, orjson.dumps(made, option=orjson.OPT_INDENT_2))
    if tool == "label-studio":
        replace_synced(labels, LABEL_STUDIO_CONFIG.encode())
    return len(tasks)


def _asked(table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the flat places of the pairs to ask about, and a number for each, small for first."""
    live = live_places(table["pairs"])
    if "for_people" not in table.column_names:
        return live, doubt(table["pairs"])[live]
    live = live[true(flat(table["for_people"]))[live]]
    return live, -floats(flat(table["gain"]))[live]


def _task(facts: dict[str, Any], key: int) -> dict[str, Any]:
    pair = facts["pair"]
    sides = [(pair["chosen"], facts["chosen"]), (pair["rejected"], facts["rejected"])]
    (a, first), (b, second) = sides if key % 2 else sides[::-1]
    texts = [first["text"] or "", second["text"] or ""]
    return {
        "show": {
            "prompt": plain(pa.array([facts["prompt"]], PROMPT))[0].as_py(),
            "first": texts[0],
            "second": texts[1],
        },
        "refer": {"row": facts["id"], "a": a, "b": b, "texts": text_key(*texts)},
    }


def _label_studio(task: dict[str, Any]) -> dict[str, Any]:
    return {"data": {**task["show"], **task["refer"]}}


def _argilla(task: dict[str, Any]) -> dict[str, Any]:
    refer = task["refer"]
    record_id = f"{refer['row']}/{refer['a']}/{refer['b']}"
    return {"id": record_id, "fields": task["show"], "metadata": refer}
