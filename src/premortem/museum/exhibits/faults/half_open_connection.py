"""A worker waits for ever on a connection whose other side is gone.

Cause:       A restarted load balancer, a dead NAT entry, a pulled cable: the other side is gone and no packet says so.
             TCP tells nothing to whoever only waits; the read has no limit.
Effect:      The worker is up, healthy by its process list, and idle; jobs pile up behind it. There is no error.
Fix:         Ask with a limit that the server keeps, wait a little longer than that, and connect anew when even the
             answer "nothing to do" does not come.
Prevention:  No read without a limit; a heartbeat on whatever waits; alert on the age of the oldest job.
"""

import socket
from urllib.parse import urlsplit

from premortem.errors import Hung
from premortem.experiment import run_alone

NEEDS = ("valkey", "proxy")
PREDICTION = Hung(after_s=3)


def connect(url):
    """A connection that has logged in."""
    parts = urlsplit(url)
    server = socket.create_connection((parts.hostname, parts.port))
    server.sendall(f"AUTH {parts.password}\r\n".encode())
    server.recv(64)
    return server


def broken(server, url, queue):
    """Wait for a job."""
    server.sendall(f"BLPOP {queue} 0\r\n".encode())
    return server.recv(1024)


def fixed(server, url, queue):
    """Wait for a job; where not even "none" is said in time, ask on a new connection."""
    while True:
        server.settimeout(0.6)
        server.sendall(f"BLPOP {queue} 0.2\r\n".encode())
        try:
            answer = server.recv(1024)
        except TimeoutError:
            answer = b""
        if queue.encode() in answer:
            return answer
        if not answer:
            server.close()
            server = connect(url)


def scenario(next_job, lab):
    """A job comes; then the other side goes without a word, and a second job comes."""
    parts = urlsplit(lab.valkey_url)
    proxy = lab.proxy(parts.hostname, parts.port)
    worker = connect(parts._replace(netloc=f":{parts.password}@127.0.0.1:{proxy.port}").geturl())
    producer, queue = connect(lab.valkey_url), f"jobs:{lab.name}"

    def produce(job):
        producer.sendall(f"RPUSH {queue} {job}\r\n".encode())
        producer.recv(64)

    produce("first")
    lab.check("a job is taken", b"first" in next_job(worker, lab.valkey_url, queue))
    with proxy.half_open():
        produce("second")
        lab.check("the second job is taken", b"second" in next_job(worker, lab.valkey_url, queue))


if __name__ == "__main__":
    run_alone(__file__)
