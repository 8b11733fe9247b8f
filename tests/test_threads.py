"""Calls in threads come back in order, a few ahead."""

import threading
import time

import pytest

from curate.threads import in_order


def test_results_come_in_order_and_errors_with_them():
    def work(k):
        time.sleep(0.01 * (k % 3))
        if k == 7:
            raise TimeoutError("seven")
        return k

    got = []
    with pytest.raises(TimeoutError, match="seven"):
        got.extend(in_order(work, range(12), 4, 6))
    assert got == list(range(7))
    assert list(in_order(lambda k: -k, [], 2, 2)) == []


def test_never_more_threads_and_items_than_asked_for():
    lock, taken = threading.Lock(), []
    at_once = most = 0

    def work(k):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
        return k

    def items():
        for k in range(30):
            taken.append(k)
            yield k

    for done, k in enumerate(in_order(work, items(), 3, 5)):
        assert k == done
        assert len(taken) <= done + 6
    assert most <= 3
