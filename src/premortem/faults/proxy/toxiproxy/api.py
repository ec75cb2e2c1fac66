"""Toxiproxy's routes as a table: a request goes in, an answer comes out, and no socket is seen here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from premortem import __version__
from premortem.errors import ConfigurationError, PremortemError
from premortem.faults.proxy.toxiproxy import metrics
from premortem.faults.proxy.toxiproxy.config import read_entries, read_entry
from premortem.faults.proxy.toxiproxy.fields import Json, read_json
from premortem.faults.proxy.toxiproxy.proxies import Proxies
from premortem.faults.proxy.toxiproxy.refusals import Refused
from premortem.faults.proxy.toxiproxy.toxics import read_toxic

SPOKEN = "2.12.0"
"""The version of Toxiproxy whose API this is; clients compare it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose path is understood: which proxy, which toxic, and the body as it came."""

    proxy: str
    toxic: str
    body: bytes

    def json(self) -> Json:
        """The body, read."""
        return read_json(self.body)


def version(_: Proxies, __: Call) -> Answer:
    """Which API is spoken, and by whom."""
    return _ok({"version": SPOKEN, "server": f"premortem {__version__}"})


def list_proxies(proxies: Proxies, _: Call) -> Answer:
    """All proxies by name, with their toxics."""
    return _ok({name: proxy.shown() for name, proxy in proxies.all().items()})


def create_proxy(proxies: Proxies, call: Call) -> Answer:
    """A new proxy; with "toxics", which is ours, it has them from its first connection on."""
    return _ok(proxies.create(read_entry(call.json())).shown(), HTTPStatus.CREATED)


def populate(proxies: Proxies, call: Call) -> Answer:
    """Several proxies at once; those that are there already as they are wanted stay as they are."""
    made = proxies.populate(read_entries(call.json()))
    return _ok({"proxies": [proxy.shown() for proxy in made]}, HTTPStatus.CREATED)


def show_proxy(proxies: Proxies, call: Call) -> Answer:
    """One proxy with its toxics."""
    return _ok(proxies.get(call.proxy).shown())


def update_proxy(proxies: Proxies, call: Call) -> Answer:
    """Enable, disable or move one."""
    proxy, told = proxies.get(call.proxy), call.json()
    proxy.update(told, proxies.check)
    return _ok(proxy.shown())


def delete_proxy(proxies: Proxies, call: Call) -> Answer:
    """Close one, and forget it."""
    proxies.delete(call.proxy)
    return Answer(HTTPStatus.NO_CONTENT)


def list_toxics(proxies: Proxies, call: Call) -> Answer:
    """The toxics of one proxy."""
    return _ok([toxic.shown() for toxic in proxies.get(call.proxy).toxics()])


def add_toxic(proxies: Proxies, call: Call) -> Answer:
    """Put one in."""
    proxy, toxic = proxies.get(call.proxy), read_toxic(call.json())
    proxy.add(toxic)
    return _ok(toxic.shown())


def show_toxic(proxies: Proxies, call: Call) -> Answer:
    """One toxic."""
    return _ok(proxies.get(call.proxy).toxic(call.toxic).shown())


def update_toxic(proxies: Proxies, call: Call) -> Answer:
    """Change its attributes or its toxicity."""
    return _ok(proxies.get(call.proxy).change(call.toxic, call.json()).shown())


def delete_toxic(proxies: Proxies, call: Call) -> Answer:
    """Take it out."""
    proxies.get(call.proxy).remove(call.toxic)
    return Answer(HTTPStatus.NO_CONTENT)


def reset(proxies: Proxies, _: Call) -> Answer:
    """Enable all proxies, and take every toxic out."""
    proxies.reset()
    return Answer(HTTPStatus.NO_CONTENT)


def show_metrics(proxies: Proxies, _: Call) -> Answer:
    """For Prometheus."""
    return Answer(HTTPStatus.OK, metrics.text(proxies).encode(), metrics.CONTENT_TYPE)


Handler = Callable[[Proxies, Call], Answer]

# {p} is a proxy's name, {t} a toxic's. Toxiproxy calls POST for an update deprecated, and all of its clients use it.
ROUTES: dict[str, dict[str, Handler]] = {
    "/version": {"GET": version},
    "/metrics": {"GET": show_metrics},
    "/reset": {"POST": reset},
    "/populate": {"POST": populate},
    "/proxies": {"GET": list_proxies, "POST": create_proxy},
    "/proxies/{p}": {"GET": show_proxy, "POST": update_proxy, "PATCH": update_proxy, "DELETE": delete_proxy},
    "/proxies/{p}/toxics": {"GET": list_toxics, "POST": add_toxic},
    "/proxies/{p}/toxics/{t}": {
        "GET": show_toxic,
        "POST": update_toxic,
        "PATCH": update_toxic,
        "DELETE": delete_toxic,
    },
}


def answer(proxies: Proxies, method: str, path: str, body: bytes) -> Answer:
    """Do what is asked; every error of ours becomes an answer with Toxiproxy's status code and its JSON."""
    found = _find(path)
    if found is None:
        return plain(HTTPStatus.NOT_FOUND, "404 page not found")
    methods, names = found
    if method not in methods:
        return plain(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} is for {', '.join(methods)}")
    try:
        return methods[method](proxies, Call(names.get("{p}", ""), names.get("{t}", ""), body))
    except Refused as error:
        return failed(error.error, error.status, error.detail)
    except ConfigurationError as error:
        return failed(f"bad request body: {error}", HTTPStatus.BAD_REQUEST)
    except PremortemError as error:
        return failed(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)


def failed(error: str, status: int, detail: str = "") -> Answer:
    """An error as Toxiproxy words it; `detail` is ours, and clients that do not know it pass it by."""
    told: dict[str, Json] = {"error": error, "status": int(status)}
    return _ok(told | ({"detail": detail} if detail else {}), status)


def plain(status: int, message: str) -> Answer:
    """An answer that is for people."""
    return Answer(int(status), f"{message}\n".encode(), "text/plain; charset=utf-8")


def _find(path: str) -> tuple[dict[str, Handler], dict[str, str]] | None:
    told = path.partition("?")[0].split("/")
    for form, methods in ROUTES.items():
        parts = form.split("/")
        pairs = [(part, unquote(one)) for part, one in zip(parts, told, strict=False)]
        if len(parts) == len(told) and all(one == part or (part.startswith("{") and one) for part, one in pairs):
            return methods, {part: one for part, one in pairs if part.startswith("{")}
    return None


def _ok(told: Json | list[dict[str, Json]], status: int = HTTPStatus.OK) -> Answer:
    return Answer(int(status), json.dumps(told).encode() + b"\n")
