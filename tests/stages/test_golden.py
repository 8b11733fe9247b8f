"""What every built-in stage makes of one small fixed input, so that no output changes unseen.

Code is not hashed into a part's key: a stage whose output changes must raise its `version`, or
users keep parts of the old kind among the new. After that, `python tests/stages/test_golden.py`
writes golden/<kind>.json anew (kinds may be named); it refuses an output that changed under an
unchanged version.

A new stage needs nothing here where the fields in test_contract.py and the rows below suit it;
otherwise give it an entry in FIELDS or ROWS.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xxhash
from test_contract import BUILT_IN, SMALL, needs_extra

from curate.arrays import lists
from curate.engines.scripted import Scripted
from curate.schema import COLUMNS, DROP, FAIL
from curate.stage import Context, Stage, stage_registry
from curate.stages.claims import CLAIM
from curate.work import check_result

GOLDEN = Path(__file__).with_name("golden")
HERE = str(Path(__file__).parent)
TOPICS = ("tides", "bread", "sonnets", "gears", "maps", "bees", "glass", "drums")
PROMPTS = [f"Explain to a curious child how {topic} came to be what they are" for topic in TOPICS]
PROMPTS += ["explain to a curious child how bread came to be what they are!", PROMPTS[0], "", "no"]

FIELDS: Mapping[str, Mapping[str, object]] = {
    "diverse": {"keep": 5},
    "near_dedup": {"threshold": 0.6},
    "min_score": {"at_least": 1.5},
    "bound": {"column": "tags", "mean_by": "reference", "at_least": 2, "to": "mean_tags"},
    "cluster": {"clusters": 3, "min_rows": 2},
    "cover": {"keep": 6},
    "merge_tags": {"min_rows": 2, "confidence": 0.9, "support": 2},
    "tag": {"choices": {"amber": "it shines", "basin": "it holds"}},
    "split": {"parts": {"train": 0.5, "test": 0.5}},
    "route": {
        "by": "tags",
        "to": {
            "tide": {"relevance": {"per_words": 5}},
            "Poem": {"judge": {"engine": "small", "score": "expected"}},
        },
        "otherwise": "relevance",
    },
    "route_pairs": {
        "coefficients": {"tide": 0.5, "Poem": 0.2, "longer_words=low": 0.1, "C++": -1.0},
        "tags": "tags",
        "budget": 0.3,
    },
    "drop_quotes": {"of": ["reference"], "words": 3},
    "overrule": {"judge": "duel"},
    "system_message": {"column": "reference"},
    "write": {"template": "write_criteria", "to": "criteria", "form": "list"},
    "margin": {"at_least": 1.0},
    "cap_pairs": {"most": 3},
    "check_scores": {"value": 5},
    "continue_steps": {"n": 2},
    "label_steps": {"min_tries": 2},
    "pair_steps": {"min_tries": 1},
    "goals": {"high": 5, "text": "worth {goal}"},
    "judge": {"rubric": ["helpfulness", "honesty"], "score": "expected"},
    "judge_pairs": {"verdict": "log_odds", "min_mass": 0.0},
}
"""Fields that differ from those of test_contract.py."""


LATER = ("scale",)
"""Fields of the row's types that are younger than the first golden outputs."""


def noise(*seed: object) -> float:
    """Return a fixed number in [0, 1) for the seed."""
    return xxhash.xxh3_64_intdigest(repr(seed).encode()) / 2**64


def usual(rows: int = 12) -> pa.Table:
    """Rows with everything: repeated prompts, three judges, ties, a dropped answer, a failure."""
    data: dict[str, list[Any]] = {name: [] for name in COLUMNS if name != "rationale_orders"}
    for i in range(rows):
        topic = TOPICS[i % 8]
        answers = [f"{topic} {'are old and ' * k}of many kinds {i * k}." for k in range(4)]
        data["id"].append(f"r{i}")
        data["prompt"].append([{"role": "user", "content": PROMPTS[i % 12]}])
        data["reference"].append(None if i % 3 else f"{topic} are old.")
        data["meta"].append(json.dumps({"label": i % 2, "source": "here"}))
        data["candidates"].append(
            [
                {"text": text, "model": f"m{k % 3}", "finish_reason": "stop",
                 "tokens": 5 + 3 * k, "drop": "empty" if (i, k) == (3, 1) else None}
                for k, text in enumerate(answers)
            ]
        )  # fmt: skip
        data["judgments"].append(judged(i))
        data["scores"].append([round(4 * noise("score", i, k), 2) for k in range(4)])
        data["score_std"].append([round(noise("std", i, k), 2) for k in range(4)])
        margin = round(3 * noise("margin", i), 2)
        pair = {"chosen": (i + 1) % 4, "rejected": i % 4, "margin": margin, "source": "best_worst"}
        if i % 3:
            pair["p_correct"] = round(0.4 + 0.6 * noise("p", i), 2)
        lost = {**pair, "chosen": (i + 2) % 4, "drop": "margin below 1.0"}
        data["pairs"].append([pair, lost] if i % 2 else [pair])
        data["rationales"].append(["because it says more"] * len(data["pairs"][-1]))
        data["steps"].append([{"candidate": 0, "text": answers[0], "right": True, "tries": 2}])
        data["step_pairs"].append([{"chosen": "a", "rejected": "b"}] * len(data["pairs"][-1]))
        data["goals"].append([str(k + 1) for k in range(4)])
        data["split"].append("train")
        data["other_prompt"].append([{"role": "user", "content": f"Explain {topic} again"}])
    columns = {name: pa.array(values, COLUMNS[name]) for name, values in data.items()}
    vectors = [round(noise("vector", i % 9, j) - 0.5, 3) for i in range(rows) for j in range(4)]
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors, pa.float32()), 4)
    each = [round(noise("answer", i, j) - 0.5, 3) for i in range(rows) for j in range(16)]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(each, pa.float32()), 4)
    columns["answer_vectors"] = lists([4] * rows, vectors)
    tags = ("Poem", "poems", "tide", "tide table", "bee-keeping", "C++")
    given = [None if i == 5 else [t for t in tags if noise(t, i) < 0.4] for i in range(rows)]
    columns["tags"] = pa.array(given, pa.list_(pa.string()))
    columns["claims"] = pa.array([claimed(i) for i in range(rows)], pa.list_(CLAIM))
    asked = [[], ['["no_commas"]', '["words_at_least", 6]'], ['["no_digits"]']]
    columns["constraints"] = pa.array([asked[i % 3] for i in range(rows)], pa.list_(pa.string()))
    return pa.table(columns)


def judged(row: int) -> list[dict[str, object]]:
    """Two judges of single answers, one of pairs in both orders; some of it unusable."""
    found: list[dict[str, object]] = []
    for judge in ("j", "k"):
        for a in range(4):
            bad = noise("bad", judge, row, a) < 0.1
            score = None if bad else float(int(1 + 5 * noise(judge, row, a)))
            status = "parse_error" if bad else "ok"
            found.append({"judge": judge, "aspect": "s", "a": a, "score": score, "status": status,
                          "text": str(score)})  # fmt: skip
    for a in range(4):
        for b in range(a + 1, 4):
            lead = 1.0 if noise("duel", row, a, b) < 0.6 else -1.0
            found += [
                {"judge": "duel", "aspect": "s", "a": a, "b": b, "order": order, "score": lead,
                 "status": "ok", "text": "A"}
                for order in ("ab", "ba")
            ]  # fmt: skip
    return found


def claimed(row: int) -> list[dict[str, object]]:
    """A claim or two of each answer, one question twice; one answer's could not be read."""
    found: list[dict[str, object]] = []
    for a in range(4):
        if noise("claims", row, a) < 0.1:
            found.append({"a": a, "status": "parse_error"})
            continue
        found += [
            {"a": a, "text": f"It is {n}.", "question": f"What is {n}?", "answer": "amber",
             "status": "ok"}
            for n in ({row, a} if a else ())
        ]  # fmt: skip
    return found


REPLIES: Mapping[str, Sequence[str]] = {
    "rationale": ("It is old.\n[[A]]", "It is of many kinds.\n[[B]]", "It is neither."),
}
"""Answers of the engine, where those of hashed words would all be unreadable."""


def repeated() -> pa.Table:
    """The usual rows, and two of them again."""
    return pa.concat_tables([usual(), usual().slice(4, 2)])


def leaked() -> pa.Table:
    """The usual rows, one of which asks what the benchmark in tiny_benchmark.jsonl asks."""
    item = json.loads(Path(HERE, "tiny_benchmark.jsonl").read_text().splitlines()[0])
    table = usual()
    prompts = table["prompt"].to_pylist()
    prompts[5] = [{"role": "user", "content": item["prompt"]}]
    place = table.column_names.index("prompt")
    return table.set_column(place, "prompt", pa.array(prompts, COLUMNS["prompt"]))


def talks() -> pa.Table:
    """The usual rows, with an answer and another turn in every other conversation."""
    table, more = usual(), [{"role": "assistant", "content": "Because."}]
    more.append({"role": "user", "content": "That says nothing."})
    prompts = table["prompt"].to_pylist()
    prompts = [turns + more if k % 2 else turns for k, turns in enumerate(prompts)]
    place = table.column_names.index("prompt")
    return table.set_column(place, "prompt", pa.array(prompts, COLUMNS["prompt"]))


def with_programs() -> pa.Table:
    """The usual rows, some with tests, and answers in code that pass, fail or do not end well."""
    table = usual(3)
    programs = ["def f(x): return x + 1", "def f(x): return 2", "import os; os._exit(0)"]
    texts = ["No code.", *(f"```python\n{program}\n```" for program in programs)]
    candidates = [[{"text": text, "model": "m"} for text in texts]] * 3
    meta = [{"tests": ["assert f(1) == 2", "assert f(2) == 3"]}, {"tests": "f(1)"}, {}]
    for name, values in (("candidates", candidates), ("meta", [json.dumps(m) for m in meta])):
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, COLUMNS[name]))
    return table


def solved() -> pa.Table:
    """The usual rows with solutions in steps, some of which begin alike."""
    table = usual(4)
    texts = ["3 + 4 = 7\n7 * 2 = 14\nA: 14", "3 + 4 = 7\n7 + 2 = 9\nA: 9", "3 * 4 = 12\n\nA: 12"]
    texts.append("3 + 4 = 7\nand so on")
    candidates = [[{"text": text, "model": "m"} for text in texts]] * 4
    references = ["7 * 2 = 14\n#### 14", "14.0", None, "9 tides"]
    scores = [[1.0, 0.0, 0.0, None], [1.0, 0.0, 0.0, 0.0], [None] * 4, [0.0, 1.0, 0.0, None]]
    for name, values in (
        ("candidates", candidates), ("reference", references), ("scores", scores),
    ):  # fmt: skip
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, COLUMNS[name]))
    return table


ROWS: Mapping[str, Callable[[], pa.Table]] = {
    "embed": lambda: usual(2),
    "unique_id": repeated,
    "decontaminate": leaked,
    "check_tests": with_programs,
    "run_tests": with_programs,
    "check_answer": solved,
    "continue_steps": solved,
    "label_steps": solved,
    "pair_steps": solved,
    "find_feedback": talks,
}
"""Rows that differ from `usual`."""


def make(kind: str) -> Stage:
    cls = stage_registry.get(kind)
    fields = dict(SMALL.get(kind, {})) | dict(FIELDS.get(kind, {}))
    if "engine" in cls.model_fields:
        fields["engine"] = "small"
    return cls.model_validate(fields)


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
