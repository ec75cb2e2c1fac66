"""A circuit in Valkey or Redis: one text per breaker, swapped by one script, timed by the server's clock.

The processes' clocks do not matter, since "now" is the server's. The text carries everything, so the script compares
and knows no rule. A circuit that nobody has touched for a day is forgotten, but not one that is isolated.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.policies import checks
from premortem.policies.breaker_machine import Circuit, Signal, State
from premortem.policies.breaker_store import BreakerStoreError

if TYPE_CHECKING:
    from valkey import Valkey

_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")
_FORGET_MS = 24 * 3600 * 1000
_SWAP = """
local kept = redis.call('GET', KEYS[1]) or ARGV[1]
if kept ~= ARGV[2] then return 0 end
if ARGV[4] == '0' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class SharedByValkey:
    """State shared by all processes that name the same server and key; needs the package `valkey`.

    `url` is `redis://:password@host:6379/0` (valkey, rediss, valkeys, unix as well; never printed). `key` is by default
    "premortem:breaker:" and the policy's name. `timeout_s` bounds every question to the server, `refresh_s` says for
    how long an answer is taken for true: so long may another process's opening go unseen.
    """

    kind: ClassVar[str] = "valkey"
    url: str = field(repr=False)
    key: str = ""
    timeout_s: float = 0.2
    refresh_s: float = 1.0

    def __post_init__(self) -> None:
        if not _is_url(self.url):
            raise ConfigurationError(
                "SharedByValkey.url: has to be the URL of a Valkey or Redis; write redis://:password@host:6379/0"
            )
        if not isinstance(self.key, str):
            raise ConfigurationError(
                f'SharedByValkey.key = {self.key!r}: has to be a text; "" takes the policy\'s name'
            )
        checks.seconds("SharedByValkey.timeout_s", self.timeout_s, high=60)
        checks.seconds("SharedByValkey.refresh_s", self.refresh_s, high=60)

    def store(self, policy: str) -> ValkeyStore:
        """As `breaker_store.SharedStore`. Raises MissingRequirementError without the package."""
        try:
            from valkey import Valkey  # noqa: PLC0415 - optional
        except ImportError:
            raise MissingRequirementError(
                "valkey", "the package is not installed", "pip install valkey, or premortem[lab], which brings it"
            ) from None
        client = Valkey.from_url(
            self.url, decode_responses=True, socket_timeout=self.timeout_s, socket_connect_timeout=self.timeout_s
        )
        return ValkeyStore(client, self.key or f"premortem:breaker:{policy}")


def _is_url(url: object) -> bool:
    try:
        return isinstance(url, str) and urlsplit(url).scheme in _SCHEMES and urlsplit(url).port != 0
    except ValueError:  # a port that is no number
        return False


class ValkeyStore:
    """One key of a server, by a client of the user's own if need be (with `decode_responses=True`)."""

    def __init__(self, client: Valkey, key: str) -> None:
        self._client = client
        self._key = key

    def read(self) -> tuple[Circuit, float]:
        """As `BreakerStore.read`."""
        from valkey.exceptions import ValkeyError  # noqa: PLC0415 - optional

        try:
            pipe = self._client.pipeline(transaction=False)
            pipe.get(self._key)
            pipe.time()
            text, (seconds, microseconds) = pipe.execute()  # type: ignore[no-untyped-call]
        except ValkeyError as error:
            raise BreakerStoreError(f"{type(error).__name__}: {error}") from error
        return (Circuit() if text is None else decode(text)), int(seconds) + int(microseconds) / 1e6

    def swap(self, before: Circuit, after: Circuit) -> bool:
        """As `BreakerStore.swap`."""
        from valkey.exceptions import ValkeyError  # noqa: PLC0415 - optional

        forget_ms = 0 if after.state is State.ISOLATED else _FORGET_MS
        words = (encode(Circuit()), encode(before), encode(after), str(forget_ms))
        try:
            return bool(self._client.eval(_SWAP, 1, self._key, *words))
        except ValkeyError as error:
            raise BreakerStoreError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()  # type: ignore[no-untyped-call]


def encode(circuit: Circuit) -> str:
    """The circuit as a text; the same circuit always gives the same one."""
    return json.dumps(asdict(circuit), separators=(",", ":"))


def decode(text: str) -> Circuit:
    """What `encode` wrote, or BreakerStoreError."""
    try:
        known = json.loads(text)
        circuit = Circuit(**{
            **known, "state": State(known["state"]), "cause": known["cause"] and Signal(known["cause"]),
            "probes": tuple((int(number), float(until)) for number, until in known["probes"]),
        })  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise BreakerStoreError(f"{text!r:.80} is no circuit; another version wrote it, or somebody else") from error
    return circuit
