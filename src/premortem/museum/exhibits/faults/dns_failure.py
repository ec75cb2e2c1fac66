"""The name server has a bad minute, and every job of that minute dies.

Cause:       Every call asks for the name anew, and "try again" from the name server is taken for "there is no such
             host". The host itself is up all the time.
Effect:      socket.gaierror: Temporary failure in name resolution, in all jobs at once, and a night of restarts.
Fix:         Where the answer is "try again", go to the address that last worked; believe "no such host".
Prevention:  A resolver with a cache on every machine; tell EAI_AGAIN from EAI_NONAME wherever names are resolved.
"""

import socket
import urllib.request

from premortem.experiment import run_alone

PREDICTION = socket.gaierror


def read(address, port):
    """Ask a server by its address."""
    with urllib.request.urlopen(f"http://{address}:{port}/") as answer:
        return answer.read()


def broken(host, port, known):
    """Resolve the name, and ask."""
    return read(socket.gethostbyname(host), port)


def fixed(host, port, known):
    """Resolve the name, and ask; in a bad minute of the name server, the address that last worked."""
    try:
        address = socket.gethostbyname(host)
    except socket.gaierror as error:
        if error.errno != socket.EAI_AGAIN or host not in known:
            raise
        address = known[host]
    answer = read(address, port)
    known[host] = address
    return answer


def scenario(fetch, lab):
    """A job in clear weather, one while names cannot be resolved, and one after the host has been taken away."""
    port, known = lab.web_server().port, {}
    lab.check("it answers in clear weather", fetch("localhost", port, known) == b"ok")
    with lab.dns.failing("SERVFAIL"):
        lab.check("it answers in a bad minute", fetch("localhost", port, known) == b"ok")

    with lab.dns.failing("NXDOMAIN"):
        try:
            gone = fetch("localhost", port, known)
        except socket.gaierror as error:
            gone = error.errno
    lab.check("a host that is no more is not asked", gone == socket.EAI_NONAME, f"{gone}")


if __name__ == "__main__":
    run_alone(__file__)
