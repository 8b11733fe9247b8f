import math

from curate.engines.contract import Continuation, Request, Sampling
from curate.engines.scripted import Scripted


def request(text="Why?", seed=1, choices=()):
    return Request([{"role": "user", "content": text}], Sampling(), seed, choices)


def test_an_answer_depends_on_messages_and_seed_alone():
    engine = Scripted().load()
    first = engine.chat([request(), request(seed=2), request("What?")])
    assert engine.chat([request("What?"), request()]) == [first[2], first[0]]
    assert len({c.text for c in first}) == 3


def test_replies_are_all_used():
    done = Scripted(replies=("yes", "no")).load().chat([request(seed=i) for i in range(100)])
    assert {c.text for c in done} == {"yes", "no"}


def test_about_one_in_fail_every_fails():
    done = Scripted(fail_every=4).load().chat([request(seed=i) for i in range(1000)])
    failed = [c for c in done if c.status == "api_error"]
    assert 180 < len(failed) < 320
    assert all(c.text == "" and c.error for c in failed)


def test_choice_probabilities_sum_to_less_than_one():
    (done,) = Scripted().load().chat([request(choices=("A", "B", "C"))])
    assert 0.9 < sum(math.exp(x) for x in done.choice_logprobs) < 1.0


def test_loglikelihood_is_negative_and_repeats():
    engine = Scripted().load()
    calls = [Continuation([{"role": "user", "content": "hi"}], a) for a in ("one two", "three")]
    first = engine.loglikelihood(calls)
    assert first == engine.loglikelihood(calls)
    assert [x.tokens for x in first] == [2, 1]
    assert all(x.logprob <= 0 for x in first)


def test_delay_is_no_part_of_the_identity():
    assert Scripted(delay_s=1.0).identity() == Scripted().identity()
    assert Scripted(fail_every=3).identity() != Scripted().identity()
