"""What every built-in stage makes of one small fixed input, so that no output changes unseen.

Code is not hashed into a part's key: a stage whose output changes must raise its `version`, or
users keep parts of the old kind among the new. After that, `python tests/stages/test_golden.py`
writes golden/<kind>.json anew (kinds may be named); it refuses an output that changed under an
unchanged version.

A new stage needs nothing here where the fields in test_contract.py and the rows in golden_rows.py
suit it; otherwise give it an entry in FIELDS or ROWS there.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import xxhash
from golden_rows import HERE, ROWS, make, usual
from test_contract import BUILT_IN, needs_extra

from curate.engines.scripted import Scripted
from curate.schema import DROP, FAIL
from curate.stage import Context
from curate.work import check_result

GOLDEN = Path(__file__).with_name("golden")


LATER = ("scale",)
"""Fields of the row's types that are younger than the first golden outputs."""


REPLIES: Mapping[str, Sequence[str]] = {
    "rationale": ("It is old.\n[[A]]", "It is of many kinds.\n[[B]]", "It is neither."),
}
"""Answers of the engine, where those of hashed words would all be unreadable."""


def observe(kind: str) -> dict[str, Any]:
    """Return what the golden file of the stage would hold now."""
    stage, table = make(kind), ROWS.get(kind, usual)()
    names = [n for n in (*stage.needed(), *stage.used()) if n in table.column_names]
    view = table.select(names)
    engine = Scripted(replies=REPLIES[kind]) if kind in REPLIES else Scripted()
    ctx = Context(seed=1, engines={"small": engine.load()})
    result = check_result(stage, stage.apply(view, ctx), len(view))
    given = json.dumps(as_before(view.to_pydict()), default=str).encode()
    fields = json.loads(json.dumps(stage.identity()).replace(HERE, ""))
    return {
        "version": stage.version,
        "fields": {k: v for k, v in fields.items() if k not in ("kind", "version")},
        "input": xxhash.xxh3_64_hexdigest(given),
        "output": kept({name: column.to_pylist() for name, column in sorted(result.items())}),
        "counts": {name: float(n) for name, n in sorted(ctx.counts.items())},
    }


def as_before(value: Any) -> Any:
    """Return the value without null fields that came later, so that they change no input."""
    if isinstance(value, dict):
        return {k: as_before(v) for k, v in value.items() if v is not None or k not in LATER}
    return [as_before(v) for v in value] if isinstance(value, list) else value


def kept(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Leave out reasons where there are none, as a part does."""
    return {name: rows for name, rows in columns.items() if name not in (DROP, FAIL) or any(rows)}


def same(one: object, two: object) -> bool:
    """Compare, numbers to 2 in 10,000: other processors round a sum differently.

    A field that one of them lacks is null, as in a part that was written before there was one.
    """
    if isinstance(one, dict) and isinstance(two, dict):
        return all(same(one.get(k), two.get(k)) for k in one | two)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=2e-4, abs_tol=1e-6) or (one != one and two != two)
    return one == two


def read(kind: str) -> dict[str, Any] | None:
    path = GOLDEN / f"{kind}.json"
    golden = json.loads(path.read_text()) if path.exists() else None
    return golden and golden | {"output": kept(golden["output"])}


def write(kind: str, found: dict[str, Any]) -> None:
    """Write one row a line, so that a change is read as one."""
    columns = [
        f"{json.dumps(name)}: [\n    "
        + ",\n    ".join(json.dumps(row, ensure_ascii=False) for row in rows)
        + "\n  ]"
        for name, rows in found["output"].items()
    ]
    head = [f"{json.dumps(k)}: {json.dumps(found[k])}" for k in found if k != "output"]
    output = '"output": {' + ",\n  ".join(columns) + "}"
    (GOLDEN / f"{kind}.json").write_text("{" + ",\n".join([*head, output]) + "}\n")


def changed(found: dict[str, Any], golden: dict[str, Any]) -> bool:
    """Whether the output differs although version, fields and input are the same.

    So does a counter that counts otherwise. One that is new, or gone, is no reason to have all
    that was asked of an engine asked again.
    """
    asked = ("version", "fields", "input")
    both = found["counts"].keys() & golden["counts"].keys()
    counts = [{name: one["counts"][name] for name in both} for one in (found, golden)]
    return all(found[k] == golden[k] for k in asked) and not same(
        [found["output"], counts[0]], [golden["output"], counts[1]]
    )


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_output_is_what_it_was(kind: str) -> None:
    needs_extra(kind)
    again = f"; run: python {Path(__file__).relative_to(Path.cwd())} {kind}"
    golden = read(kind)
    assert golden is not None, "the stage has no golden output" + again
    found = json.loads(json.dumps(observe(kind)))
    assert not changed(found, golden), (
        f"the output of `{kind}` changed but its version is still {golden['version']}: raise it"
    )
    for name in ("version", "fields", "input"):
        assert found[name] == golden[name], f"{name} of `{kind}` changed" + again
    assert same([found["output"], found["counts"]], [golden["output"], golden["counts"]]), again


def test_no_golden_output_is_left_of_a_stage_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} <= set(BUILT_IN)


def test_a_changed_output_needs_a_raised_version() -> None:
    found = json.loads(json.dumps(observe("combine")))
    other = json.loads(json.dumps(found))
    other["output"]["scores"][0][0] += 0.01
    assert not changed(found, found)
    assert changed(found, other)
    assert not changed(found | {"version": found["version"] + 1}, other)
    assert not changed(found | {"input": "another"}, other)
    assert not changed(found, found | {"counts": {"a counter that is gone": 1.0}})
    assert changed(found | {"counts": {"x": 1.0}}, found | {"counts": {"x": 2.0}})


def main(kinds: list[str]) -> None:
    """Write the golden outputs of `kinds`, or of all."""
    refused = []
    for kind in kinds or BUILT_IN:
        try:
            found, golden = json.loads(json.dumps(observe(kind))), read(kind)
        except Exception as error:  # the others are written all the same
            refused.append(f"{kind}: {error}")
            continue
        if golden is not None and changed(found, golden):
            refused.append(f"{kind}: its output changed, but its version did not; raise that")
        elif golden is None or not same(found, golden):
            write(kind, found)
            print(f"wrote {kind}")
    if refused:
        sys.exit("\n".join(["not written:", *refused]))


if __name__ == "__main__":
    main(sys.argv[1:])
