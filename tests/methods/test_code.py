import pytest

from curate.methods.code import code_blocks, hash_of_tests, python_of

DEF = "def f():\n    return 1\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"Here it is:\n```python\n{DEF}```\nDone.", DEF),
        (f"```\n{DEF}```", DEF),
        (f"~~~py\n{DEF}~~~", DEF),
        (f"````Python\n{DEF}````", DEF),
        (DEF, DEF),
        (f"```python\n{DEF}```\nUse it:\n```python\nprint(f())\n```", DEF),
        (f"```python\ndef f(): pass\n```\nNo, better:\n```python\n{DEF}```", DEF),
        (f"```bash\npip install f\n```\n```python\n{DEF}```", DEF),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```js\nfunction f() {}\n```", None),
        (f"```python\n{DEF}", None),  # cut off: the block never ends
        ("The answer is 7.", None),
        ("I define f as follows: def f", None),
        ("", None),
        (f"````python\n```\n{DEF}```\n````", f"```\n{DEF}```\n"),
        (f"```python\r\n{DEF}```", DEF),
    ],
)
def test_the_program_of_an_answer(text, program):
    assert python_of(text) == program


def test_many_marks_take_no_time():
    assert code_blocks("`" * 100_000) == []
    assert code_blocks("```" + " " * 100_000 + "`") == []
    assert code_blocks("```" + "x" * 100_000 + "`") == []
    assert code_blocks("```\n" * 50_001)[-1] == ("", "")
    assert python_of("def " * 100_000) is None


def test_the_hash_of_tests():
    assert hash_of_tests("assert f()") != hash_of_tests("assert f() ")
    assert len(hash_of_tests("\ud800")) == 16
