"""`premortem proxy`: a TCP proxy that fails on purpose, for a program in any language."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from premortem.cli.proxy_events import Teller
from premortem.cli.proxy_faults import fault_options, toxics_of
from premortem.cli.quantities import duration
from premortem.errors import ConfigurationError
from premortem.faults.proxy import ProxyHost
from premortem.faults.proxy.toxiproxy import ApiServer, Proxies, ProxyEntry, Toxic, read_config
from premortem.faults.proxy.toxiproxy.config import read_address, read_listen
from premortem.faults.targets import AllowList

_EVERY_S = 0.05


@click.command("proxy")
@click.argument("upstream", required=False, metavar="[HOST:PORT]")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen. [default: 127.0.0.1, any free port]")
@click.option("--at", "recipes", multiple=True, metavar="RECIPE", help="Strike this point of the protocol; repeatable.")
@fault_options
@click.option("--jitter", type=duration, default="0", metavar="TIME", help="With --latency: so much more or less.")
@click.option("--pause", type=duration, default="0", metavar="TIME", help="With --slicer: so long between two pieces.")
@click.option(
    "--after",
    type=duration,
    default="0",
    metavar="TIME",
    help="With --reset and --black-hole: so long after the beginning.",
)
@click.option(
    "--direction",
    type=click.Choice(["both", "up", "down"]),
    default="both",
    show_default=True,
    help="Up is towards the server; what strikes whole connections has none.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of connections, drawn from the seed.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Replay the draws of a run that printed this seed.")
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Proxies and toxics in Toxiproxy's JSON."
)
@click.option("--api", metavar="HOST:PORT", help="Serve Toxiproxy's HTTP API there; its usual place is 127.0.0.1:8474.")
@click.option(
    "--allow", type=click.Path(path_type=Path), metavar="FILE", help="Hosts beside loopback that may be struck."
)
@click.option(
    "--for", "for_s", type=duration, metavar="TIME", help="Stop after so long. [default: on Ctrl-C or SIGTERM]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line an event, on standard output.")
def command(  # noqa: PLR0913 - one parameter an option
    upstream: str | None,
    *,
    listen: str | None,
    recipes: tuple[str, ...],
    direction: str,
    share: float,
    seed: int | None,
    config: Path | None,
    api: str | None,
    allow: Path | None,
    for_s: float | None,
    as_json: bool,
    **faults: Any,  # noqa: ANN401 - one for each row of FAULTS
) -> int:
    """Stand between a program and the server at HOST:PORT, and fail on purpose.

    \b
    Examples:
      premortem proxy 127.0.0.1:5432 --latency 20ms
      premortem proxy 127.0.0.1:5432 --listen 127.0.0.1:15432 --at 'postgres:COMMIT#1:after'
      premortem proxy 127.0.0.1:6379 --bandwidth 64KB/s --direction down --share 0.5 --seed 7
      premortem proxy --config toxiproxy.json --api 127.0.0.1:8474

    It runs until Ctrl-C, SIGTERM or --for, and then says what was hit.

    Exit codes: 0 something was hit or no fault was armed, 1 a fault or a port could not be had, 2 usage or
    configuration, 3 faults were armed and nothing was hit, so that nothing is proven.
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    toxics = toxics_of(recipes, faults, direction, share)
    entries = _entries(upstream, listen, toxics, config)
    if not entries and api is None:
        raise click.UsageError("there is nothing to stand before; name a server (HOST:PORT), --config or --api")
    allowed = AllowList.read(allow) if allow is not None else None
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    tell = Teller(as_json=as_json)
    with _stopped_by_signals() as stop, ExitStack() as running:
        host = running.enter_context(ProxyHost(allow=allowed))
        proxies = Proxies(host, allow=allowed, seed=seed)
        for entry in entries:
            tell.listening(proxies.create(entry), seed)
        if api is not None:
            server = running.enter_context(ApiServer(proxies, read_address(api, "--api"), allow=allowed))
            tell.serving(server.url)
        _watch(host, proxies, tell, stop, for_s)
        return tell.ended(proxies.counts())


def _entries(
    upstream: str | None, listen: str | None, toxics: tuple[Toxic, ...], config: Path | None
) -> tuple[ProxyEntry, ...]:
    entries = read_config(config) if config is not None else ()
    if upstream is None:
        if toxics or listen is not None:
            raise click.UsageError("faults and --listen are for a server; name it (HOST:PORT), or use --config")
        return entries
    try:
        one = ProxyEntry("proxy", read_listen(listen or ""), read_address(upstream, "upstream"), toxics=toxics)
    except ConfigurationError as error:
        raise click.UsageError(str(error).removeprefix("bad request body: ")) from None
    return (*entries, one)


def _watch(host: ProxyHost, proxies: Proxies, tell: Teller, stop: threading.Event, for_s: float | None) -> None:
    """Tell the strikes as they come, until it is time to stop. FaultError if the proxy's process has gone."""
    until = None if for_s is None else time.monotonic() + for_s
    while not stop.wait(_EVERY_S) and (until is None or time.monotonic() < until):
        host.ask("sync")
        tell.hits(proxies.hits())
    tell.hits(proxies.hits())


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Ctrl-C is how one ends it, and no error: every one of these signals asks for the end."""
    stop = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        stop.set()

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it to go on
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
