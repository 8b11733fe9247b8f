"""A link whose file is gone is an error: its rows would leave the next dataset unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.errors import InputError
from curate.sources.files import find
from curate.sources.messages import turns
from curate.sources.values import Raw, text_or_null


@pytest.mark.parametrize("pattern", ["*.jsonl", "b.jsonl"])
def test_a_link_to_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('{"prompt": "a"}\n')
    Path("moved").write_text('{"prompt": "b"}\n')
    Path("b.jsonl").symlink_to("moved")
    assert "b.jsonl" in find(pattern)
    Path("moved").unlink()
    with pytest.raises(InputError, match=r"^b\.jsonl is a link to moved, where nothing is; bring"):
        find(pattern)


def test_folders_among_the_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl").mkdir()
    assert find(str(tmp_path / "*.jsonl")) == [str(tmp_path / "a.jsonl")]


def test_types_are_named_as_files_have_them() -> None:
    row = Raw({"id": None, "prompt": ["a"], "text": [3]}, "x.jsonl, row 1")
    with pytest.raises(InputError, match=r"list of \{role, content\}, not a list with str; fix"):
        turns(row, "prompt", row.values["prompt"])
    with pytest.raises(InputError, match="content must be text, not null; remove"):
        turns(row, "prompt", [{"role": "user", "content": None}])
    with pytest.raises(InputError, match="must be text, not list; fix"):
        text_or_null(row, "text")
