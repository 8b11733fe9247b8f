import math

import pyarrow as pa
import pytest
from fake_engine import context, table

from curate.engines.contract import Completion
from curate.schema import PROMPT
from curate.stages.backtranslate import Backtranslate

TEXTS = ["Tides follow the moon.", "Buy now!", "Secret", "Long", "", "Odd"]


def reply(request):
    said = request.messages[1]["content"]
    if request.choices:
        assert request.messages[-1] == {"role": "assistant", "content": "Answer:"}
        yes, no = (0.8, 0.1) if "Tides" in said else (0.2, 0.6)
        if "Odd" in said:
            yes, no = 0.1, 0.1
        return Completion("", "truncated", choice_logprobs=(math.log(yes), math.log(no)))
    if "Secret" in said:
        return Completion("", "refused")
    if "Long" in said:
        return Completion("What about", "truncated", "length")
    return Completion(" What moves the tides?\n")


def test_texts_become_requests_with_references():
    view = table([[] for _ in TEXTS])
    prompts = [[{"role": "user", "content": text}] for text in TEXTS]
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(prompts, PROMPT))
    ctx = context(reply)
    made = Backtranslate(engine="fake").apply(view, ctx)
    assert made["prompt"].type == PROMPT
    assert made["prompt"].to_pylist()[0] == [{"role": "user", "content": "What moves the tides?"}]
    assert made["reference"].to_pylist() == TEXTS
    answered = made["answered"].to_pylist()
    assert [None if p is None else round(p, 3) for p in answered] == [
        0.889, 0.25, None, None, 0.25, None,
    ]  # fmt: skip
    assert made["drop"].to_pylist() == [
        None,
        "the text does not answer its request",
        "no request: refused",
        "no request: truncated",
        "the text does not answer its request",
        "no check of the request: parse_error",
    ]
    shown = ctx.engines["fake"].requests[0].messages[1]["content"]
    assert shown.count("<text-") == 1
    assert len(Backtranslate(engine="fake").apply(view.slice(0, 0), ctx)["prompt"]) == 0


@pytest.mark.parametrize("broken", ["request_for", "request_answered"])
def test_a_row_whose_call_failed_is_failed_and_one_too_long_is_dropped(broken):
    def failing(request):
        checks, said = bool(request.choices), request.messages[1]["content"]
        if checks == (broken == "request_answered"):
            if TEXTS[0] in said:
                return Completion("", "api_error", error="HTTP 500")
            if TEXTS[1] in said:
                return Completion("", "too_long", error="prompt too long: 9 tokens, window 8")
        return reply(request)

    view = table([[], []])
    prompts = [[{"role": "user", "content": text}] for text in TEXTS[:2]]
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(prompts, PROMPT))
    ctx = context(failing)
    made = Backtranslate(engine="fake", max_error_rate=1.0).apply(view, ctx)
    assert made["fail"].to_pylist() == ["the call failed: HTTP 500", None]
    dropped = {
        "request_for": "no request: prompt too long: 9 tokens, window 8",
        "request_answered": "no check of the request: too_long",
    }
    assert made["drop"].to_pylist() == [None, dropped[broken]]
    assert (ctx.counts["errors"], ctx.counts["too_long"]) == (1, 1)
