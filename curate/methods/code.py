"""Finding the program in an answer, and what a row's tests are: texts only, nothing is parsed.

Python's own parser is kept away from texts of models: it runs in the sandbox, with the rest.
"""

from __future__ import annotations

import hashlib
import re

# Possessive, so that a line of any length is read once.
_FENCE = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)[ \t]*+([\w+.-]*+)[^\n`]*+$", re.M)
_PYTHON = {"", "py", "python", "python3"}
_DEFINES = re.compile(r"^(?:async +def|def|class) +\w+ *[(:[]", re.M)


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Return (language in lower case, content) of every closed fenced block, in order.

    A fence of n marks ends at one of n or more of the same kind without a language.
    """
    blocks, opened = [], None
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened = mark
        elif mark[1].startswith(opened[1]) and not mark[2]:
            blocks.append((opened[2].lower(), text[opened.end() + 1 : mark.start()]))
            opened = None
    return blocks


def python_of(text: str) -> str | None:
    """Return the Python program that an answer gives, or None.

    That is its last Python block that defines a function or class at the left margin (an answer
    that corrects itself does so further down; an example of use defines nothing), else its last
    Python block. Blocks without a language count as Python. An answer without any fence is a
    program itself where it defines something.
    """
    blocks = [content for language, content in code_blocks(text) if language in _PYTHON]
    defining = [content for content in blocks if _DEFINES.search(content)]
    if blocks:
        return (defining or blocks)[-1]
    return text if not _FENCE.search(text) and _DEFINES.search(text) else None


def hash_of_tests(tests: str) -> str:
    """Return what tells tests apart: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(tests.encode("utf-8", "surrogatepass")).hexdigest()[:16]
