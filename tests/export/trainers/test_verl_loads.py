"""verl's RMDataset and RLHFDataset over their forms."""

from __future__ import annotations

from pathlib import Path

from trainer_rows import (
    CHOSEN,
    PROMPTS,
    REJECTED,
    TURNS,
    byte_tokenizer,
    exported,
    hold_to_record,
    needs,
    the_file,
)

needs("verl")


def as_text(number: int) -> str:
    """The trainer sets prompt and answer side by side: a conversation must be one text."""
    if PROMPTS[number] == [TURNS[0]]:
        return TURNS[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in PROMPTS[number])


def test_pairs_for_a_reward_model(tmp_path: Path) -> None:
    from verl.utils.dataset.rm_dataset import RMDataset

    tokenizer = byte_tokenizer()
    path = the_file(exported(tmp_path, "verl-rm"))
    data = RMDataset(path, tokenizer, cache_dir=str(tmp_path / "cache"), max_length=512)
    assert len(data) == len(CHOSEN)
    for number, answers in enumerate(zip(CHOSEN, REJECTED, strict=True)):
        record = data[number]
        sides = zip(record["input_ids"], record["attention_mask"], answers, strict=True)
        for ids, mask, answer in sides:
            assert tokenizer.decode(ids[mask.bool()]) == as_text(number) + answer + "<|im_end|>"
    hold_to_record("verl-rm", "verl", "verl")


def test_prompts_for_reinforcement_learning(tmp_path: Path) -> None:
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    told = {
        "cache_dir": str(tmp_path / "cache"), "prompt_key": "prompt", "max_prompt_length": 512,
        "filter_overlong_prompts": True, "filter_overlong_prompts_workers": 1,
    }  # fmt: skip
    path = the_file(exported(tmp_path, "verl"))
    data = RLHFDataset(path, byte_tokenizer(), OmegaConf.create(told))
    assert len(data) == len(PROMPTS)
    for number, prompt in enumerate(PROMPTS):
        record = data[number]
        assert record["raw_prompt"] == prompt
        assert record["reward_model"] == {"style": "rule", "ground_truth": CHOSEN[number]}
        assert record["extra_info"]["id"] == f"r{number}"
        assert record["index"] == number  # from extra_info: without it 0 for every record
    hold_to_record("verl", "verl", "verl")
