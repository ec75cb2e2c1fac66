"""The correlation follows the work through threads, tasks and processes; structlog and logging write the same."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
import structlog

from premortem.errors import ConfigurationError
from premortem.observe.logging import (
    CarryingThreadPool,
    JsonFormatter,
    JsonHandler,
    JsonLog,
    adopt,
    bound_fields,
    carried,
    configure,
    correlated,
    correlation_id,
    environment,
    handed_over,
)
from premortem.observe.logging.correlation import accepted

LOGGER = logging.getLogger("retail")
Read = Callable[[Path], list[dict[str, object]]]


def seen(_: object = None) -> tuple[str, dict[str, object]]:
    return correlation_id(), dict(bound_fields())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


@pytest.fixture
def log(path: Path) -> Iterator[JsonLog]:
    with configure(path, level="debug", repeats=None) as log:
        yield log


def test_a_block_has_an_id_and_fields_and_an_inner_one_adds_to_it() -> None:
    assert seen() == ("", {})
    with correlated(file="a") as outer:
        assert len(outer) == 16
        with correlated(chunk=1):
            assert seen() == (outer, {"file": "a", "chunk": 1})
        with correlated("order-7"):
            assert seen() == ("order-7", {"file": "a"})
        assert seen() == (outer, {"file": "a"})
    assert seen() == ("", {})


def test_each_call_of_a_decorated_function_is_work_of_its_own() -> None:
    ids = {correlated()(seen)()[0] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize("stranger", ["", "a b", "a\nb", "x" * 129, "é", '"'])
def test_a_stranger_s_id_is_refused(stranger: str) -> None:
    assert accepted(stranger) == ""
    with pytest.raises(ConfigurationError), correlated(stranger):
        pass


def test_threads_of_a_pool_belong_to_who_submitted() -> None:
    with CarryingThreadPool(2) as pool:
        assert pool.submit(seen).result() == ("", {})
        with correlated("one", n=1):
            first = pool.map(seen, range(20))
        with correlated("two"):
            second = pool.map(seen, range(20))
        assert [*first, *second] == [("one", {"n": 1})] * 20 + [("two", {})] * 20


def test_a_thread_that_is_carried_can_be_many() -> None:
    found: list[tuple[str, dict[str, object]]] = []
    together = threading.Barrier(5, timeout=20)

    def look() -> None:
        together.wait()
        found.append(seen())

    with correlated("one"):
        inside = carried(look)
    threads = [threading.Thread(target=inside) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("one", {})] * 5


def test_tasks_do_not_hear_each_other() -> None:
    async def one(name: str) -> list[str]:
        with correlated(name):
            found = []
            for _ in range(5):
                await asyncio.sleep(0)
                found.append(correlation_id())
                found.append((await asyncio.to_thread(seen))[0])
            return found

    async def both() -> tuple[list[str], list[str]]:
        asyncio.get_running_loop().set_default_executor(CarryingThreadPool(2))
        first, second = await asyncio.gather(one("a"), one("b"))
        return first, second

    assert asyncio.run(both()) == (["a"] * 10, ["b"] * 10)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool_belong_to_who_submitted(method: str) -> None:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        with correlated("one", n=1):
            first: list[Future[Any]] = [pool.submit(carried(bound_fields)), pool.submit(carried(correlation_id))]
        with correlated("two"):
            second: list[Future[Any]] = [pool.submit(carried(bound_fields)), pool.submit(carried(correlation_id))]
        assert [future.result() for future in first + second] == [{"n": 1}, "one", {}, "two"]
    with correlated("whole-pool"), ProcessPoolExecutor(1, context, adopt, (handed_over(),)) as pool:
        assert pool.submit(correlation_id).result() == "whole-pool"


def test_a_program_that_is_started_belongs_to_it() -> None:
    code = "from premortem.observe.logging import correlation_id; print(correlation_id())"
    with correlated("run-7"):
        for given, expected in ((environment(), "run-7"), (environment({"PREMORTEM_CORRELATION": "x"}), "run-7")):
            said = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
            assert said.stdout.strip() == expected
    assert "PREMORTEM_CORRELATION" not in environment({"PREMORTEM_CORRELATION": "x"})


@pytest.mark.usefixtures("log")
def test_logging_and_structlog_write_the_same_line(path: Path, read: Read) -> None:
    with correlated("run-7", file="a.xlsx"):
        logging.getLogger("retail").warning("chunk %d", 3, extra={"rows": 5, "password": "hunter2"})
        structlog.get_logger().bind(rows=5).warning("chunk 3", logger="retail", password="hunter2")
    by_logging, by_structlog = read(path)
    del by_logging["at"], by_logging["time"], by_structlog["time"]
    assert by_logging == by_structlog
    assert by_logging["password"] == "[redacted]"
    assert by_logging["correlation"] == "run-7"


@pytest.mark.usefixtures("log")
def test_an_exception_is_told_by_its_end(path: Path, read: Read) -> None:
    try:
        raise ValueError("password=hunter2-hunter2 " + "x" * 20000 + " the last words")  # noqa: TRY301 - so short a story
    except ValueError:
        LOGGER.exception("failed")
        structlog.get_logger().exception("failed")
    for line in read(path):
        assert line["level"] == "error"
        assert str(line["exception"]).endswith("the last words")
        assert "hunter2" not in str(line)


def test_what_does_not_fit_its_template_is_a_line(
    log: JsonLog, path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(
        root, "handlers", [one for one in root.handlers if isinstance(one, JsonHandler)]
    )  # pytest's raise

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    LOGGER.info("%d of %d", 1)  # noqa: PLE1206 - the mistake that is meant
    LOGGER.info("%(password)s of %(user)s", {"password": "hunter2", "user": "u"})
    LOGGER.info("%s", Hostile())
    LOGGER.info(Hostile())
    LOGGER.info("extra", extra={"time": "mine", "level": "mine", "correlation": "mine"})
    lines = read(path)
    assert len(lines) == 5
    assert lines[1]["event"] == "[redacted] of u"
    assert (lines[4]["time_"], lines[4]["level_"], lines[4]["level"]) == ("mine", "mine", "info")
    assert log.counts.lost == 0


@pytest.mark.usefixtures("log")
def test_a_repr_that_logs_is_no_deadlock(path: Path, read: Read) -> None:
    class Chatty:
        def __repr__(self) -> str:
            LOGGER.info("somebody looks at me")
            return "Chatty()"

    LOGGER.info("outer", extra={"who": Chatty()})
    assert {line["event"] for line in read(path)} == {"outer", "somebody looks at me"}


def test_levels_are_kept(path: Path, read: Read) -> None:
    with configure(path, level="warning"):
        LOGGER.info("no")
        structlog.get_logger().info("no")
        LOGGER.warning("yes")
        structlog.get_logger().warning("yes")
    assert [line["event"] for line in read(path)] == ["yes", "yes"]


@pytest.mark.parametrize("where", ["", None, 5])
def test_what_is_no_place_for_a_log_is_refused(where: Any, tmp_path: Path) -> None:
    with configure(tmp_path / "one.log") as log:
        with pytest.raises(ConfigurationError, match=r"has to be .* a path or a Sink"):
            configure(where)
        logging.getLogger("shop").warning("and the log of before goes on")
    assert log.counts.written == 1


def test_closing_undoes_it_and_a_second_one_takes_its_place(tmp_path: Path, read: Read) -> None:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    configure(tmp_path / "one.log")
    with configure(tmp_path / "two.log"):
        LOGGER.warning("once")
        assert len(root.handlers) == len(handlers) + 1
    assert (root.handlers, root.level) == (handlers, level)
    assert structlog.get_config()["processors"] == before["processors"]
    assert not (tmp_path / "one.log").exists()
    assert len(read(tmp_path / "two.log")) == 1


def test_a_formatter_for_handlers_that_write_by_themselves(
    tmp_path: Path, strict: Callable[[bytes], dict[str, object]], log: JsonLog
) -> None:
    handler = logging.FileHandler(tmp_path / "own.log")
    handler.setFormatter(JsonFormatter(log))
    logger = logging.getLogger("own")
    logger.addHandler(handler)
    logger.info("two\nlines", extra={"n": float("nan")})
    logger.removeHandler(handler)
    handler.close()
    line = strict((tmp_path / "own.log").read_bytes())
    assert (line["event"], line["n"], line["logger"]) == ("two\nlines", "NaN", "own")


def hold_back(path: Path) -> None:
    configure(path)
    for _ in range(50):
        LOGGER.warning("again")


def test_a_process_of_a_pool_says_at_its_end_what_it_held_back(path: Path, read: Read) -> None:
    child = multiprocessing.get_context("fork").Process(target=hold_back, args=(path,))
    child.start()
    child.join()
    assert read(path)[-1]["held_back"] == 30


def test_without_structlog_logging_works(path: Path) -> None:
    code = (
        "import sys, logging; sys.modules['structlog'] = None\n"
        "from premortem.observe.logging import configure\n"
        f"with configure({str(path)!r}): logging.warning('hello')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads(path.read_text())["event"] == "hello"


def test_the_module_imports_nothing_of_others() -> None:
    code = (
        "import sys; sys.modules['structlog'] = None\n"
        "import premortem.observe.logging as it\n"
        "for name in it.__all__: getattr(it, name)\n"
        "third = [n for n in sys.modules if n.split('.')[0] in ('psycopg', 'hypothesis', 'pytest')]\n"
        "assert not third, third\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_context_that_was_copied_carries_it() -> None:
    with correlated("one"):
        context = copy_context()
    assert context.run(correlation_id) == "one"
