from __future__ import annotations

import threading
import time

import pytest

from latewood.search.stores.edge.fair import FairLock


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_one_at_a_time_however_many_want_it():
    lock, inside, most = FairLock(), 0, 0

    def work():
        nonlocal inside, most
        for _ in range(200):
            with lock:
                inside += 1
                most = max(most, inside)
                time.sleep(0)  # let others try
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_it_is_given_in_the_order_in_which_it_was_asked_for():
    lock, order = FairLock(), []

    def work(number):
        with lock:
            order.append(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(5)]
    with lock:
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda wanted=number + 2: len(lock._waiting) == wanted)  # and who holds it
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_who_comes_back_at_once_goes_behind_those_that_wait():
    lock, order = FairLock(), []

    def question():
        with lock:
            order.append("question")

    thread = threading.Thread(target=question)
    with lock:
        thread.start()
        wait_until(lambda: len(lock._waiting) == 2)
    with lock:
        order.append("copy")
    thread.join()
    assert order == ["question", "copy"]


def test_it_is_free_again_after_an_error():
    lock = FairLock()
    with pytest.raises(KeyError), lock:
        raise KeyError("x")
    with lock:
        pass


class Interrupted:
    """A turn whose waiting is cut off, before or after the lock was handed to it."""

    def __init__(self, lock, given):
        self._lock, self._given, self._made = lock, given, False

    def acquire(self):
        if not self._made:  # made as it is when it joins the queue
            self._made = True
            return
        if self._given:
            self._lock.__exit__()
        raise KeyboardInterrupt

    def release(self):
        """Its turn."""


@pytest.mark.parametrize("given", [False, True])
def test_who_is_interrupted_while_waiting_stands_in_nobodys_way(given, monkeypatch):
    lock = FairLock()
    lock.__enter__()
    with monkeypatch.context() as patch:
        patch.setattr("latewood.search.stores.edge.fair.threading.Lock", lambda: Interrupted(lock, given))
        with pytest.raises(KeyboardInterrupt):
            lock.__enter__()
    if not given:
        lock.__exit__()
    with lock:
        pass
    assert not lock._waiting
