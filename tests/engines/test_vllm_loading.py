"""What vLLM's engines are told before anything is loaded; vLLM itself is not needed here."""

import orjson
import pytest

from curate.engines import vllm_loading
from curate.engines.contract import Completion, EngineSpec
from curate.engines.cross_encoder import CrossEncoder
from curate.engines.overlong import why_too_long
from curate.engines.scripted import Scripted
from curate.engines.vllm import VLLM
from curate.engines.vllm_calls import prompt_call
from curate.engines.vllm_reward import VLLMReward
from curate.errors import ConfigError
from curate.executors.remote import Worker


def share(spec, *others):
    return spec.beside(others).gpu_memory_utilization


def test_engines_of_one_process_share_its_memory():
    a, b, c = VLLM(model="a"), VLLM(model="b"), VLLMReward(model="c")
    assert share(a) is None  # alone: vLLM's own default
    assert share(a, b) == 0.45
    assert share(b, a, c) == 0.3
    assert share(a, Scripted(), CrossEncoder(model="small")) is None


def test_a_share_that_is_given_stays_and_the_others_split_the_rest():
    large = VLLM(model="large", gpu_memory_utilization=0.6)
    small, tiny = VLLM(model="small"), VLLM(model="tiny")
    assert share(large, small, tiny) == 0.6
    assert share(small, large, tiny) == pytest.approx(0.15)
    assert small.beside([large]).identity() == small.identity()


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"leaves 0\.02 for small"):
        share(VLLM(model="small"), VLLM(model="large", gpu_memory_utilization=0.88))


def test_the_share_reaches_vllm():
    spec = VLLM(model="a").beside([VLLM(model="b")])
    assert vllm_loading.engine_options(spec, cpu=False)["gpu_memory_utilization"] == 0.45


LOADED = []


class Sharing(EngineSpec):
    """Writes down beside whom it is loaded."""

    model: str = "m"
    alone: bool = True

    def beside(self, others):
        return self.model_copy(update={"alone": not others, "model": f"{self.model}+{len(others)}"})

    def load(self):
        LOADED.append(self)
        return self


def test_a_worker_tells_each_engine_of_the_others_and_loads_it_once():
    worker, specs = Worker(), [Sharing(model="a"), Sharing(model="b")]
    for _ in range(2):
        for spec in specs:
            # Two roles may name one engine.
            worker._engine("a role", spec, [*specs, Sharing(model="a")])
    assert [spec.model for spec in LOADED] == ["a+1", "b+1"]
    assert orjson.dumps(LOADED[0].model_dump())


class Letters:
    """A tokenizer with a token a letter."""

    def prompt(self, messages):
        return list("".join(m["content"] for m in messages).encode())


def test_a_prompt_is_cut_until_it_fits_and_not_without_being_asked():
    turns = [{"role": "user", "content": "begin " + "x" * 5000 + " end"}]
    whole = prompt_call(Letters(), turns)
    assert (len(whole.ids), whole.cut) == (5010, False)
    cut = prompt_call(Letters(), turns, 300)
    assert 250 < len(cut.ids) <= 300
    assert cut.cut
    assert bytes(cut.ids).startswith(b"begin x")
    assert bytes(cut.ids).endswith(b"x end")
    fits = prompt_call(Letters(), turns, 6000)
    assert (fits.ids, fits.cut) == (whole.ids, False)


def test_a_prompt_that_cannot_be_cut_stays_too_long():
    turns = [{"role": "user", "content": "x" * 50}] * 100
    cut = prompt_call(Letters(), turns, 20)
    assert len(cut.ids) > 20
    assert Completion("", "too_long", error=why_too_long(len(cut.ids), 20)).status == "too_long"
