"""A payment is booked twice, because the broker brought it twice.

Cause:       The consumer books a payment and then acknowledges it; the connection breaks in between. The broker cannot
             know that the work was done, and brings the message again: every broker delivers at least once.
Effect:      The customer's balance is off by one payment. No error, and both bookings look right.
Fix:         Write the message's id in the transaction of its effect: the second time, the id is already there.
Prevention:  premortem.durable.inbox; ids from the producer, not from the broker; bring every message twice in a test.
"""

from contextlib import suppress
from urllib.parse import urlsplit

import psycopg
from valkey import Valkey
from valkey.exceptions import ConnectionError as BrokerDownError

from premortem.durable.inbox import Inbox, create_tables
from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres", "valkey", "proxy")
PREDICTION = Violated("each payment is booked once")


def payments(client, topic):
    """What this consumer has not acknowledged yet, and then what is new."""
    found = [client.xreadgroup("booking", "worker", {topic: start}) for start in ("0", ">")]
    return [entry for answer in found for _, entries in answer for entry in entries]


def broken(url, broker, topic):
    """Book what has come in."""
    with Valkey.from_url(broker) as client, suppress(BrokerDownError):  # when it is back, it brings what is left
        for entry, fields in payments(client, topic):
            with psycopg.connect(url) as db:
                db.execute("UPDATE account SET balance = balance + %s", (int(fields[b"amount"]),))
            client.xack(topic, "booking", entry)


def fixed(url, broker, topic):
    """Book what has come in, each payment once."""
    with Valkey.from_url(broker) as client, suppress(BrokerDownError):  # when it is back, it brings what is left
        for entry, fields in payments(client, topic):
            with psycopg.connect(url) as db:
                if Inbox(db, "booking").once(fields[b"id"].decode()):
                    db.execute("UPDATE account SET balance = balance + %s", (int(fields[b"amount"]),))
            client.xack(topic, "booking", entry)


def scenario(book, lab):
    """A payment of 10 in clear weather; one of 20 whose acknowledgement is lost; then the consumer starts again."""
    url, topic, parts = lab.postgres.url, f"payments:{lab.name}", urlsplit(lab.valkey_url)
    with psycopg.connect(url) as db:
        db.execute("CREATE TABLE account AS SELECT 0 AS balance")
        create_tables(db)
    with Valkey.from_url(lab.valkey_url) as client:
        client.xgroup_create(topic, "booking", mkstream=True)
        client.xadd(topic, {"id": "payment-1", "amount": 10})
        book(url, lab.valkey_url, topic)
        lab.check("a payment is booked", lab.postgres.value("SELECT balance FROM account") == 10)

        client.xadd(topic, {"id": "payment-2", "amount": 20})
        proxy = lab.proxy(parts.hostname, parts.port)
        through = parts._replace(netloc=f":{parts.password}@127.0.0.1:{proxy.port}").geturl()
        with proxy.at("redis:XACK#1+"):
            book(url, through, topic)
        book(url, lab.valkey_url, topic)
    balance = lab.postgres.value("SELECT balance FROM account")
    lab.check("each payment is booked once", balance == 30, f"10 and 20 came in, and {balance} is booked")


if __name__ == "__main__":
    run_alone(__file__)
