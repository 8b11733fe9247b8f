"""The fields and the fixed rows that the golden outputs of the built-in stages are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash
from test_contract import SMALL

from curate.arrays import lists
from curate.schema import COLUMNS
from curate.stage import Stage, stage_registry
from curate.stages.claims import CLAIM

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


def thinking() -> pa.Table:
    """A few rows whose answers, but for one a row, begin with what their model thought."""
    rows = usual(4).to_pylist()
    for row in rows:
        for k, candidate in enumerate(row["candidates"]):
            said = candidate["text"]
            candidate["text"] = (
                said, f"<think>Hm.</think>\n\n{said}", f"Well.</think>{said}", f"<think>{said}"
            )[k]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=usual(1).schema)


ROWS: Mapping[str, Callable[[], pa.Table]] = {
    "embed": lambda: usual(2),
    "unique_id": repeated,
    "decontaminate": leaked,
    "check_tests": with_programs,
    "run_tests": with_programs,
    "check_answer": solved,
    "drop_reasoning": thinking,
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
