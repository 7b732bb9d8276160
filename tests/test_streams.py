"""Streams of pictures: what overlaps, in which order, and what becomes of failures."""

import threading

import pytest
import torch

from ddrm_fast.machine.overlap import Transfers, overlapped

WAIT = 20  # seconds; only a test that fails waits so long


class Log:
    """What happened, in order; and a way to wait for it from other threads."""

    def __init__(self):
        self.events, self._changed = [], threading.Condition()

    def add(self, *event):
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, *event):
        with self._changed:
            assert self._changed.wait_for(lambda: event in self.events, WAIT), (event, self.events)


def _run(items, log, work=lambda item: None, finish=lambda item: None):
    """A run that logs the begin of each part, and what each item came to."""

    def loading(item):
        log.add("load", item)
        return item

    def working(item):
        log.add("work", item)
        work(item)
        return 10 * item

    def finishing(item, result):
        log.add("finish", item)
        finish(item)
        log.add("result", item, result())

    overlapped(items, loading, working, finishing)


def test_the_next_is_loaded_and_the_last_finished_during_work():
    """Each part waits for what has to run beside it: a run one after the other would never end."""
    log = Log()

    def work(item):
        if item < 3:
            log.wait("load", item + 1)
        if item > 0:
            log.wait("finish", item - 1)

    def finish(item):
        if item < 3:
            log.wait("work", item + 1)

    _run(range(4), log, work, finish)
    results = [event for event in log.events if event[0] == "result"]
    assert results == [("result", item, 10 * item) for item in range(4)]


def test_no_more_than_one_is_loaded_ahead():
    log = Log()
    _run(range(6), log)
    for item in range(2, 6):
        assert log.events.index(("load", item)) > log.events.index(("work", item - 2))
        # and no result waits while another one is made
        assert log.events.index(("finish", item - 2)) < log.events.index(("work", item))


@pytest.mark.parametrize("items", [[], [7]])
def test_few_items(items):
    log = Log()
    _run(items, log)
    assert [event for event in log.events if event[0] == "result"] == [
        ("result", item, 10 * item) for item in items
    ]


def test_failures_arrive_in_their_place():
    """Of loading and of work; what comes after them runs."""
    seen = []

    def load(item):
        if item == 1:
            raise OSError("cannot be read")
        return item

    def work(item):
        if item == 2:
            raise ValueError("does not fit")
        return item

    def finish(item, result):
        try:
            seen.append((item, result()))
        except (OSError, ValueError) as error:
            seen.append((item, str(error)))

    overlapped(range(4), load, work, finish)
    assert seen == [(0, 0), (1, "cannot be read"), (2, "does not fit"), (3, 3)]


def test_an_error_in_finishing_ends_the_run():
    log = Log()

    def finish(item):
        if item == 1:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        _run(range(50), log, finish=finish)
    assert ("work", 4) not in log.events and ("finish", 2) not in log.events


def test_a_failure_that_ends_the_run_is_seen_before_more_work():
    worked = []

    def load(item):
        if item == 1:
            raise OSError("cannot be written")
        return item

    with pytest.raises(OSError, match="cannot be written"):
        overlapped(range(5), load, worked.append, lambda item, result: result())
    assert worked == [0]


def test_an_interruption_loses_nothing_finished():
    """The item before is finished although its finishing takes longer."""
    log = Log()

    def work(item):
        if item == 2:
            log.wait("finish", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(range(50), log, work)
    assert [event for event in log.events if event[0] == "result"] == [
        ("result", 0, 0),
        ("result", 1, 10),
    ]
    assert ("load", 5) not in log.events


def test_transfers_on_the_processor_copy_nothing():
    x = torch.randn(2, 3)
    transfers = Transfers("cpu")
    assert transfers.send(x)() is x and transfers.fetch(x)() is x
