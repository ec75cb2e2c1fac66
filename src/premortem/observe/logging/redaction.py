"""What must not be read in a log: values by the name of their key, URLs with passwords, tokens by their shape.

Rather too much is hidden than too little: where it cannot be seen how far a secret goes, all that may be part of it is
hidden. A secret that has no name beside it, no known shape and was not registered cannot be known for one.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from premortem.errors import ConfigurationError
from premortem.observe.logging.shapes import hide_pairs, hide_tokens, hide_urls

HIDDEN = "[redacted]"
LONGEST_SECRET = 8192
"""Characters: a registered secret has no more, and so much further than it is cut a text is searched."""

_SHORTEST_SECRET = 6
_MOST_NAMES = 4096
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ANYWHERE = (
    *("password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "signingkey"),
    *("authorization", "cookie", "credential", "sessionid", "sessionkey", "encryptionkey", "connectionstring"),
)
# The shell's folders, of which the paths in every traceback are parts; under this name anywhere else is a password.
_FOLDERS = frozenset({"PWD", "OLDPWD"})
_AS_A_WORD = frozenset({"pwd", "pass", "auth", "pin", "otp", "cvv", "jwt", "sid", "passcode", "pgpass"})


class Redaction:
    """What is hidden in a log, besides what is always hidden.

    `names`: further names of keys (any part of a name, in any case); `public`: whole names of keys that are shown
    although they sound secret ("token_count"); `secrets`: values that are hidden wherever they turn up, also quoted as
    in a URL, in base64 or as repr() writes them, of 6 to 8192 characters; `environment`: those are taken for secrets
    that stand there under a secret's name (default: this process's; {} for none).
    """

    def __init__(
        self,
        *,
        names: Iterable[str] = (),
        public: Iterable[str] = (),
        secrets: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._anywhere = (*_ANYWHERE, *(_plain(name) for name in _several("names", names)))
        if not all(self._anywhere):
            raise ConfigurationError("Redaction.names: one has neither letter nor digit, and would be part of any name")
        self._public = frozenset(_plain(name) for name in _several("public", public))
        self._known: dict[str, bool] = {}
        self._keys: dict[str, str] = {}
        known = set(_several("secrets", secrets))
        if not all(_SHORTEST_SECRET <= len(secret) <= LONGEST_SECRET for secret in known):
            raise ConfigurationError(
                f"Redaction.secrets: one has fewer than {_SHORTEST_SECRET} or more than {LONGEST_SECRET} characters, "
                "and would be found everywhere or nowhere; leave it out, and name its key in `names`"
            )
        for name, value in (os.environ if environment is None else environment).items():
            if name not in _FOLDERS and self.hides(name) and _SHORTEST_SECRET <= len(value) <= LONGEST_SECRET:
                known.add(value)
        self._numbers = frozenset(int(one) for one in known if one.isascii() and one.isdigit() and len(one) < 20)  # noqa: PLR2004 - 64 bits
        forms = {form for secret in known for form in _forms(secret)}
        ordered = sorted(forms, key=len, reverse=True)  # the longest first: one may be the beginning of another
        self._exact = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __repr__(self) -> str:
        return "Redaction(...)"

    def hides(self, name: str) -> bool:
        """Whether what stands under a key of this name is hidden."""
        if (known := self._known.get(name)) is not None:
            return known
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[name] = answer = self._sounds_secret(name[:LONGEST_SECRET])
        return answer

    def is_secret(self, number: int) -> bool:
        """Whether a number is a registered secret."""
        return number in self._numbers

    def text(self, text: str) -> str:
        """`text` with all hidden that is known, or looks like, a secret."""
        if self._exact is not None:
            text = self._exact.sub(HIDDEN, text)
        if "://" in text and "@" in text:
            text = hide_urls(text, HIDDEN)
        if "=" in text or ":" in text:
            text = hide_pairs(text, HIDDEN)
        return hide_tokens(text, HIDDEN)

    def key(self, name: str) -> str:
        """A key's own name, as `text`; names come again and again, so they are remembered."""
        if (known := self._keys.get(name)) is not None:
            return known
        if len(self._keys) >= _MOST_NAMES:
            self._keys.clear()
        self._keys[name] = answer = self.text(name)
        return answer

    def _sounds_secret(self, name: str) -> bool:
        whole = _plain(name)
        if whole in self._public:
            return False
        if any(part in whole for part in self._anywhere):
            return True
        return any(word.lower() in _AS_A_WORD for word in _WORDS.findall(name))


def _plain(name: str) -> str:
    return "".join(one for one in name.lower() if one.isalnum())


def _several(what: str, texts: Iterable[str]) -> tuple[str, ...]:
    several = (texts,) if isinstance(texts, str) else tuple(texts)
    if not all(isinstance(text, str) for text in several):
        raise ConfigurationError(f"Redaction.{what}: one is no text; pass texts")
    return several


def _forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, in a URL, in base64, as repr() and JSON write it."""
    data = secret.encode("utf-8", "surrogatepass")
    quoted = {
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        quote(data.decode("latin-1")),
    }
    coded = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}
    written = {repr(secret)[1:-1], secret.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")}
    return {secret, *quoted, *written, *(code.rstrip("=") for code in coded)}
