"""Calls that begin alike reach an engine one after another, so that its prefix cache is of use."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pyarrow as pa
import pytest
from fake_engine import table

from curate.arrays import messages_of
from curate.engines.admission import common
from curate.engines.contract import Completion, Completions
from curate.engines.stepping import Stepper
from curate.schema import PROMPT
from curate.stage import Context
from curate.stages.judge import Judge
from curate.stages.judge_list import JudgeList
from curate.stages.judge_pairs import JudgePairs

ROWS, ANSWERS = 6, 4


class Model:
    """Stands in for vLLM: writes down the prompts in the order in which they come."""

    def __init__(self):
        self.llm_engine, self.engine_core = self, SimpleNamespace()
        self.order, self.waiting = [], []

    def add_request(self, request_id, prompt, params):
        self.order.append(prompt["prompt_token_ids"])
        self.waiting.append(SimpleNamespace(request_id=request_id, finished=True))

    def step(self):
        done, self.waiting = self.waiting, []
        return done


class Engine:
    """The real admission before it, with a token a byte."""

    model = "bytes"

    def __init__(self):
        self.inner = Model()
        self.stepper = Stepper(lambda: self.inner, "m")

    def chat(self, requests):
        asked = [
            list("".join(f"<{m['role']}>{m['content']}" for m in turns).encode())
            for turns in messages_of(requests.conversations)
        ]
        which = range(len(asked)) if requests.which is None else requests.which.tolist()
        self.stepper.run([(asked[k], None) for k in which])
        return Completions.of([Completion("Score: 3")] * len(requests), len(requests.choices))


def rows(start):
    view = table([[f"answer {k}" for k in range(ANSWERS)]] * ROWS)
    said = [f"{start + i}: why? " + "word " * 400 for i in range(ROWS)]
    asked = [[{"role": "user", "content": text}] for text in said]
    view = view.set_column(view.column_names.index("prompt"), "prompt", pa.array(asked, PROMPT))
    return view.set_column(0, "id", pa.array([f"r{start + i}" for i in range(ROWS)]))


STAGES = {
    "judge": Judge(engine="m"),
    "judge_pairs": JudgePairs(engine="m"),
    "judge_list": JudgeList(engine="m", orders=3),
    "several rubrics": Judge(engine="m", rubric=("helpfulness", "honesty")),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_rows_calls_reach_the_engine_together(name):
    """Two shards at once: what the calls of a row share is read once and then found cached."""
    engine = Engine()
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda start: STAGES[name].apply(rows(start), Context(engines={"m": engine})),
                (0, 100),
            )
        )
    engine.stepper.close()
    order = engine.inner.order
    shared = [common(one, other) for one, other in pairwise(order)]
    rubrics = 2 if name == "several rubrics" else 1
    # Of each row's calls for one rubric all but the first find its long prompt read already.
    apart = sum(size < 2000 for size in shared)
    assert apart == 2 * ROWS * rubrics - 1
    tokens = sum(map(len, order))
    assert sum(shared) / tokens > (0.6 if name == "judge_list" else 0.7)
