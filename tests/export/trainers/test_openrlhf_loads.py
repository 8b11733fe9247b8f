"""OpenRLHF's RewardDataset over its form, for a reward model and for DPO."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from trainer_rows import (
    CHOSEN,
    MARGINS,
    REJECTED,
    asked,
    byte_tokenizer,
    exported,
    hold_to_record,
    loaded,
    needs,
)

needs("openrlhf")


@pytest.mark.parametrize("is_dpo", [False, True])
def test_pairs_with_their_margins(tmp_path: Path, is_dpo: bool) -> None:
    from openrlhf.datasets.reward_dataset import RewardDataset

    told = SimpleNamespace(
        prompt_key="prompt", chosen_key="chosen", rejected_key="rejected", apply_chat_template=True
    )
    strategy = SimpleNamespace(args=SimpleNamespace(data=told))
    tokenizer = byte_tokenizer()
    data = RewardDataset(
        loaded(exported(tmp_path, "openrlhf")), tokenizer, 4096, strategy,
        is_dpo=is_dpo, num_processors=1,
    )  # fmt: skip
    records = [data[number] for number in range(len(data))]
    assert len(records) == len(CHOSEN)
    for number, (chosen, _, rejected, _, extra) in enumerate(records):
        assert tokenizer.decode(chosen[0]) == asked(number) + CHOSEN[number] + "<|im_end|>"
        assert tokenizer.decode(rejected[0]) == asked(number) + REJECTED[number] + "<|im_end|>"
        prompt_size = len(tokenizer(asked(number), add_special_tokens=False)["input_ids"])
        assert extra == (prompt_size if is_dpo else MARGINS[number] or 0)
    assert data.collate_fn(records)[0].shape[0] == len(CHOSEN)
    hold_to_record("openrlhf", "OpenRLHF", "openrlhf")
