"""Code that models wrote, run against the row's tests in a sandbox, where the pipeline says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from curate.errors import ConfigError, StageError
from curate.meter import PROGRAMS
from curate.methods.code import hash_of_tests, python_of
from curate.methods.columns import base_column, values_of
from curate.sandbox import Ended, Isolation, Limits, run_tests
from curate.schema import DROP, JudgmentStatus
from curate.stage import Context, Result, Runtime, Stage
from curate.stages.live import judged, live_candidates
from curate.threads import in_order

Program = tuple[str | None, str]
"""A solution (None: stubs in its place) and its tests."""

_SCORES = {"passed": 1.0, "failed": 0.0}


class RunsCode(Stage):
    """A stage that runs a row's tests, once the pipeline says that it may."""

    tests: str = "meta.tests"
    """The column that holds a row's tests, one text or a list of them; "meta.KEY" is a key of the
    source's own columns."""
    allow_code: Runtime[bool] = False
    """Must be true: this stage runs code that others or models wrote on this machine."""
    isolation: Runtime[Isolation] = "namespaces"
    """How code is kept from harm; with "machine" you say that this machine is itself a sandbox."""
    limits: Limits = Limits()
    """What a program may use: seconds (of CPU), wall_seconds, memory_mb, file_mb, processes,
    open_files."""
    at_once: Runtime[int] = Field(4, ge=1)
    """Programs that run beside each other."""

    def needed(self) -> tuple[str, ...]:
        """Need the column of the tests, and what else the stage needs."""
        return (*self.needs, base_column(self.tests))

    def _ended(self, programs: Sequence[Program], ctx: Context) -> dict[Program, Ended]:
        """Run each distinct program once and return how each ended."""
        distinct, meter = list(dict.fromkeys(programs)), ctx.meters.of(PROGRAMS)
        meter.asked(len(distinct))

        def run(program: Program) -> Ended:
            found = run_tests(*program, self.limits, self.isolation)
            meter.ended()
            return found

        endings = in_order(run, distinct, self.at_once, 2 * self.at_once)
        return dict(zip(distinct, endings, strict=True))


class CheckTests(RunsCode, name="check_tests"):
    """Drop rows without tests, or whose tests test nothing; put it before answers are paid for.

    Tests are Python, with asserts as a rule, and run after the solution in one module. Here they
    run with a stub in the place of every name that they do not define, which returns None: tests
    that pass so say nothing about a solution (the check that SelfCodeAlign's self-written tests
    want, Wei et al. 2024). Code is run, see `run_tests`.
    """

    needs = ("id",)
    writes = ("tests_hash",)

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the tests' hashes and who is dropped. Raises ConfigError without permission."""
        permitted(self.kind, self.allow_code)
        tests = row_tests(view, self.tests)
        found = self._ended([(None, t) for t in tests if t], ctx)
        return {
            "tests_hash": pa.array([hash_of_tests(t) if t else None for t in tests], pa.string()),
            DROP: pa.array([_fault(t, found.get((None, t or ""))) for t in tests], pa.string()),
        }


class RunTests(RunsCode, name="run_tests"):
    """Append whether each live candidate's program passes its row's tests, as 1 or 0.

    The program is the answer's last Python block that defines something. It runs with the tests in
    a process of its own: without network, files, secrets or privileges, within `limits`, and is
    killed for sure (docs/sandbox.md says what this keeps out and what not). A raised
    exception is a 0. What gave no verdict has no score: a program that ran out of time or memory
    or was killed is `truncated`, and an answer without a program, or whose program ends before
    its tests, is a `parse_error`; the judgment's text says which.

    A pair of an answer that passes and one that fails on the same tests is preference data
    without a judge (as in SelfCodeAlign, Wei et al. 2024): `combine` and
    `best_worst`. One that sets out to deceive its tests can do so, as both share a process.
    """

    needs = ("id", "candidates")
    appends = ("judgments",)

    name: str = "tests"
    """The judge's name in the judgments."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments. Raises ConfigError without permission."""
        permitted(self.kind, self.allow_code)
        tests, live = row_tests(view, self.tests), live_candidates(view["candidates"])
        live = live.of_rows(np.array([text is not None for text in tests], dtype=bool))
        row, texts = live.row, live.texts.to_pylist()
        programs = [
            (python_of(t), tests[i] or "") for t, i in zip(texts, row.tolist(), strict=True)
        ]
        some = [program for program in programs if program[0] is not None]
        found = self._ended(some, ctx)
        endings = [found.get(program) for program in programs]
        for one in endings:
            ctx.counts[f"programs: {one.how if one else 'none'}"] += 1
        score = [_score(one) for one in endings]
        return {
            "judgments": judged(
                len(view),
                row,
                judge=self.name,
                aspect="passed",
                a=pa.array(live.place),
                score=pa.array(score, pa.float32()),
                status=[_status(one) for one in endings],
                text=["no program" if one is None else said(one) for one in endings],
            )
        }


def permitted(kind: str, allowed: bool) -> None:
    """Raise ConfigError where the pipeline does not say that code may be run."""
    if not allowed:
        raise ConfigError(
            f"`{kind}` runs code that others wrote on this machine, and does so only where the "
            "pipeline says `allow_code: true`; docs/sandbox.md says what that means"
        )


def row_tests(view: pa.Table, name: str) -> list[str | None]:
    """Return each row's tests as one text, None where it has none.

    Raises StageError where what the column holds is neither a text nor a list of texts.
    """
    return [_joined(value, name) for value in values_of(view, name)]


def said(one: Ended) -> str:
    """Return how a program ended as one line, which never differs between runs."""
    return f"{one.how}: {one.detail}" if one.detail else one.how


def _joined(value: Any, name: str) -> str | None:
    given = [value] if isinstance(value, str) else value
    if given is None:
        return None
    if not (isinstance(given, list) and all(isinstance(text, str) for text in given)):
        raise StageError(f"run_tests: `{name}` must hold a text or a list of texts a row")
    joined = "\n".join(given)
    return joined if joined.strip() else None


def _fault(tests: str | None, stubbed: Ended | None) -> str | None:
    """Return why a row's tests are of no use; a stub that never ends says nothing about them."""
    if tests is None or stubbed is None:
        return "no tests"
    if stubbed.how == "passed":
        return "the tests pass without a solution"
    wrong = stubbed.how == "failed" and stubbed.detail in ("SyntaxError", "IndentationError")
    return f"the tests are no Python: {stubbed.detail}" if wrong else None


def _score(one: Ended | None) -> float | None:
    return None if one is None else _SCORES.get(one.how)


def _status(one: Ended | None) -> JudgmentStatus:
    if one is None or one.how == "no_verdict":
        return "parse_error"
    return "ok" if one.how in _SCORES else "truncated"
