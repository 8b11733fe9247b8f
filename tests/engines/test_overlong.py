import pytest

from curate.engines.overlong import (
    Overlong,
    read_overlong,
    room_for,
    shortened,
    why_too_long,
)

SAID = {
    "openai": (
        "This model's maximum context length is 8,192 tokens. However, your messages resulted in "
        "9001 tokens. Please reduce the length of the messages. (code: context_length_exceeded)",
        Overlong(9001, 8192),
    ),
    "openai with a limit": (
        "This model's maximum context length is 4097 tokens, however you requested 5000 tokens "
        "(1000 in the messages, 4000 in the completion).",
        Overlong(1000, 4097),
    ),
    "vllm": (
        "This model's maximum context length is 512 tokens. However, your prompt contains at least "
        "513 input tokens, which exceeds this limit even without any output tokens.",
        Overlong(513, 512),
    ),
    "vllm, counted in characters": (
        "This model's maximum context length is 512 tokens. However, your prompt contains 90000 "
        "characters (more than 8176 characters, which is the upper bound for 511 input tokens).",
        Overlong(None, 512),
    ),
    "vllm, older": (
        "You passed 4001 input tokens and requested 16 output tokens. However, the model's context "
        "length is only 4096 tokens, resulting in a maximum input length of 4080 tokens.",
        Overlong(4001, 4096),
    ),
    "vllm engine": (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        Overlong(5000, 4096),
    ),
    "llama.cpp": (
        "{'message': 'request (5000 tokens) exceeds the available context size (4096 tokens), try "
        "increasing it', 'type': 'exceed_context_size_error'}",
        Overlong(5000, 4096),
    ),
    "sglang": (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You "
        "requested a total of 5096 tokens: 5000 tokens from the input messages and 96 tokens for "
        "the completion.",
        Overlong(5000, 4096),
    ),
    "others": ("prompt is too long: 210000 tokens > 200000 maximum", Overlong(210000, 200000)),
    "no numbers": ("the prompt is too long", Overlong(None, None)),
    "a limit that is too large": (
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context "
        "length is 4096 tokens and your request has 20 input tokens (5000 > 4096 - 20).",
        Overlong(20, 4096),
    ),
    "a limit that is too large, without numbers": (
        "max_tokens is too large for this model's context length",
        None,
    ),
    "something else": ("top_p must be in (0, 1], got 2.0", None),
    "a name that is too long": ("the model's name is too long", None),
}


@pytest.mark.parametrize("who", SAID)
def test_servers_words_are_read(who):
    said, numbers = SAID[who]
    assert read_overlong(f"HTTP 400: Error code: 400 - {said}") == numbers


def test_a_prompt_that_fits_is_told_from_one_that_does_not():
    assert Overlong(20, 4096).prompt_fits
    assert not Overlong(4096, 4096).prompt_fits
    assert not Overlong(None, 4096).prompt_fits
    assert why_too_long(9, 8) == "prompt too long: 9 tokens, window 8"
    assert why_too_long(None, 8, "HTTP 400") == "prompt too long: HTTP 400"


def test_the_longest_text_loses_its_middle():
    turns = [
        {"role": "system", "content": "Judge."},
        {"role": "user", "content": "first " + "x" * 2000 + " last"},
        {"role": "assistant", "content": "Score: "},
    ]
    cut = shortened(turns, 0.5)
    assert cut[0] == turns[0]
    assert cut[2] == turns[2]
    text = cut[1]["content"]
    assert text.startswith("first x")
    assert text.endswith("x last")
    assert "[...]" in text
    assert sum(len(t["content"]) for t in cut) <= 0.5 * sum(len(t["content"]) for t in turns)
    assert cut == shortened(turns, 0.5)
    assert turns[1]["content"].count("x") == 2000  # the caller's own are left alone


def test_what_would_leave_next_to_nothing_is_not_cut():
    assert shortened([{"role": "user", "content": "x" * 2000}], 0.01) is None
    assert shortened([], 0.5) is None


@pytest.mark.parametrize(("limit", "room"), [(None, 128), (16, 16), (4000, 256)])
def test_a_cut_prompt_leaves_room_for_the_answer(limit, room):
    assert room_for(limit, 512) == room
