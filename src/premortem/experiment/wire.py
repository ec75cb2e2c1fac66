"""Frames between a run, its fork server and its wardens: a length, a JSON head, a payload.

The head is data that anyone may read; the payload is a pickle that only the two ends of a task open, so the
processes in between never import what a task imports.
"""

from __future__ import annotations

import json
import os
import socket
import struct

from premortem.model.codec import Json

_LENGTHS = struct.Struct("!II")
Head = dict[str, Json]


def pack(head: Head, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    text = json.dumps(head).encode()
    return _LENGTHS.pack(len(text), len(payload)) + text + payload


def send(channel: socket.socket, head: Head, payload: bytes = b"") -> None:
    """Send one frame; raises OSError when the other end is gone."""
    channel.sendall(pack(head, payload))


def receive(channel: socket.socket) -> tuple[Head, bytes] | None:
    """The next frame, or None when the other end is gone, be it in the middle of a frame."""
    lengths = _exactly(channel, _LENGTHS.size)
    if lengths is None:
        return None
    head_length, payload_length = _LENGTHS.unpack(lengths)
    body = _exactly(channel, head_length + payload_length)
    if body is None:
        return None
    return json.loads(body[:head_length]), body[head_length:]


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    received = bytearray()
    while len(received) < count:
        try:
            piece = channel.recv(min(count - len(received), 1 << 16))
        except OSError:  # a reset says the same as an end: the other side is gone
            return None
        if not piece:
            return None
        received += piece
    return bytes(received)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a blocking descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
