"""Final answers against the reference, by reading them: exact, and without a model."""

from __future__ import annotations

import pyarrow as pa

from curate.arrays import one_chunk
from curate.methods.solutions import final_answer, number_of, same_answer
from curate.stage import Context, Result, Stage
from curate.stages.live import judged_by


class CheckAnswer(Stage, name="check_answer"):
    r"""Append whether each live candidate's final answer is the reference's, as 1 or 0.

    An answer is what the last `\boxed{...}`, `#### ...`, `A: ...`, `Answer: ...` or `the answer is
    ...` marks; the reference is one itself, or a solution that marks one. Numbers are compared as
    exact fractions, other texts but for case and spaces; algebra is not done. A solution that marks
    no answer (cut off, as a rule), or something else where the reference is a number, is a
    `parse_error` without a score. Rows without a reference get no judgment.
    """

    needs = ("reference", "candidates")
    appends = ("judgments",)

    name: str = "answer"
    """The judge's name in the judgments."""

    def apply(self, view: pa.Table, ctx: Context) -> Result:
        """Return the new judgments."""
        return {
            "judgments": judged_by(
                ends_right, reference_answers(view), view["candidates"],
                judge=self.name, aspect="correct",
            )
        }  # fmt: skip


def reference_answers(view: pa.Table) -> list[str | None]:
    """Return each row's reference answer: what it marks, or all of it where it marks none."""
    texts = one_chunk(view["reference"]).to_pylist()
    return [(final_answer(text) or text) if text and text.strip() else None for text in texts]


def ends_right(text: str, wanted: str | None) -> bool | None:
    """Whether a solution's final answer is the wanted one.

    None where one of them is not there, or a number is wanted and no number can be read.
    """
    found = final_answer(text)
    if found is None or wanted is None:
        return None
    unread = number_of(wanted) is not None and number_of(found) is None
    return None if unread else same_answer(found, wanted)
