"""An OpenAI-compatible server for tests: what it says to each prompt is up to the test."""

import json
import threading
from contextlib import contextmanager

from serving import serving


def said(content="fine", model="tiny", **choice):
    """A whole answer with one choice."""
    message = {"role": "assistant", "content": content, "refusal": choice.pop("refusal", None)}
    one = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None} | choice
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "1", "object": "chat.completion", "created": 1, "model": model}
    return head | {"choices": [one], "usage": usage}


@contextmanager
def chatting(act, port=0):
    """Serve; `act(handler, prompt, number)` answers, `number` counting the prompt's tries from 1.

    The server's `tries` are those so far, by prompt.
    """
    tries, lock = {}, threading.Lock()

    def answer(handler, body):
        prompt = json.loads(body)["messages"][-1]["content"]
        with lock:
            number = tries[prompt] = tries.get(prompt, 0) + 1
        act(handler, prompt, number)

    with serving(answer, port) as server:
        server.tries = tries
        yield server
