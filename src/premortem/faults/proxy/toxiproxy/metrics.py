"""What Prometheus is told: Toxiproxy's counters of bytes, and how often each fault has struck."""

from __future__ import annotations

from collections.abc import Iterator

from premortem.faults.proxy.toxiproxy.proxies import Proxies

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(proxies: Proxies) -> str:
    """One page of them."""
    return "".join(f"{line}\n" for line in (*_bytes(proxies), *_strikes(proxies)))


def _bytes(proxies: Proxies) -> Iterator[str]:
    """Per proxy and direction, as in Toxiproxy's METRICS.md."""
    name = "toxiproxy_proxy_sent_bytes_total"
    yield f"# HELP {name} Bytes that a proxy has passed on, per direction."
    yield f"# TYPE {name} counter"
    for proxy in proxies.all().values():
        traffic = proxy.traffic()
        where = {"proxy": proxy.name, "listener": str(proxy.listen), "upstream": str(proxy.upstream)}
        yield _line(name, {"direction": "upstream", **where}, traffic.bytes_up)
        yield _line(name, {"direction": "downstream", **where}, traffic.bytes_down)


def _strikes(proxies: Proxies) -> Iterator[str]:
    """Per fault: 0 says that it was armed and has hit nothing."""
    name = "premortem_strikes_total"
    yield f"# HELP {name} How often a fault has struck."
    yield f"# TYPE {name} counter"
    for (proxy, fault), count in proxies.counts().items():
        yield _line(name, {"proxy": proxy, "fault": fault}, count)


def _line(name: str, labels: dict[str, str], value: int) -> str:
    shown = ",".join(f'{label}="{_escaped(told)}"' for label, told in labels.items())
    return f"{name}{{{shown}}} {value}"


def _escaped(told: str) -> str:
    return told.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
