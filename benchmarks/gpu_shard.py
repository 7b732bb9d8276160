"""Pytest plugin: one share of the tests, each result written down at once.

``pytest -p gpu_shard --share 2/8 --results FILE``. A stage that runs out of time so leaves what it has
learnt: a line of JSON for every test that came to an end.
"""

import hashlib
import json
from pathlib import Path

import pytest


def pytest_addoption(parser) -> None:
    parser.addoption("--share", default="1/1", help="k/n: every n-th test, from the k-th on")
    parser.addoption("--results", type=Path, help="file of one line of JSON a test")


def pytest_configure(config) -> None:
    if config.getoption("--results"):
        config.pluginmanager.register(Results(config.getoption("--results")))


def _place(item) -> tuple[bool, str]:
    """CUDA first, since Triton compiles for every shape; within each in no order, so that time which runs
    out takes a little of everything."""
    return "triton" in item.name, hashlib.md5(item.nodeid.encode()).hexdigest()


# behind the selection by name (-k), so that the shares are even
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items) -> None:
    share, shares = map(int, config.getoption("--share").split("/"))
    ordered = sorted(items, key=_place)
    items[:] = ordered[share - 1 :: shares]
    kept = set(items)
    config.hook.pytest_deselected(items=[item for item in ordered if item not in kept])


class Results:
    """Writes the outcome of each test, and how many there are to come."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")

    def write(self, **what) -> None:
        self.file.write(json.dumps(what) + "\n")
        self.file.flush()

    def pytest_collection_finish(self, session) -> None:
        self.write(chosen=len(session.items))

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.write(test=report.nodeid, outcome="failed")

    def pytest_runtest_logreport(self, report) -> None:
        # a test that passed, or the part of it that did not
        if report.when == "call" or report.outcome != "passed":
            self.write(test=report.nodeid, outcome=report.outcome)
