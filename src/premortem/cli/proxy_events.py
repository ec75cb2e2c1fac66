"""What `premortem proxy` says while it runs: lines for people, or one JSON document a line."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from premortem.faults.proxy.toxiproxy import Hit, NamedProxy

_NOTHING_HIT = 3


class Teller:
    """Tells it as it comes; standard output is flushed after every line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def listening(self, proxy: NamedProxy, seed: int) -> None:
        """A proxy is there."""
        armed = ", ".join(str(toxic) for toxic in proxy.toxics()) or "no fault"
        where = str(proxy.listen) if proxy.enabled else f"{proxy.name} (disabled)"
        self._say(
            f"{where} -> {proxy.upstream}  {armed}  (--seed {seed})",
            {"event": "listening", **proxy.shown(), "seed": seed},
        )

    def serving(self, url: str) -> None:
        """The API is there."""
        self._say(f"Toxiproxy's API: {url}", {"event": "api", "url": url})

    def hits(self, hits: list[Hit]) -> None:
        """What was struck."""
        for hit in hits:
            strike = hit.strike
            where = f"{hit.proxy}, connection {strike.connection}"
            self._say(
                f"{click.style('hit', fg='yellow')}  {where}: {strike.what}  [{hit.toxic}]",
                {
                    "event": "strike",
                    "proxy": hit.proxy,
                    "toxic": hit.toxic.name,
                    "at_s": strike.at_s,
                    "connection": strike.connection,
                    "what": strike.what,
                    "recipe": strike.recipe,
                },
            )

    def ended(self, counts: Mapping[tuple[str, str], int]) -> int:
        """The reckoning, and the exit code."""
        code = _NOTHING_HIT if counts and not any(counts.values()) else 0
        faults = [{"proxy": proxy, "fault": fault, "strikes": count} for (proxy, fault), count in counts.items()]
        if self._as_json:
            click.echo(json.dumps({"event": "end", "faults": faults, "exit_code": code}))
            return code
        for (proxy, fault), count in counts.items():
            times = f"struck {count} times" if count != 1 else "struck once"
            click.echo(f"{proxy}: {fault}: {times if count else 'hit nothing'}")
        if not counts:
            click.echo("no fault was armed")
        if code:
            click.secho("nothing was hit, so nothing is proven: did the program go through this proxy?", fg="red")
        return code

    def _say(self, line: str, record: Mapping[str, object]) -> None:
        click.echo(json.dumps(record) if self._as_json else line)
