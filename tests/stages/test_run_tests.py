"""Code against its row's tests: permission, verdicts with their statuses, and what is dropped."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from curate.errors import ConfigError, StageError
from curate.sandbox import Ended, Limits
from curate.schema import CANDIDATES, DROP
from curate.stage import Context
from curate.stages.run_tests import CheckTests, RunTests

ON = {"allow_code": True, "isolation": "machine", "limits": Limits(seconds=1)}
TESTS = ["assert f(1) == 2", "assert f(-1) == 0"]


def rows(*answers: list[str | None], tests: object = TESTS) -> pa.Table:
    made = [
        [{"text": text or "", "drop": None if text is not None else "empty"} for text in row]
        for row in answers
    ]
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(answers))],
            "meta": [json.dumps({"tests": tests})] * len(answers),
            "candidates": pa.array(made, CANDIDATES),
        }
    )


def program(body: str) -> str:
    return f"Sure:\n```python\ndef f(x):\n    {body}\n```"


def judged(view: pa.Table, stage: RunTests | None = None) -> list[list[dict[str, object]]]:
    stage = stage or RunTests.model_validate(ON)
    return stage.apply(view, Context())["judgments"].to_pylist()


def test_every_ending_has_its_score_status_and_text() -> None:
    texts = [
        program("return x + 1"), program("return 2"), program("return y"), "It is easy.",
        program("while True: pass"), None, program("import os; os._exit(0)"),
        program("return bytearray(1 << 40)"),
    ]  # fmt: skip
    ctx = Context()
    made = RunTests.model_validate(ON).apply(rows(texts, [program("return x + 1")]), ctx)
    assert ctx.meters.so_far() == {"programs": (6, 6, 0, 0)}  # distinct ones
    found = made["judgments"].to_pylist()
    assert [(j["a"], j["score"], j["status"], j["text"]) for j in found[0]] == [
        (0, 1.0, "ok", "passed"),
        (1, 0.0, "ok", "failed: AssertionError"),
        (2, 0.0, "ok", "failed: NameError"),
        (3, None, "parse_error", "no program"),
        (4, None, "truncated", "timeout"),
        (6, None, "parse_error", "no_verdict"),
        (7, None, "truncated", "memory"),
    ]
    assert [j["score"] for j in found[1]] == [1.0]
    assert {(j["judge"], j["aspect"], j["b"]) for j in found[0]} == {("tests", "passed", None)}
    assert ctx.counts["programs: passed"] == 2
    assert ctx.counts["programs: none"] == 1


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: object) -> Ended:
        raise AssertionError("code was run")

    monkeypatch.setattr("curate.stages.run_tests.run_tests", never)
    view = rows([program("return 1")])
    for stage in (RunTests(), CheckTests()):
        with pytest.raises(ConfigError, match="allow_code: true"):
            stage.apply(view, Context())


def test_permission_and_place_are_no_part_of_what_is_stored() -> None:
    plain, other = RunTests(), RunTests.model_validate(ON | {"limits": Limits()})
    assert plain.identity() == other.identity()
    assert plain.identity() != RunTests(limits=Limits(seconds=9)).identity()


def test_the_same_program_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def once(code: str, tests: str, limits: Limits, isolation: str) -> Ended:
        seen.append((code, tests))
        return Ended("passed")

    monkeypatch.setattr("curate.stages.run_tests.run_tests", once)
    same = program("return x + 1")
    assert len(judged(rows([same, same], [same]))[0]) == 2
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        (TESTS, None),
        ("assert f(1) == 2", None),
        ("f(1)", "the tests pass without a solution"),
        (["assert True"], "the tests pass without a solution"),
        ([], "no tests"),
        (" \n", "no tests"),
        (None, "no tests"),
        ("assert f(1) ==", "the tests are no Python: SyntaxError"),
        ("import os; os._exit(0)", None),
    ],
)
def test_tests_that_test_nothing_are_dropped(tests: object, reason: str | None) -> None:
    made = CheckTests.model_validate(ON).apply(rows([], tests=tests), Context())
    assert made[DROP].to_pylist() == [reason]
    assert (made["tests_hash"].to_pylist() == [None]) is (reason == "no tests")


def test_rows_without_tests_get_no_judgment_and_odd_tests_are_an_error() -> None:
    assert judged(rows([program("return 1")], tests=None)) == [[]]
    with pytest.raises(StageError, match="text or a list of texts"):
        judged(rows([program("return 1")], tests={"a": 1}))


def test_tests_may_come_from_a_column_of_their_own() -> None:
    view = rows([program("return x + 1")]).append_column("mine", pa.array([TESTS]))
    stage = RunTests.model_validate(ON | {"tests": "mine"})
    assert stage.needed() == ("id", "candidates", "mine")
    assert judged(view, stage)[0][0]["score"] == 1.0
