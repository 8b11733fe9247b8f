import pytest

from curate.printable import printable


@pytest.mark.parametrize(
    ("text", "marked", "blank"),
    [
        ("plain  text", "plain  text", "plain text"),
        ("a\x1b[2Jb", "a[U+001B][2Jb", "a [2Jb"),
        ("one\ntwo\u2028three", "one[U+000A]two[U+2028]three", "one two three"),
        ("safe\u202etxt.exe", "safe[U+202E]txt.exe", "safe txt.exe"),
        ("zero\u200bwidth", "zero[U+200B]width", "zero width"),
        ("größer 大", "größer 大", "größer 大"),
        ("", "", ""),
    ],
)
def test_nothing_reaches_a_terminal_that_does_not_print(text, marked, blank):
    assert printable(text) == marked
    assert printable(text, mark=False) == blank
