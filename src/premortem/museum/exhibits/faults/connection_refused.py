"""Events that come while the collector is down are lost.

Cause:       The sender takes "connection refused" for bad luck, writes a line in the log and goes on to the next event.
Effect:      For the minutes of each deployment of the collector there are no events, and nobody sees the gap.
Fix:         What could not be sent is kept in order on disk, and goes first when the collector is back.
Prevention:  premortem.durable for the spool; count what was made against what has arrived.
"""

import logging
import socket

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("proxy",)
PREDICTION = Violated("every event arrives")


def deliver(port, event):
    """Send one event and wait until it is taken."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as collector:
        collector.sendall(f"GET /{event} HTTP/1.1\r\nHost: collector\r\nConnection: close\r\n\r\n".encode())
        if b" 200 " not in collector.recv(1024):
            raise ConnectionError(event)


def broken(event, port, spool):
    """Send an event."""
    try:
        deliver(port, event)
    except OSError as error:
        logging.warning("event not sent: %s", error)


def fixed(event, port, spool):
    """Send what waits, and then the event; what cannot be sent goes on waiting."""
    with spool.open("a") as file:
        file.write(event + "\n")
    waiting = spool.read_text().splitlines()
    try:
        while waiting:
            deliver(port, waiting[0])
            del waiting[0]
    except OSError as error:
        logging.warning("%s events wait: %s", len(waiting), error)
    spool.write_text("".join(event + "\n" for event in waiting))


def scenario(send, lab):
    """An event arrives; two come while the collector is down; one comes after it is back."""
    collector = lab.web_server()
    spool = lab.folder / "spool"
    proxy = lab.proxy("127.0.0.1", collector.port)
    send("start", proxy.port, spool)
    lab.check("it arrives in clear weather", collector.count("/start") == 1)
    with proxy.refuse():
        send("order-1", proxy.port, spool)
        send("order-2", proxy.port, spool)
    send("order-3", proxy.port, spool)

    arrived = [path for _, path in collector.requests]
    everything = ["/start", "/order-1", "/order-2", "/order-3"]
    lab.check("every event arrives", arrived == everything, f"arrived: {' '.join(arrived)}")


if __name__ == "__main__":
    run_alone(__file__)
