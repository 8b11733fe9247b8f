"""Replies of no use: counted by every stage that asks an engine, and said first on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.loop import run
from curate.pipeline import Pipeline
from curate.replies import Replies, in_words, replies
from curate.report import gather, report
from curate.report.findings import findings
from curate.report.page import _coded

pytest.importorskip("vl_convert", reason="needs the extra `report`")

PIPELINE = """
name: bad
source: {jsonl: {path: PATH, shard_rows: 20, columns: {id: id, prompt: prompt, chosen: chosen,
  rejected: rejected}}}
engines:
  good: {scripted: {model: good, replies: ["[[A]]", "[[B]]"]}}
  vague: {scripted: {model: vague, replies: ["It depends."]}}
stages:
  - judge_pairs: {engine: good}
  - judge_pairs: {engine: vague, name: vague}
  - rationale: {engine: vague}
export: null
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("replies")
    path = made / "rows.jsonl"
    rows = [
        {"id": f"r{k}", "prompt": f"q{k}", "chosen": f"yes {k}", "rejected": f"no {k}"}
        for k in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(Pipeline.loads(PIPELINE.replace("PATH", str(path))), made)
    return made


def test_a_step_says_how_many_and_what_to_do(root: Path) -> None:
    said = [one.text for one in findings(gather(root, "bad"))]
    found = [text for text in said if "replies" in text]
    assert [text.split(":")[0] for text in found] == [
        "of the stage judge_pairs 2 (vague) all 80 replies are of no use",
        "of the stage rationale all 40 replies are of no use",
    ]
    assert all("of no use: they could not be read." in text for text in found)
    assert all("`structured: true`" in text for text in found)
    assert all("`curate show bad --id ID` has a row's" in text for text in found)
    assert not any("without a score" in text for text in said)  # the same, said once
    page = report(root, "bad")
    assert "<code>structured: true</code> holds" in page
    assert page.index("Of the stage rationale all 40") < page.index("What became of the rows")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"replies: ok": 90, "replies: truncated": 10}, None),
        ({"replies: ok": 3, "replies: parse_error": 1}, None),  # chance may do that
        (
            {"replies: ok": 50, "replies: not_applicable": 10, "replies: truncated": 900,
             "replies: contradiction": 300, "replies: refused": 2},
            "1,202 of 1,262 replies (95%) are of no use: 900 were cut off, 300 speak for the "
            "rejected answer. Raise `sampling.max_tokens`",
        ),
        ({"calls": 100, "errors": 60, "too_long": 1},
         "61 of 100 replies (61%) are of no use: 60 are calls that failed. Mend the engine"),
        ({"replies: odd": 9}, "all 9 replies are of no use: they were of no use for another"),
        ({"rows kept": 5}, None),
    ],
)  # fmt: skip
def test_counters_in_words(counts: dict[str, int], words: str | None) -> None:
    had = replies(counts)
    step = {
        "stage": "s",
        "name": "s",
        "judges": (),
        "about": "",
        "rows_in": 9,
        "dropped": {},
        "failed": {},
    }
    facts = {
        "name": "nightly-0", "engines": [],
        "funnel": [step | {"replies": had}], "stages": [], "audit": None, "calibration": None,
        "removed": {"duplicates": [], "contamination": []}, "leanings": {"agreement": []},
        "summary": {"judges": [], "models": [], "longer": None, "cut": None, "spreads": {}},
    }  # fmt: skip
    said = [one.text for one in findings(facts)]
    assert len(said) == (words is not None)
    if words is not None:
        assert said[0].startswith(f"of the stage s {words}")
        assert had is not None
        assert in_words(had, "nightly-0") in said[0]


def test_code_on_the_page_is_escaped() -> None:
    assert str(_coded("a `<b>` ` c")) == "a <code>&lt;b&gt;</code> ` c"
    assert str(_coded("`<i>`")) == "<code>&lt;i&gt;</code>"


def test_what_was_not_asked_has_no_replies() -> None:
    assert replies({}) is None
    assert replies({"calls": 4}) == Replies(4, {})
