"""Toxiproxy's HTTP API and configuration file, so that its clients in eleven languages work on our proxy unchanged.

Law: what a client asks for is done, or refused in words. Two things alone are passed over, because clients send them
unasked: the toxics in an update of a proxy, and the stream of a toxic that strikes whole connections.

Prior art: Shopify/toxiproxy 2.12 (`api.go`, `toxic_collection.go`, `toxics/`): paths, JSON shapes, status codes and
error texts are its own.
"""

from premortem.faults.proxy.toxiproxy.config import ProxyEntry, read_config
from premortem.faults.proxy.toxiproxy.named_proxy import NamedProxy
from premortem.faults.proxy.toxiproxy.proxies import Proxies
from premortem.faults.proxy.toxiproxy.server import DEFAULT_ADDRESS, ApiServer
from premortem.faults.proxy.toxiproxy.tally import Hit
from premortem.faults.proxy.toxiproxy.toxics import Toxic

__all__ = ["DEFAULT_ADDRESS", "ApiServer", "Hit", "NamedProxy", "Proxies", "ProxyEntry", "Toxic", "read_config"]
