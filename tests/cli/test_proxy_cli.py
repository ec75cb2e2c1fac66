"""`premortem proxy` as a user starts it: a process of its own, with a real server behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.cli.app import run
from premortem.cli.quantities import duration, rate, size

SOON_S = 30.0


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that says everything back; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def answer(one: socket.socket) -> None:
        with suppress(OSError), one:
            while data := one.recv(1 << 16):
                one.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                threading.Thread(target=answer, args=(accepted[-1],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for one in accepted:
        one.close()


class Running:
    """One `premortem proxy --json`, and what it has said so far."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "premortem", "proxy", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def next(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        told: dict[str, Any] = json.loads(line)
        return told

    def ends(self, number: int = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """The whole process group is told, as Ctrl-C does; its exit code, and what it said last."""
        os.killpg(self.process.pid, number)
        said, errors = self.process.communicate(timeout=SOON_S)
        assert "Traceback" not in errors
        return self.process.returncode, [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(*arguments: str) -> Running:
        made.append(Running(*arguments))
        return made[-1]

    yield start
    for one in made:
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


def _connect(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=SOON_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_strike_is_told_and_reckoned(start: Callable[..., Running], echo: str, number: int) -> None:
    proxy = start(echo, "--latency", "20ms", "--direction", "down", "--seed", "7")
    listening = proxy.next()
    assert (listening["event"], listening["upstream"], listening["seed"]) == ("listening", echo, 7)
    assert listening["toxics"][0]["attributes"] == {"latency": 20, "jitter": 0}
    with _connect(listening["listen"]) as one:
        began = time.monotonic()
        one.sendall(b"x")
        assert one.recv(1) == b"x"
        assert time.monotonic() - began >= 0.02
        strike = proxy.next()
        assert (strike["event"], strike["proxy"], strike["toxic"]) == ("strike", "proxy", "latency")
    code, said = proxy.ends(number)
    assert code == 0
    assert said[-1]["event"] == "end"
    assert said[-1]["faults"][0]["strikes"] >= 1


def test_nothing_hit_is_no_success(start: Callable[..., Running], echo: str) -> None:
    proxy = start(echo, "--reset", "--black-hole", "--after", "1s")
    proxy.next()
    code, said = proxy.ends()
    assert code == 3
    assert [one["strikes"] for one in said[-1]["faults"]] == [0, 0]


def test_no_fault_is_a_plain_proxy(start: Callable[..., Running], echo: str) -> None:
    proxy = start(echo)
    with _connect(proxy.next()["listen"]) as one:
        one.sendall(b"x")
        assert one.recv(1) == b"x"
    assert proxy.ends()[0] == 0


def test_a_config_with_toxics_and_the_api(start: Callable[..., Running], echo: str, tmp_path: Path) -> None:
    file = tmp_path / "toxiproxy.json"
    toxics = [{"type": "reset_peer"}]
    file.write_text(json.dumps([{"name": "shop", "listen": "127.0.0.1:0", "upstream": echo, "toxics": toxics}]))
    proxy = start("--config", str(file), "--api", "127.0.0.1:0")
    listening, url = proxy.next(), proxy.next()["url"]
    assert listening["name"] == "shop"
    with pytest.raises(ConnectionResetError), _connect(listening["listen"]) as one:  # in connect, if we are late
        one.recv(1)
    assert proxy.next()["toxic"] == "reset_peer_downstream"
    request = urllib.request.Request(f"{url}/proxies/shop/toxics/reset_peer_downstream", method="DELETE")
    with urllib.request.urlopen(request, timeout=SOON_S) as answer:
        assert answer.status == 204
    with _connect(listening["listen"]) as one:
        one.sendall(b"x")
        assert one.recv(1) == b"x"
    code, said = proxy.ends()
    assert (code, said[-1]["faults"]) == (0, [{"proxy": "shop", "fault": "reset_peer (timeout 0)", "strikes": 1}])


def test_it_leaves_nothing_behind(start: Callable[..., Running], echo: str) -> None:
    """Not even killed: its port is free again, because the proxy's own process has died with it."""
    proxy = start(echo, "--latency", "1ms")
    listen = proxy.next()["listen"]
    proxy.process.kill()
    proxy.process.wait()
    until = time.monotonic() + SOON_S
    while True:
        try:
            _connect(listen).close()
        except ConnectionRefusedError:
            break
        except ConnectionResetError:  # it was in the queue of a listener that died
            pass
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_end_of_the_proxys_own_process_is_told(start: Callable[..., Running], echo: str) -> None:
    proxy = start(echo)
    proxy.next()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == proxy.process.pid:
                os.kill(int(stat.parent.name), signal.SIGKILL)
    _, errors = proxy.process.communicate(timeout=SOON_S)
    assert proxy.process.returncode == 1
    assert "the proxy's process has gone" in errors


def test_for_people_it_speaks_in_sentences(echo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", echo, "--half-open", "--limit", "1KiB", "--for", "100ms"]) == 3
    said = capsys.readouterr().out
    assert f"-> {echo}" in said
    assert "proxy: half_open: hit nothing" in said
    assert "proxy: limit_data (bytes 1024): hit nothing" in said
    assert "nothing was hit, so nothing is proven" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a server (HOST:PORT), --config or --api"),
        (["5432"], "has to be HOST:PORT"),
        (["10.1.2.3:5432"], "is not on loopback"),
        (["127.0.0.1:1", "--latency", "20"], "a number and its unit, as in 20ms"),
        (["127.0.0.1:1", "--latency", "20KB"], "is no time"),
        (["127.0.0.1:1", "--bandwidth", "64KB"], "is no rate; write a number and its unit, as in 64KB/s"),
        (["127.0.0.1:1", "--limit", "1s"], "is no size"),
        (["127.0.0.1:1", "--jitter", "5ms"], "--jitter changes --latency, which is not there"),
        (["127.0.0.1:1", "--after", "5ms"], "--after changes --black-hole or --reset, which is not there"),
        (["127.0.0.1:1", "--share", "2", "--reset"], "0<=x<=1"),
        (["127.0.0.1:1", "--at", "COMMIT"], "WORLD:WHAT#NTH"),
        (["127.0.0.1:1", "--at", "syscall:fsync#1"], "syscall"),
        (["127.0.0.1:1", "--listen", "192.0.2.1:80"], "listens on 127.0.0.1 alone"),
        (["--reset"], "faults and --listen are for a server"),
        (["--config", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--api", "192.0.2.1:8474"], "is not on loopback"),
        (["127.0.0.1:1", "--allow", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["proxy", *arguments, "--for", "0"]) in {1, 2}
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_taken_port_is_said_in_words(echo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", echo, "--listen", echo, "--for", "0"]) in {1, 2}
    assert echo.rpartition(":")[2] in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", "--help"]) == 0
    said = capsys.readouterr().out
    assert "premortem proxy 127.0.0.1:5432 --latency 20ms" in said
    assert "--black-hole" in said


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (duration, "20ms", 0.02),
        (duration, "1.5s", 1.5),
        (duration, "2m", 120),
        (duration, "100us", 0.0001),
        (duration, "0", 0),
        (size, "512B", 512),
        (size, "64KB", 64_000),
        (size, "1MiB", 1 << 20),
        (rate, "64KB/s", 64_000),
    ],
)
def test_quantities(kind: Callable[[str], float], text: str, value: float) -> None:
    assert kind(text) == pytest.approx(value)


@given(st.sampled_from([duration, size, rate]), st.text())
def test_any_text_is_a_quantity_or_refused(kind: Callable[[str], float], text: str) -> None:
    with suppress(click.BadParameter):
        assert kind(text) >= 0
