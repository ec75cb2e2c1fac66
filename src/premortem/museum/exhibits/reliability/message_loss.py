"""An order is saved, and nobody is told of it.

Cause:       The service writes to two places, one after the other: the order to the database, the message to the
             broker. No transaction spans both, and the broker is away for a moment in between.
Effect:      The order is there, paid for, and never shipped. In the log stands one warning; nothing else is wrong.
Fix:         Write the message to the database, too, in the order's transaction; a relay brings it to the broker, as
             often as it takes.
Prevention:  premortem.durable.outbox; compare what is in the database with what was announced, every day.
"""

import asyncio
import logging
from urllib.parse import urlsplit

import psycopg
from valkey import Valkey
from valkey.exceptions import ConnectionError as BrokerDownError

from premortem.durable.outbox import Outbox, Relay, SinkDownError, Tries, create_tables
from premortem.durable.outbox.publishers.valkey_streams import ValkeyStreams
from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres", "valkey", "proxy")
PREDICTION = Violated("every order is announced")


def broken(url, broker, topic, order):
    """Save an order, and tell the others."""
    with psycopg.connect(url) as db:
        db.execute("INSERT INTO orders VALUES (%s)", (order,))
    try:
        with Valkey.from_url(broker) as client:
            client.xadd(topic, {"payload": order})
    except BrokerDownError:
        logging.warning("could not announce order %s", order)


def fixed(url, broker, topic, order):
    """Save an order and its announcement; then announce whatever waits, as a relay beside the service does."""
    with psycopg.connect(url) as db:
        db.execute("INSERT INTO orders VALUES (%s)", (order,))
        Outbox(db).add(topic, key=str(order), payload=order)
    try:
        with ValkeyStreams(broker) as streams:
            asyncio.run(Relay(url, streams, tries=Tries(down_attempts=1)).drain())
    except SinkDownError:
        logging.warning("the broker is down; order %s waits in the outbox", order)


def scenario(place_order, lab):
    """Three orders; the broker is away at the second one."""
    topic, parts = f"orders:{lab.name}", urlsplit(lab.valkey_url)
    with psycopg.connect(lab.postgres.url) as db:
        db.execute("CREATE TABLE orders (number int)")
        create_tables(db)
    proxy = lab.proxy(parts.hostname, parts.port)
    broker = parts._replace(netloc=f":{parts.password}@127.0.0.1:{proxy.port}").geturl()

    place_order(lab.postgres.url, broker, topic, 1)
    with proxy.at("redis:XADD#1+"):
        place_order(lab.postgres.url, broker, topic, 2)
    place_order(lab.postgres.url, broker, topic, 3)
    with Valkey.from_url(lab.valkey_url) as client:
        announced = {int(fields[b"payload"]) for _, fields in client.xrange(topic)}
    saved = {number for (number,) in lab.postgres.query("SELECT number FROM orders")}
    lab.check("every order is announced", announced == saved, f"saved {saved}, announced {announced}")


if __name__ == "__main__":
    run_alone(__file__)
