"""Quantities as people write them on the command line: 20ms, 1.5s, 64KB, 64KB/s.

Law: a number without its unit is refused: 20 of what?
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_FORM = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s?([A-Za-zµ]+)")


def duration(text: str) -> float:
    """A time in seconds, from `20ms`, `1.5s` or `2m`; `0` needs no unit."""
    return 0.0 if text == "0" else _read(text, _SECONDS, "time", "20ms, 1.5s or 2m")


def size(text: str) -> int:
    """A number of bytes, from `512B`, `64KB` (64,000) or `64KiB` (65,536)."""
    return round(_read(text, _BYTES, "size", "512B, 64KB or 1MiB"))


def rate(text: str) -> float:
    """Bytes a second, from `64KB/s`."""
    return _read(text, {f"{unit}/s": value for unit, value in _BYTES.items()}, "rate", "64KB/s or 1MiB/s")


def _read(text: str, units: Mapping[str, float], what: str, examples: str) -> float:
    number, unit = text.removesuffix("/s"), "/s" if text.endswith("/s") else ""
    found = _FORM.fullmatch(number)
    if found is None or found[2] + unit not in units:
        raise click.BadParameter(f"{text!r}: is no {what}; write a number and its unit, as in {examples}")
    return float(found[1]) * units[found[2] + unit]
