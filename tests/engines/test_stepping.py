from types import SimpleNamespace

import pytest

from curate.engines.stepping import Failed, Stepper
from curate.errors import StageError


class Echo:
    """Stands in for vLLM's engine: each request ends in the step after it was added."""

    def __init__(self, breaks=False):
        self.llm_engine = self
        self.engine_core = SimpleNamespace()
        self.breaks, self.added = breaks, []

    def add_request(self, request_id, prompt, params):
        if params == "bad":
            raise ValueError("bad parameters")
        ids = prompt["prompt_token_ids"]
        self.added.append(SimpleNamespace(request_id=request_id, finished=True, ids=ids))

    def step(self):
        if self.breaks:
            raise MemoryError("out of memory")
        done, self.added = self.added, []
        return done


def test_answers_keep_their_order_and_a_refused_request_is_an_item():
    stepper = Stepper(Echo, "m")
    first, second, third = stepper.run([([1], None), ([2], "bad"), ([3], None)])
    assert (first.ids, third.ids) == ([1], [3])
    assert isinstance(second, Failed)
    stepper.close()


def test_a_failing_step_reaches_every_caller():
    stepper = Stepper(lambda: Echo(breaks=True), "m")
    for _ in range(2):
        with pytest.raises(StageError, match="out of memory") as caught:
            stepper.run([([1], None), ([2], None)])
        assert isinstance(caught.value.__cause__, MemoryError)


def test_a_model_that_cannot_be_built_is_a_stage_error():
    def build():
        raise RuntimeError("no such model")

    with pytest.raises(StageError, match="no such model"):
        Stepper(build, "m")


class Writer(Echo):
    """Stands in for vLLM's engine: a request has a token more after each step, and ends at five."""

    def __init__(self):
        super().__init__()
        self.request_states, self.seen = {}, []
        self.output_processor = self

    def add_request(self, request_id, prompt, params):
        count = SimpleNamespace(tokens=0)
        text = SimpleNamespace(num_output_tokens=lambda: count.tokens)
        state = SimpleNamespace(external_req_id=request_id, detokenizer=text, count=count)
        self.request_states[f"{request_id}-inside"] = state

    def step(self):
        self.seen.append(self.stepper.meter.so_far())
        done = []
        for name, state in list(self.request_states.items()):
            state.count.tokens += 1
            if state.count.tokens == 5:
                del self.request_states[name]
                answer = SimpleNamespace(token_ids=[0] * 5)
                done.append(
                    SimpleNamespace(
                        request_id=state.external_req_id, finished=True, outputs=[answer]
                    )
                )
        return done


def test_tokens_count_while_they_are_written(monkeypatch):
    monkeypatch.setattr("curate.engines.stepping._COUNT_EVERY", 0.0)
    engine = Writer()
    engine.stepper = stepper = Stepper(lambda: engine, "m")
    likelihood = SimpleNamespace(prompt_logprobs=0)
    stepper.run([([1], None), ([2], None), ([3], likelihood)])
    assert stepper.meter.so_far() == (3, 3, 0, 10)  # before the caller goes on
    assert [sums.tokens for sums in engine.seen] == [0, 2, 4, 6, 8]
    assert {sums.ended for sums in engine.seen} == {0}
    stepper.close()
