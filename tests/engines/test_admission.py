import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from curate.engines.admission import Admission, Work, cache_tokens, common, together
from curate.engines.stepping import Stepper


def work(ids, most=0):
    return Work(ids, SimpleNamespace(max_tokens=most), Future())


class Model:
    """Stands in for vLLM's engine: a request answers its own tokens after `max_tokens` steps."""

    def __init__(self, blocks=None, block_size=16):
        self.llm_engine, self.engine_core = self, SimpleNamespace()
        cache = SimpleNamespace(num_gpu_blocks=blocks, block_size=block_size)
        self.vllm_config = SimpleNamespace(cache_config=cache)
        self.order, self.running, self.most_tokens, self.steps = [], {}, 0, []

    def add_request(self, request_id, prompt, params):
        ids = prompt["prompt_token_ids"]
        self.order.append(tuple(ids))
        self.running[request_id] = [ids, params.max_tokens]

    def step(self):
        held = sum(len(ids) for ids, _ in self.running.values())
        self.most_tokens = max(self.most_tokens, held)
        self.steps.append(len(self.running))
        done = []
        for request_id, state in list(self.running.items()):
            state[1] -= 1
            if state[1] <= 0:
                del self.running[request_id]
                answer = SimpleNamespace(token_ids=list(state[0]))
                done.append(SimpleNamespace(request_id=request_id, finished=True, outputs=[answer]))
        return done


def texts(output):
    return tuple(output.outputs[0].token_ids)


def prompts(count, seed=0):
    draw = random.Random(seed)  # noqa: S311 - no secrets
    return [[draw.randrange(50) for _ in range(draw.randrange(1, 60))] for _ in range(count)]


def run(model, asked, bucket=None):
    stepper = Stepper(lambda: model, "m", bucket)
    try:
        return [texts(o) for o in stepper.run([(ids, work(ids, 3).params) for ids in asked])]
    finally:
        stepper.close()


@pytest.mark.parametrize("blocks", [None, 1, 4, 1000])
@pytest.mark.parametrize("bucket", [None, 1, 16, 1000])
def test_answers_keep_the_order_of_the_requests_whatever_the_room(blocks, bucket):
    asked = prompts(200)
    assert run(Model(blocks), asked, bucket) == [tuple(ids) for ids in asked]


def test_prompts_that_begin_alike_reach_the_engine_side_by_side():
    rubric, other = list(range(40)), list(range(100, 140))
    asked = [[*head, k] for k in range(20) for head in (rubric, other)]  # they take turns
    model = Model()
    run(model, asked)
    heads = [order[0] for order in model.order]
    assert heads == [0] * 20 + [100] * 20


def test_the_tokens_in_the_engine_fit_its_cache():
    asked = prompts(300)
    model = Model(blocks=16)  # 256 tokens
    run(model, asked)
    assert 128 < model.most_tokens <= 256


def test_a_request_larger_than_the_cache_goes_alone():
    model = Model(blocks=1)  # 16 tokens
    large = list(range(500))
    assert run(model, [[1], large, [2]]) == [(1,), tuple(large), (2,)]
    assert model.steps == [1, 1, 1, 2, 2, 2]


def test_the_engine_never_idles_while_requests_wait_that_fit():
    """No bubble: before every step but the last ones, one more request would not have fitted."""
    model = Model(blocks=4)  # 64 tokens
    asked = [[k, k + 1, k + 2, k + 3] for k in range(0, 400, 4)]
    run(model, asked)
    busy = model.steps[: -max(model.steps)]
    # 4 tokens a prompt and half of 3 to come: 11 at once fill the cache, in every single step.
    assert set(busy) == {11}


def test_a_shared_beginning_takes_room_once():
    shared = list(range(100))
    free = Admission(capacity=130)
    free.add([work([*shared, k]) for k in range(30)])
    taken = 0
    while free.take() is not None:
        taken += 1
    assert taken == 30  # 101 tokens, and one for each further one
    apart = Admission(capacity=130)
    apart.add([work([k] * 101) for k in range(30)])
    assert apart.take() is not None
    assert apart.take() is None


def test_the_length_of_answers_is_learnt():
    room = Admission(capacity=1000)
    room.add([work([k], None) for k in range(2000)])
    running = list(iter(room.take, None))
    assert len(running) < 10  # answers may be long, for all that is known
    for _ in range(500):
        room.ended(running.pop(0).cost, 2)
        running += iter(room.take, None)
    assert len(running) > 100


def test_earlier_callers_come_first_and_nobody_starves():
    room = Admission(None)
    room.add([work([9, k]) for k in range(3)])
    room.add([work([1, k]) for k in range(3)])
    order = []
    while (taken := room.take()) is not None:
        order.append(taken.work.ids[0])
    assert order == [9, 9, 9, 1, 1, 1]


def test_a_bucket_brings_prompts_of_one_length_together_longest_first():
    asked = [[1] * 5, [2] * 30, [3] * 6, [4] * 31, [1] * 4]
    assert together(asked, 10) == [1, 3, 4, 0, 2]
    assert together(asked) == [4, 0, 1, 2, 3]
    assert together([[7], [7], [7]], 10) == [0, 1, 2]  # equal ones stay in order


def test_common_beginnings_and_the_size_of_a_cache():
    assert (common([1, 2, 3], [1, 2, 4]), common([], [1]), common([1, 2], [1, 2, 3])) == (2, 0, 2)
    assert cache_tokens(Model(10, 16)) == 160
    assert cache_tokens(Model(None)) is None
    assert cache_tokens(object()) is None


def test_threads_get_their_own_answers():
    stepper = Stepper(lambda: Model(blocks=8), "m")
    barrier = threading.Barrier(4)

    def ask(seed):
        asked = prompts(100, seed)
        barrier.wait()
        done = stepper.run([(ids, work(ids, 1 + seed).params) for ids in asked])
        return [texts(o) for o in done] == [tuple(ids) for ids in asked]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))
    stepper.close()
