"""torchtune's preference_dataset over its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer_rows import (
    CHOSEN,
    PROMPTS,
    REJECTED,
    byte_tokenizer,
    exported,
    hold_to_record,
    needs,
    the_file,
    trained_on,
)

needs("torchtune")


class Turns:
    """Its model tokenizers ask for files of a model; this one writes a turn as <role>text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def tokenize_messages(self, messages: list[Any]) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        masked: list[bool] = []
        for message in messages:
            turn = self._tokenizer.encode(f"<{message.role}>{message.text_content}")
            ids += turn
            masked += [message.masked] * len(turn)
        return ids, masked


def test_pairs(tmp_path: Path) -> None:
    from torchtune.datasets import preference_dataset

    tokenizer = byte_tokenizer()
    data = preference_dataset(
        Turns(tokenizer), source="parquet", data_files=the_file(exported(tmp_path, "torchtune")),
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert len(data) == len(CHOSEN)
    for number, prompt in enumerate(PROMPTS):
        for side, answers in (("chosen", CHOSEN), ("rejected", REJECTED)):
            turns = [*prompt, {"role": "assistant", "content": answers[number]}]
            ids, labels = data[number][f"{side}_input_ids"], data[number][f"{side}_labels"]
            written = [f"<{turn['role']}>{turn['content']}" for turn in turns]
            assert tokenizer.decode(ids) == "".join(written)
            learnt = [text for text in written if text.startswith("<assistant>")]
            assert trained_on(ids, labels, tokenizer) == "".join(learnt)
    hold_to_record("torchtune", "torchtune", "torchtune")
