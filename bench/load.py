"""The load of `make bench-faults` where no C compiler is: as `load.c` says, command by command.

Each command is a process of its own, and the workers of `connects` are processes too: threads of one Python would
measure its lock. It costs several times what the C program costs, so every ratio it gives is nearer to 1.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
import time

CHUNK, PING = 256 * 1024, 64


def connected(port: int) -> socket.socket:
    """A connection that waits for nothing."""
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def receive_all(connection: socket.socket, size: int) -> bytes:
    """As many bytes; ConnectionError where the other side ends before."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError(f"{len(data)} bytes of {size}, then the end")
        data += piece
    return data


def serve_one(connection: socket.socket) -> None:
    """Echo, or swallow and acknowledge, until the client ends."""
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            data = connection.recv(1)
            if data == b"s":
                left, buffer = int.from_bytes(receive_all(connection, 8), sys.byteorder), bytearray(CHUNK)
                while left:
                    left -= connection.recv_into(buffer) or left
                connection.sendall(b"a")
                return
            while data:
                connection.sendall(data)
                data = connection.recv(4096)
        except OSError:  # the client is gone, which is how most of them end
            return


def serve_port(listener: socket.socket) -> None:
    """A thread a connection."""
    while True:
        threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()


def serve(ports: int) -> None:
    """Print the ports, and serve them until the parent ends."""
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in range(ports)]
    for one in listeners:
        threading.Thread(target=serve_port, args=(one,), daemon=True).start()
    print(*[one.getsockname()[1] for one in listeners], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


def bulk(port: int, size: int) -> None:
    """Seconds for `size` bytes."""
    size -= size % CHUNK
    data = bytes(CHUNK)
    with connected(port) as connection:
        began = time.perf_counter()
        connection.sendall(b"s" + size.to_bytes(8, sys.byteorder))
        for _ in range(size // CHUNK):
            connection.sendall(data)
        receive_all(connection, 1)
        print(time.perf_counter() - began)


def ping(port: int, count: int) -> None:
    """Nanoseconds of each round trip."""
    took = []
    with connected(port) as connection:
        for _ in range(count):
            began = time.perf_counter_ns()
            connection.sendall(b"e" * PING)
            receive_all(connection, PING)
            took.append(time.perf_counter_ns() - began)
    print(*took, sep="\n")


def connect_often(port: int, until: float) -> int:
    """How many connections until then."""
    count = 0
    while time.monotonic() < until:
        with connected(port) as connection:
            connection.sendall(b"e")
            receive_all(connection, 1)
        count += 1
    return count


def connects(port: int, seconds: float, workers: int) -> None:
    """Connections a second."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        began = time.monotonic()
        until = began + seconds
        count = sum(pool.starmap(connect_often, [(port, until)] * workers))
        print(count / (time.monotonic() - began))


def hold(port: int, count: int) -> None:
    """Open connections until the input ends."""
    held = []
    for _ in range(count):
        held.append(connected(port))
        held[-1].sendall(b"e" * PING)
        receive_all(held[-1], PING)
    print("open", flush=True)
    sys.stdin.read()


def main(what: str, first: str, *rest: str) -> None:
    """One command."""
    if what == "serve":
        serve(int(first))
    elif what == "bulk":
        bulk(int(first), int(rest[0]))
    elif what == "ping":
        ping(int(first), int(rest[0]))
    elif what == "connects":
        connects(int(first), float(rest[0]), int(rest[1]))
    elif what == "hold":
        hold(int(first), int(rest[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
