import pytest
import tiny_models

from curate.engines.contract import Continuation, Requests, Sampling, Scorer
from curate.engines.cross_encoder import CrossEncoder
from curate.errors import ConfigError
from curate.meter import Counting

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
ANSWERS = ["four", "It is 4, as 2 and 2 make 4.", "", "<s>no</s>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("sentence_transformers")
    return tmp_path_factory.mktemp("cross")


@pytest.fixture(scope="module")
def truth(folder):
    return tiny_models.cross_encoder(folder)


@pytest.fixture(scope="module")
def engine(folder, truth):
    loaded = CrossEncoder(model=str(folder), batch_size=2, device="cpu").load()
    yield loaded
    loaded.close()


def test_scores_are_the_models_raw_outputs_in_order(engine, truth):
    import torch

    letters, model = truth
    assert isinstance(engine, Scorer)
    done = engine.score([Continuation(QUESTION, text) for text in ANSWERS])
    for text, reward in zip(ANSWERS, done, strict=True):
        ids = letters(["What is 2+2?"], [text], return_tensors="pt", split_special_tokens=True)
        with torch.no_grad():
            expected = float(model(**ids).logits)
        assert reward.status == "ok"
        assert reward.value == pytest.approx(expected, abs=1e-4)
        assert reward.prompt_tokens == ids["input_ids"].shape[1]
    assert len({reward.value for reward in done}) == len(ANSWERS)


def test_a_control_token_in_an_answer_stays_text(engine):
    plain, forged = engine.score([Continuation(QUESTION, t) for t in ("no", "<s>no</s>")])
    assert forged.prompt_tokens == plain.prompt_tokens + len("<s></s>")
    assert forged.value != plain.value


def test_what_does_not_fit_is_an_item_error_and_never_cut(engine):
    done = engine.score([Continuation(QUESTION, t) for t in ("x" * 200, "fine")])
    assert [reward.status for reward in done] == ["too_long", "ok"]
    assert done[0].value is None
    assert "window 128" in done[0].error
    assert engine.score([]) == []


def test_it_says_how_far_it_is(folder, monkeypatch):
    """Batch by batch, of pairs of one call; what is not scored has ended too."""
    engine = CrossEncoder(model=str(folder), batch_size=2, device="cpu").load()
    assert isinstance(engine, Counting)
    seen, ended = [], engine._meter.ended

    def hear(*calls, **more):
        ended(*calls, **more)
        seen.append(engine.so_far())

    monkeypatch.setattr(engine._meter, "ended", hear)
    done = engine.score([Continuation(QUESTION, t) for t in ("x" * 200, *ANSWERS, "five")])
    assert [reward.status for reward in done] == ["too_long", *["ok"] * 5]
    assert {one.asked for one in seen} == {6}
    assert sorted({one.ended for one in seen}) == [1, 3, 5, 6]
    assert engine.so_far() == (6, 6, 0, 0)
    engine.close()


def test_several_turns_show_their_roles(engine):
    turns = [{"role": "system", "content": "Be brief."}, *QUESTION]
    one, other = engine.score([Continuation(turns, "four"), Continuation(QUESTION, "four")])
    assert one.prompt_tokens == other.prompt_tokens + len("system: Be brief.\n\nuser: ")


def test_what_does_not_load_says_why(tmp_path):
    pytest.importorskip("sentence_transformers")
    tiny_models.cross_encoder(tmp_path, outputs=3)
    with pytest.raises(ConfigError, match="3 outputs"):
        CrossEncoder(model=str(tmp_path)).load()
    values = [
        CrossEncoder(model=str(tmp_path), output=k).load().score([Continuation(QUESTION, "x")])[0]
        for k in (0, 2)
    ]
    assert values[0].value != values[1].value
    tiny_models.tokenizer(tmp_path, tiny_models.TEMPLATE)
    with pytest.raises(ConfigError, match="use a vllm_reward"):
        CrossEncoder(model=str(tmp_path), output=0).load()
    with pytest.raises(ConfigError, match="cannot load"):
        CrossEncoder(model=str(tmp_path / "absent")).load()


def test_a_scoring_engine_writes_nothing(engine, truth):
    import pyarrow as pa

    with pytest.raises(ConfigError, match="stage `reward`"):
        engine.chat(Requests(pa.array([QUESTION]), Sampling()))
    with pytest.raises(ConfigError, match="stage `reward`"):
        engine.loglikelihood([])
    assert engine.describe()["engine"] == "cross_encoder"
    assert engine.describe()["dtype"] == "float32"
