from __future__ import annotations

import pytest

from curate.methods.operators import calculates, kernel


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2+2=", "2+2"),
        ("What is 2 + 2?", "whatis2+2"),
        ("2 - 2", "2-2"),
        ("2 \u2212 2", "2-2"),
        ("- 2+2", "2+2"),
        ("-5 + 3", "-5+3"),
        ("a well-known fact", "awellknownfact"),
        ("x-y", "x-y"),
        ("a<b", "a<b"),
        ("<b>bold</b>", "bboldb"),
        ("6 \u00f7 3", "6\u00f73"),
        ("", ""),
        ("+", ""),
    ],
)
def test_kernels(text, expected):
    assert kernel(text) == expected


def test_what_can_calculate():
    assert [calculates(text) for text in ("2", "x or y", "a cat", "hello", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
