"""The certificate has expired overnight, and the quick fix talks to anybody.

Cause:       Somebody forgot to renew; the client's answer to the error, copied from the first search result, is to ask
             again without checking.
Effect:      It works again, for the server, and for whoever pretends to be it: the token goes to both.
Fix:         A certificate that is refused is the end of the call, said in words that name who must act; days before it
             expires, every answer warns.
Prevention:  Ask every certificate how long it has; keep `CERT_NONE` out of the code by a lint.
"""

import ssl
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("tls",)
PREDICTION = Violated("a stranger gets no token")


def ask(url, token, context):
    """One request with the token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=context, timeout=2) as answer:
        return answer.read()


def broken(url, token, ca):
    """Ask; where the certificate is refused, ask without looking at it."""
    context = ssl.create_default_context(cafile=ca)
    try:
        return ask(url, token, context)
    except OSError:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return ask(url, token, context)


def fixed(url, token, ca):
    """Ask; a certificate that is refused is somebody's to renew."""
    try:
        return ask(url, token, ssl.create_default_context(cafile=ca))
    except OSError as error:
        raise ConnectionError(f"{url}: renew the certificate, nothing was sent: {error}") from error


def scenario(call, lab):
    """All is well; the certificate expires; somebody else answers in the server's place; it is renewed."""
    server = lab.tls_server()
    lab.check("it answers in clear weather", call(server.url, "s3cret", server.ca) == b"ok")
    for kind in ("expired", "untrusted_ca"):
        with server.swapped(kind):
            try:
                answer = call(server.url, "s3cret", server.ca)
            except ConnectionError as error:
                answer, said = b"", str(error)
            lab.check("a stranger gets no token", answer == b"", f"{kind}: it was sent, and the answer was {answer}")
            lab.check("it says what to do", "renew the certificate" in said, said)
    lab.check("it answers again", call(server.url, "s3cret", server.ca) == b"ok")


if __name__ == "__main__":
    run_alone(__file__)
