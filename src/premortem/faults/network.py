"""Real packet loss: a network of its own (loopback alone) in which nft drops, refuses or limits packets.

Loss here is what the name says: packets vanish and TCP sends them again after its timeouts (Linux: 0.2 s and
doubling, 1 s for the first packet of a connection). A proxy cannot do that, for a byte stream has no packets. The
kernel draws which ones are lost, without a seed; `every` is the repeatable form. Who takes part has to live inside:
functions and commands by `run`, and sockets for this process by `open_socket` and `listener`.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import children
from premortem.faults.children.inside import Inside
from premortem.faults.namespaces import Namespaces
from premortem.faults.strike import lifted, struck

_HOOK = "type filter hook input priority 0; policy accept;"
_ALL = 100
_BURST_BYTES = 4096  # at least: a packet has to fit in


def why_not() -> str:
    """Empty where packets can be lost for real, else the exact reason."""
    try:
        with Network() as network, network.lossy(1):
            return ""
    except MissingRequirementError as missing:
        return missing.reason
    except FaultError as error:
        return f"{error}"


@dataclass(frozen=True, slots=True)
class _Which:
    """Which packets, and what becomes of them, in nft's words."""

    match: str
    protocols: str = "{ tcp, udp }"
    verdict: str = "drop"

    def rules(self, port: int | None) -> str:
        """One rule, or one for each direction of a port."""
        if port is not None and not 0 < port < 1 << 16:
            raise FaultError(f"port={port}: is no port; name one from 1 to 65535, or None for all")
        where = (f"th dport {port}", f"th sport {port}") if port else ("",)
        return "; ".join(f"meta l4proto {self.protocols} {at} {self.match} counter {self.verdict}" for at in where)


@dataclass
class Rule:
    """A rule that is in force; `packets` is how many it has hit so far."""

    network: Network
    table: str
    fault: str
    what: str
    told: bool = False

    @property
    def packets(self) -> int:
        """How many packets it has hit, counted by the kernel; they are told as the strike when first seen here."""
        listed = json.loads(self.network.nft("-j", "list", "table", "inet", self.table))["nftables"]
        expressions = [part for entry in listed for part in entry.get("rule", {}).get("expr", ())]
        packets = sum(part["counter"]["packets"] for part in expressions if "counter" in part)
        if packets and not self.told:
            self.told = True
            struck(self.fault, f"{self.what}; {packets} packets so far")
        return int(packets)


@dataclass
class Network(Inside):
    """A network with nothing but loopback in it, for the block. MissingRequirementError where it is not to be had."""

    _namespaces: Namespaces = field(init=False)
    _rules: list[Rule] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._nft = program("nft", "nftables")
        self._namespaces = Namespaces(network=True)

    def close(self) -> None:
        """It is gone when the last process and socket inside is. Can be called again."""
        self._namespaces.close()

    @contextmanager
    def lossy(self, percent: float, port: int | None = None) -> Iterator[Rule]:
        """Lose `percent` of the packets; with `port` only of those to and from it."""
        if not 0 < percent <= _ALL:
            raise FaultError(f"percent={percent}: has to be above 0 and up to 100; write lossy(20) for one in five")
        share = "" if percent == _ALL else f"numgen random mod 10000 < {max(1, round(percent * 100))}"
        with self._ruled(_Which(share), "packet loss", f"{percent:g} % of the packets are lost", port) as rule:
            yield rule

    @contextmanager
    def every(self, nth: int, port: int | None = None) -> Iterator[Rule]:
        """Lose every `nth` packet, counted from here on and for each direction apart where there is a `port`."""
        if nth < 2:  # noqa: PLR2004 - said in words
            raise FaultError(f"nth={nth}: has to be 2 or more; lossy(100) loses every packet")
        which = _Which(f"numgen inc mod {nth} == {nth - 1}")
        with self._ruled(which, "packet loss", f"one in {nth} packets is lost, each {nth}th", port) as rule:
            yield rule

    @contextmanager
    def unanswered(self, port: int | None = None) -> Iterator[Rule]:
        """Lose the first packet of every new connection (SYN): connecting hangs; what is connected goes on."""
        which = _Which("tcp flags & (syn | ack) == syn", "tcp")
        with self._ruled(which, "connect unanswered", "new connections get no answer", port) as rule:
            yield rule

    @contextmanager
    def refused(self, port: int | None = None) -> Iterator[Rule]:
        """Answer every TCP packet with a reset: new connections are refused, open ones end with ECONNRESET."""
        # A reset is not answered by another, and has to arrive.
        which = _Which("tcp flags & rst == 0", "tcp", "reject with tcp reset")
        with self._ruled(which, "connections reset", "TCP packets are answered with RST", port) as rule:
            yield rule

    @contextmanager
    def limited(self, bytes_per_s: int, port: int | None = None) -> Iterator[Rule]:
        """Lose what exceeds `bytes_per_s` (a policer: TCP notices by loss), after a burst of as many."""
        if bytes_per_s < 1:
            raise FaultError(f"bytes_per_s={bytes_per_s}: has to be 1 or more; lossy(100) lets nothing through")
        which = _Which(f"limit rate over {bytes_per_s} bytes/second burst {max(bytes_per_s, _BURST_BYTES)} bytes")
        with self._ruled(which, "rate limit", f"packets above {bytes_per_s} bytes/s are lost", port) as rule:
            yield rule

    def enter(self) -> None:
        """As `Inside`."""
        self._namespaces.enter()

    def looked(self) -> None:
        """As `Inside`: see what the rules have hit."""
        for rule in self._rules:
            _ = rule.packets

    def open_socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket that lives inside, for this process to use; it reaches only what lives there too."""
        ours, theirs = socket.socketpair()
        with ours, theirs:

            def make() -> None:
                with socket.socket(socket.AF_INET, kind) as made:
                    socket.send_fds(theirs, [b"x"], [made.fileno()])

            self._namespaces.run(make)
            return socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])

    def listener(self, port: int = 0) -> socket.socket:
        """A TCP socket that listens inside, at 127.0.0.1."""
        listener = self.open_socket()
        listener.bind(("127.0.0.1", port))
        listener.listen()
        return listener

    def nft(self, *arguments: str) -> str:
        """What `nft` answers inside. FaultError with its words where it refuses."""
        return self.configured(self._nft, *arguments)

    def configured(self, *command: str) -> str:
        """The output of a command that configures this network. FaultError with its words where it refuses."""
        ended = children.run(command, prepare=self._namespaces.enter_configuring)
        if ended.status:
            said = ended.output.strip() or ended.cause
            raise FaultError(f"{' '.join(command)}: {said}; `premortem doctor` says what this kernel can do")
        return ended.output

    @contextmanager
    def _ruled(self, which: _Which, fault: str, what: str, port: int | None) -> Iterator[Rule]:
        rule = Rule(self, f"premortem_{next(self._number)}", fault, what + (f", port {port}" if port else ""))
        self.nft(f"table inet {rule.table} {{\n chain input {{\n {_HOOK} {which.rules(port)}\n }}\n}}")
        self._rules.append(rule)
        try:
            yield rule
        finally:
            _ = rule.packets  # the last look before it goes
            self._rules.remove(rule)
            self.nft("delete", "table", "inet", rule.table)
            lifted(fault, what)


def program(name: str, package: str) -> str:
    """Where a program of the system's is; administrators' programs are not on every user's PATH."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if found := shutil.which(name, path=path):
        return found
    raise MissingRequirementError(
        name, f"there is no program {name}", f"install it (Debian: apt-get install {package})"
    )
