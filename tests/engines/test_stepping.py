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
