"""For each effect a program with a defect that this effect alone reveals, and the same program, mended.

An effect that strikes and changes nothing looks like a program that stands it. So each of them has to find what is
there to be found by it, all others have to leave it hidden, and the mended program has to be struck and to stand it.
"""

from __future__ import annotations

import ctypes
import errno
import inspect
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from premortem.faults import syscalls
from premortem.faults.sweep.engine import sweep
from premortem.faults.sweep.forks import Crash, every_crash
from premortem.faults.sweep.plan import Plan
from premortem.model.sweep import Outcome

pytestmark = pytest.mark.skipif(bool(syscalls.why_not_all()), reason=f"no system calls here: {syscalls.why_not_all()}")

FILE = ("kill", "EIO", "ENOSPC", "EINTR", "short")
SOCKET = ("short", "sever", "ECONNRESET", "ECONNREFUSED", "EINTR")
LINE = b"0123456789\n"
Program = Callable[[], object]


# What the programs are made of. Descriptor 1 is not watched: by it a program can always say what it has promised, and
# take it back.


def begin() -> None:
    os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT, 0o600), 1)


def say(word: bytes) -> None:
    os.write(1, word + b"\n")


def opened() -> int:
    return os.open("kept", os.O_RDWR | os.O_CREAT, 0o600)


def put(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def put_by_c(file: int, data: bytes, *, again: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    while data:
        count = libc.write(file, data, len(data))
        if count < 0 and ctypes.get_errno() != errno.EINTR:
            raise OSError(ctypes.get_errno(), "write")
        if count < 0 and not again:
            break
        data = data[max(0, count) :]


def asked() -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", int(os.environ["PREMORTEM_TEST_PORT"])))
    wire.sendall(LINE)
    wire.shutdown(socket.SHUT_WR)
    return wire


def heard(receive: Callable[[int], bytes]) -> bytes:
    answer = b""
    while more := receive(100):
        answer += more
    return answer


def keep(data: bytes) -> None:
    put(opened(), data)
    say(b"done")


def whole(data: bytes) -> bytes:
    if data != LINE:
        raise SystemExit("not all of it is there")
    return data


# Each with its mended form behind it.


def promises_first() -> None:
    say(b"done")
    try:
        put(opened(), LINE)
    except OSError:
        say(b"sorry")


def promises_last() -> None:
    keep(LINE)


def takes_a_broken_disk_for_a_slow_one() -> None:
    with suppress_only(errno.EIO):
        put(opened(), LINE)
    say(b"done")


def leaves_out_what_does_not_fit() -> None:
    with suppress_only(errno.ENOSPC):
        put(opened(), LINE)
    say(b"done")


class suppress_only:  # noqa: N801 - as contextlib's
    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, OSError) and error.errno == self.number


def gives_up_when_interrupted() -> None:
    put_by_c(opened(), LINE, again=False)
    say(b"done")


def tries_again_when_interrupted() -> None:
    put_by_c(opened(), LINE, again=True)
    say(b"done")


def writes_once() -> None:
    os.write(opened(), LINE)
    say(b"done")


def writes_two_pieces_once() -> None:
    os.writev(opened(), [LINE[:3], LINE[3:]])
    say(b"done")


def writes_two_pieces() -> None:
    file = opened()
    put(file, LINE[os.writev(file, [LINE[:3], LINE[3:]]) :])
    say(b"done")


def writes_at_a_place_once() -> None:
    os.pwritev(opened(), [LINE[:3], LINE[3:]], 0)
    say(b"done")


def writes_at_a_place() -> None:
    file, at = opened(), 0
    while at < len(LINE):
        at += os.pwrite(file, LINE[at:], at)
    say(b"done")


def sends_a_file_once() -> None:
    os.sendfile(opened(), os.open("line", os.O_RDONLY), 0, 100)
    say(b"done")


def sends_a_file() -> None:
    file, line, at = opened(), os.open("line", os.O_RDONLY), 0
    while count := os.sendfile(file, line, at, 100):
        at += count
    say(b"done")


def copies_once() -> None:
    os.copy_file_range(os.open("line", os.O_RDONLY), opened(), 100)
    say(b"done")


def copies() -> None:
    file, line = opened(), os.open("line", os.O_RDONLY)
    while os.copy_file_range(line, file, 100):
        pass
    say(b"done")


def reads_once() -> None:
    keep(os.read(os.open("line", os.O_RDONLY), 100))


def reads() -> None:
    line = os.open("line", os.O_RDONLY)
    keep(heard(lambda most: os.read(line, most)))


def reads_two_pieces_once() -> None:
    one, two = bytearray(3), bytearray(8)
    os.readv(os.open("line", os.O_RDONLY), [one, two])
    keep(bytes(one + two))


def reads_two_pieces() -> None:
    line, one, two, data = os.open("line", os.O_RDONLY), bytearray(3), bytearray(97), b""
    while count := os.readv(line, [one, two]):
        data += bytes(one + two)[:count]
    keep(data)


def reads_two_pieces_at_a_place_once() -> None:
    one, two = bytearray(3), bytearray(8)
    os.preadv(os.open("line", os.O_RDONLY), [one, two], 0)
    keep(bytes(one + two))


def does_not_look_whether_it_is_there() -> None:
    keep(LINE)


def looks_whether_it_is_there() -> None:
    put(opened(), LINE)
    whole(os.read(os.open("kept", os.O_RDONLY), 100))
    say(b"done")


def does_not_look_at_what_it_copied() -> None:
    copies()


def looks_at_what_it_copied() -> None:
    file, line = opened(), os.open("line", os.O_RDONLY)
    while os.copy_file_range(line, file, 100):
        pass
    whole(os.read(os.open("kept", os.O_RDONLY), 100))
    say(b"done")


def waits_a_second() -> None:
    file = opened()
    writer = threading.Thread(target=put, args=(file, LINE))
    writer.start()
    writer.join(1.0)
    say(b"done")
    os._exit(0)


def waits_until_it_is_done() -> None:
    file = opened()
    writer = threading.Thread(target=put, args=(file, LINE))
    writer.start()
    writer.join()
    say(b"done")
    os._exit(0)


def takes_an_end_for_the_end() -> None:
    keep(heard(asked().recv))


def knows_the_end() -> None:
    keep(whole(heard(asked().recv)))


def takes_a_reset_for_the_end() -> None:
    answer = b""
    with suppress(ConnectionResetError):
        wire = asked()
        answer = whole(heard(wire.recv))
    keep(answer)


def takes_nobody_for_nothing() -> None:
    try:
        wire = asked()
    except ConnectionRefusedError:
        keep(b"")
    else:
        keep(whole(heard(wire.recv)))


def hears_once() -> None:
    keep(asked().recv(100) or whole(b""))


def hears_a_message_once() -> None:
    keep(asked().recvmsg(100)[0] or whole(b""))


def hears_messages() -> None:
    wire = asked()
    keep(whole(heard(lambda most: wire.recvmsg(most)[0])))


def asks_once() -> None:
    wire = socket.create_connection(("127.0.0.1", int(os.environ["PREMORTEM_TEST_PORT"])))
    wire.send(LINE)
    wire.shutdown(socket.SHUT_WR)
    keep(heard(wire.recv) or whole(b""))


@dataclass(frozen=True)
class Planted:
    """`ill` has a defect that `effect` alone reveals, of all that are `tried`; `mended` has it no more."""

    effect: str
    ill: Program
    mended: Program
    watch: tuple[str, ...] = ("file",)
    tried: tuple[str, ...] = FILE

    def __str__(self) -> str:
        return f"{self.effect}-{self.ill.__name__}"


READ = ("file", "read")
PLANTED = (
    Planted("kill", promises_first, promises_last),
    Planted("EIO", takes_a_broken_disk_for_a_slow_one, promises_last),
    Planted("ENOSPC", leaves_out_what_does_not_fit, promises_last),
    Planted("EINTR", gives_up_when_interrupted, tries_again_when_interrupted),
    Planted("short", writes_once, promises_last),
    Planted("short", writes_two_pieces_once, writes_two_pieces),
    Planted("short", writes_at_a_place_once, writes_at_a_place),
    Planted("short", sends_a_file_once, sends_a_file),
    Planted("short", copies_once, copies),
    Planted("short", reads_once, reads, READ),
    Planted("short", reads_two_pieces_once, reads_two_pieces, READ),
    Planted("short", reads_two_pieces_at_a_place_once, reads_two_pieces, READ),
    Planted("drop", does_not_look_whether_it_is_there, looks_whether_it_is_there),
    Planted("drop", does_not_look_at_what_it_copied, looks_at_what_it_copied),
    Planted("delay 1.5", waits_a_second, waits_until_it_is_done, tried=("EINTR", "short")),
    Planted("sever", takes_an_end_for_the_end, knows_the_end, ("socket",), SOCKET),
    # A connection that is cut may show as a reset, too.
    Planted("ECONNRESET", takes_a_reset_for_the_end, knows_the_end, ("socket",), ("short", "ECONNREFUSED", "EINTR")),
    Planted("ECONNREFUSED", takes_nobody_for_nothing, knows_the_end, ("socket",), SOCKET),
    Planted("short", hears_once, knows_the_end, ("socket",), SOCKET),
    Planted("short", hears_a_message_once, hears_messages, ("socket",), SOCKET),
    Planted("short", asks_once, knows_the_end, ("socket",), SOCKET),
)


def holds(folder: Path) -> bool:
    """What was promised last, and not taken back, is there."""
    said, kept = folder / "said", folder / "kept"
    promised = said.exists() and said.read_bytes().endswith(b"done\n")
    return not promised or (kept.exists() and kept.read_bytes() == LINE)


def struck(planted: Planted, program: Program, folder: Path) -> Iterator[Crash]:
    """Each effect once at each operation of the program."""

    def run() -> None:
        begin()
        program()

    effects = dict.fromkeys((*planted.tried, planted.effect))
    yield from every_crash(run, folder=folder, effects=tuple(effects), watch=planted.watch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    (place / "line").write_bytes(LINE)
    return place


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_one_effect_alone_reveals_it_and_the_mended_program_stands_all(planted: Planted, folder: Path) -> None:
    found = {crash.recipe.effect for crash in struck(planted, planted.ill, folder) if not holds(folder)}
    assert found == {planted.effect}
    tried: set[str] = set()
    for crash in struck(planted, planted.mended, folder):
        assert holds(folder), crash
        assert crash.outcome in (Outcome.SURVIVED, Outcome.ERROR, Outcome.UNSTRUCK), crash  # no half of no bytes
        tried |= {crash.recipe.effect} if crash.outcome is not Outcome.UNSTRUCK else set()
    assert planted.effect in tried


CHECK = f"""
import pathlib, sys
said = pathlib.Path("said").read_bytes() if pathlib.Path("said").exists() else b""
kept = pathlib.Path("kept").read_bytes() if pathlib.Path("kept").exists() else b""
sys.exit(f"promised, and {{kept!r}} is there" if said.endswith(b"done\\n") and kept != {LINE!r} else 0)
"""
HEAD = f"import ctypes, errno, os, socket, threading\nfrom contextlib import suppress\nLINE = {LINE!r}\n"
PARTS = (begin, say, opened, put, put_by_c, asked, heard, keep, whole, suppress_only, copies)


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_a_sweep_of_the_program_finds_it(planted: Planted, folder: Path, script: Callable[[str, str], str]) -> None:
    *_, last = [crash for crash in struck(planted, planted.ill, folder) if not holds(folder)]
    at = str(last.recipe)
    if "read" in planted.watch:  # an interpreter that starts reads much more than this
        at = at.replace("#", " line#")
    text = HEAD.replace("import", "from __future__ import annotations\nimport", 1)
    text += "".join(inspect.getsource(part) for part in (*PARTS, planted.ill)) + f"begin()\n{planted.ill.__name__}()\n"
    python = (sys.executable, "-I", "-S")
    found = sweep(
        Plan(
            (*python, script("program.py", text)), (*python, script("check.py", CHECK)),
            folder=str(folder), watch=planted.watch, effects=(planted.effect,), at=at,
        )
    )  # fmt: skip
    assert found.inconclusive == ""
    assert [trial.outcome for trial in found.trials] == [Outcome.VIOLATION]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that says what it has heard, once it has heard it to the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PREMORTEM_TEST_PORT", str(server.getsockname()[1]))
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def serve(server: socket.socket) -> None:
    with suppress(OSError):  # it is closed: the test is over
        while True:
            threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()


def answer(wire: socket.socket) -> None:
    with wire, suppress(OSError):
        wire.sendall(heard(wire.recv))
