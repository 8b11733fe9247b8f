"""Conversations as one text, in the form of HH-RLHF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from reading import jsonl, load

from curate.errors import InputError
from curate.sources.columns import Columns
from curate.sources.files import Parquet
from curate.sources.transcripts import ROLES, spoken
from curate.sources.values import Raw

IMPLICIT = {
    "prompt": None, "chosen": "chosen", "rejected": "rejected",
    "transcripts": ["chosen", "rejected"],
}  # fmt: skip
ASKED = "\n\nHuman: Is it late?"
BEGUN = f"{ASKED}\n\nAssistant: Yes.\n\nHuman: How late?\n\nAssistant:"


def read(
    folder: Path, *rows: dict[str, Any], columns: dict[str, Any] = IMPLICIT
) -> list[dict[str, Any]]:
    return jsonl(folder, *rows, **columns)


def said(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in row["prompt"]]


def answers(row: dict[str, Any]) -> list[str]:
    return [candidate["text"] for candidate in row["candidates"]]


def test_the_prompt_is_what_both_begin_with(tmp_path: Path) -> None:
    rows = [
        {"chosen": f"{ASKED}\n\nAssistant: No.", "rejected": f"{ASKED}\n\nAssistant: Human: yes"},
        {"chosen": f"{BEGUN} Ten.\n\nOr so.", "rejected": f"{BEGUN}  Go.\nHuman: eh\n"},
    ]
    one, several = read(tmp_path, *rows)
    assert said(one) == [("user", "Is it late?")]
    assert answers(one) == ["No.", "Human: yes"]  # no turn: it does not stand behind an empty line
    late = [("user", "Is it late?"), ("assistant", "Yes."), ("user", "How late?")]
    assert said(several) == late
    assert answers(several) == ["Ten.\n\nOr so.", " Go.\nHuman: eh\n"]
    assert several["pairs"][0]["chosen"] == 0
    assert [row["meta"] for row in (one, several)] == ["{}", "{}"]
    assert "drop" not in one


def test_messages_and_transcripts_are_the_same_rows_from_any_format(tmp_path: Path) -> None:
    user, yes, how, ten, none = (
        {"role": role, "content": content}
        for role, content in (
            ("user", "Is it late?"), ("assistant", "Yes."), ("user", "How late?"),
            ("assistant", "Ten."), ("assistant", "No idea."),
        )
    )  # fmt: skip
    messages = {"chosen": [user, yes, how, ten], "rejected": [user, yes, how, none]}
    texts = {"chosen": f"{BEGUN} Ten.", "rejected": f"{BEGUN} No idea."}
    expected = read(tmp_path, messages, columns=IMPLICIT | {"transcripts": []})
    assert read(tmp_path, texts) == expected
    nested = {name: f"data.{name}" for name in ("chosen", "rejected")}
    columns = IMPLICIT | nested | {"transcripts": list(nested.values())}
    assert read(tmp_path, {"data": texts}, columns=columns) == expected
    for kind in (pa.string(), pa.large_string()):
        table = pa.table({name: pa.array([text], kind) for name, text in texts.items()})
        pq.write_table(table, tmp_path / "rows.parquet")
        source = Parquet(path=str(tmp_path / "rows.parquet"), columns=Columns(**IMPLICIT))
        assert load(source) == expected


def test_a_prompt_of_its_own_may_end_with_the_assistants_mark(tmp_path: Path) -> None:
    columns = IMPLICIT | {"prompt": "prompt", "transcripts": "prompt"}
    row = {"prompt": BEGUN, "chosen": " Ten.", "rejected": "No."}
    (found,) = read(tmp_path, row, columns=columns)
    assert [role for role, _ in said(found)] == ["user", "assistant", "user"]
    assert answers(found) == [" Ten.", "No."]
    (found,) = read(tmp_path, row | {"prompt": f"{BEGUN} Well,"}, columns=columns)
    assert said(found)[-1] == ("assistant", "Well,")
    only = {"prompt": "prompt", "transcripts": ["prompt"]}
    both = read(tmp_path, {"prompt": BEGUN}, {"prompt": "Human: hm"}, columns=only)
    assert [len(row["prompt"]) for row in both] == [3, 1]
    pq.write_table(pa.table({"prompt": [BEGUN, "Human: hm"]}), tmp_path / "rows.parquet")
    source = Parquet(path=str(tmp_path / "rows.parquet"), columns=Columns(**only))
    assert load(source) == both
    whole = IMPLICIT | {"prompt": "prompt", "transcripts": ["prompt", "chosen", "rejected"]}
    texts = {"chosen": f"{BEGUN} Ten.", "rejected": "\n\nAssistant: No."}
    (found,) = read(tmp_path, {"prompt": BEGUN} | texts, columns=whole)
    assert answers(found) == ["Ten.", "No."]
    other = texts | {"prompt": "Human: Why?"}
    (found,) = read(tmp_path, other, columns=whole)
    assert found["drop"] == "chosen or rejected does not continue the prompt"


@pytest.mark.parametrize(
    ("chosen", "rejected", "pair", "row", "turns"),
    [
        (None, f"{BEGUN} Ten.", "chosen is null", None, 3),
        (f"{BEGUN} Ten.", " \n", "rejected is empty", None, 3),
        (f"{BEGUN} ", f"{BEGUN} Ten.", "chosen is empty", None, 3),
        (f"{BEGUN}", f"{BEGUN}\n", "chosen is empty", None, 3),
        (None, "", "chosen is null", "prompt is empty", 0),
        ("Assistant: Hi.", "Assistant: Ho.", None, "prompt is empty", 0),
        ("Human: \n\nAssistant: Hi.", "Human: \n\nAssistant: Ho.", None, "prompt is empty", 1),
        (f"{BEGUN} a\ud800", f"{BEGUN} b", "chosen is not valid Unicode", None, 3),
        (
            f"{ASKED}\n\nAssistant: No.", f"{BEGUN} Ten.", None,
            "chosen and rejected differ before the last answer", 1,
        ),
        (
            "Human: a\n\nAssistant: x", "Human: b\n\nAssistant: y", None,
            "chosen and rejected differ before the last answer", 0,
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_a_pair_has_a_reason(
    tmp_path: Path,
    chosen: str | None,
    rejected: str | None,
    pair: str | None,
    row: str | None,
    turns: int,
) -> None:
    (found,) = read(tmp_path, {"chosen": chosen, "rejected": rejected})
    assert (found["pairs"][0]["drop"], found.get("drop")) == (pair, row)
    assert len(found["prompt"]) == turns


@given(st.lists(st.tuples(st.sampled_from(sorted(ROLES)), st.text()), min_size=1, max_size=5))
def test_turns_that_quote_no_mark_come_back_as_they_were(turns: list[tuple[str, str]]) -> None:
    turns = [(speaker, text.replace("\n\n", "\n ")) for speaker, text in turns]
    text = "".join(f"\n\n{speaker}: {said}" for speaker, said in turns)
    columns = Columns(prompt="p", transcripts="p")
    (row,) = spoken([Raw({"p": text, "more": 1}, "here")], columns)
    expected = [{"role": ROLES[speaker], "content": said} for speaker, said in turns]
    waiting = expected[-1]["role"] == "assistant" and not expected[-1]["content"].strip()
    assert row.values == {"p": expected[:-1] if waiting else expected, "more": 1}


def test_one_speaker_may_speak_twice_as_in_lists_of_messages(tmp_path: Path) -> None:
    twice = "Human: a\n\nHuman: b\n\nAssistant: c\n\nAssistant:"
    (found,) = read(tmp_path, {"chosen": f"{twice} d", "rejected": f"{twice} e"})
    assert said(found) == [("user", "a"), ("user", "b"), ("assistant", "c")]
    assert answers(found) == ["d", "e"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("It is late.", "is no transcript: it must begin with 'Human:'"),
        ("System: x\n\nHuman: a\n\nAssistant: b", "is no transcript"),
        ("human: a\n\nAssistant: b", "is no transcript"),
        ("Human: a\nAssistant: b", "must end with a message of the assistant"),
        (f"{BEGUN} Ten.\n\nHuman: And?", "must end with a message of the assistant"),
        (3, "must be text, for it is one of `transcripts`, not int"),
        ([{"role": "user", "content": "a"}], "one of `transcripts`, not list"),
    ],
)
def test_a_text_of_another_form_is_never_guessed_at(
    tmp_path: Path, text: object, error: str
) -> None:
    fine = {"chosen": f"{BEGUN} a", "rejected": f"{BEGUN} b"}
    with pytest.raises(InputError) as caught:
        read(tmp_path, fine, fine | {"rejected": text})
    assert error in str(caught.value)
    assert f"{tmp_path / 'a.jsonl'}, row 2: column 'rejected'" in str(caught.value)


def test_texts_without_the_option_and_options_without_sense(tmp_path: Path) -> None:
    row = {"chosen": f"{BEGUN} a", "rejected": f"{BEGUN} b"}
    with pytest.raises(InputError, match="or, as text, one of `transcripts`"):
        read(tmp_path, row, columns=IMPLICIT | {"transcripts": []})
    with pytest.raises(InputError, match="no column 'chosen'; did you mean 'chosn'"):
        read(tmp_path, {"chosn": "x", "rejected": "y"})
    with pytest.raises(ValidationError, match="'answer' is none of the columns"):
        Columns(**IMPLICIT | {"transcripts": ["answer"]})
    assert Columns(**IMPLICIT | {"transcripts": "chosen"}).transcripts == ("chosen",)


def test_a_null_side_of_messages_is_a_reason_too(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    columns = IMPLICIT | {"transcripts": []}
    (found,) = read(tmp_path, {"chosen": turns, "rejected": None}, columns=columns)
    assert found["pairs"][0]["drop"] == "rejected is null"
    assert said(found) == [("user", "a")]
