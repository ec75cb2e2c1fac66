"""The pytest plugin: faults, servers and checkers as fixtures, exhibits as tests, and the recipe of what struck.

    pytest --premortem-seed 42          replay the randomness of a run
    premortem_exhibits = tests/failures (in pytest's configuration) collects the exhibits of that folder

It is loaded into every pytest session of an environment that has premortem, so it imports nothing heavy before a
test asks for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from pathlib import Path

import pytest

from premortem.pytest_plugin import exhibits
from premortem.pytest_plugin.checking import clock, ledger
from premortem.pytest_plugin.places import postgres, premortem_servers, valkey
from premortem.pytest_plugin.striking import SEED, STRUCK, fault_proxy, premortem_seed, strikes
from premortem.pytest_plugin.sweeping import sweep

__all__ = [
    "clock",
    "fault_proxy",
    "ledger",
    "postgres",
    "premortem_seed",
    "premortem_servers",
    "strikes",
    "sweep",
    "valkey",
]

_MARKER = (
    "sweep(budget=None, time_limit_s=10): how far the `sweep` fixture goes in this test, in points and in seconds "
    "for each of them; `-m sweep` selects the tests that sweep"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option and one setting."""
    group = parser.getgroup("premortem", "failures that are made to happen")
    group.addoption(
        "--premortem-seed", type=int, metavar="SEED", help="replay the randomness of a run that said this seed"
    )
    parser.addini(exhibits.INI, "folders whose exhibits are collected as tests", type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """The seed of the session: the one that was given, else drawn once, and the same for all workers of xdist."""
    config.addinivalue_line("markers", _MARKER)
    seed = config.getoption("premortem_seed")
    if seed is None:
        seed = getattr(config, "workerinput", {}).get("premortem_seed", secrets.randbelow(2**32))
    config.stash[SEED] = seed
    config.stash[exhibits.RUN] = exhibits.SharedRun(seed)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what the exhibits started."""
    if exhibits.RUN in config.stash:
        config.stash[exhibits.RUN].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Xdist starts a worker: it is told the seed."""
    node.workerinput["premortem_seed"] = node.config.stash[SEED]  # type: ignore[attr-defined] # xdist's, not always there


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Exhibits, where a folder is configured."""
    return exhibits.collected(file_path, parent)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test says what struck it, and how to make that happen again."""
    report = yield
    struck = item.stash.get(STRUCK, None)
    if report.failed and struck:
        lines = [*struck, f"the seed of this session: --premortem-seed {item.config.stash[SEED]}"]
        report.sections.append(("what premortem struck", "\n".join(lines)))
    return report
