"""How secrets look in a text: a password in a URL, a value behind a telling name, tokens of known makers.

Every pattern is bounded, so that a hostile text of some thousand characters costs milliseconds.
"""

from __future__ import annotations

import re

_SHORTEST = 9
_SHAPES = re.compile(
    r"eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)*"  # a JSON web token
    r"|\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"  # AWS
    r"|\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,})"
    r"|\bxox[abeoprs]-[\w-]{10,}|\bxapp-[\w-]{10,}"  # Slack
    r"|\b(?:sk|rk|pk)_(?:live|test)_\w{10,}|\bsk-[\w-]{16,}"  # Stripe; OpenAI, Anthropic
    r"|\bAIza[\w-]{30,}|\bya29\.[\w.-]{10,}"  # Google
    r"|\b(?:pypi|npm|dop_v1|hf|shpat|SG)[-_.][\w.-]{16,}"
    r"|\bdapi[0-9a-f]{32}\b"  # Databricks
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
)
# One of these is in every token; looking for them is ten times as quick as looking for the shapes.
_MARKS = (
    *("eyJ", "AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-"),
    *("xox", "xapp-", "_live_", "_test_", "sk-", "AIza", "ya29.", "pypi", "npm", "dop_v1", "hf", "shpat", "SG", "dapi"),
    "PRIVATE KEY",
)
_RUN = re.compile(r'[^\s"<>]+')
_NAME = (
    r"(?:passwords?|passwd|passphrase|pwd|passcode|secrets?|tokens?|api[_-]?keys?|access[_-]?key|private[_-]?key"
    r"|signing[_-]?key|encryption[_-]?key|credentials?|session[_-]?(?:id|key)|(?<![a-zA-Z])(?:auth|pass|pin|otp|cvv|jwt|sid))"
)
_QUOTED = r"""[bBrRuU]{0,2}(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')|\\+["'][^"']*+["']"""
_PAIR = re.compile(
    rf"""({_NAME}[\w-]{{0,40}}["'\\]{{0,4}}[ \t]{{0,4}}(?:=>|:=|[=:])\s{{0,4}})(?:{_QUOTED}|\S+)""",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    r"""((?:authorization|(?<![a-z])(?:set-)?cookie|x-[\w-]{0,30}(?:key|token))["']{0,2}\s{0,4}[=:])[^\r\n]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s{1,4})\S{6,}", re.IGNORECASE)
_BASIC = re.compile(r"(\b[Bb]asic\s{1,4})(?=[a-z]{0,40}[A-Z0-9+/=])[\w+/=-]{8,}")


def hide_tokens(text: str, hidden: str) -> str:
    """Without the tokens that are known by their shape."""
    if len(text) >= _SHORTEST:
        for mark in _MARKS:
            if mark in text:
                return _SHAPES.sub(hidden, text)
    return text


def hide_urls(text: str, hidden: str) -> str:
    """`scheme://user:password@host` without the password, which goes up to the last @ before a blank or a quote."""

    def one(found: re.Match[str]) -> str:
        run = found[0]
        begin, last = run.find("://"), run.rfind("@")
        colon = run.find(":", begin + 3, last) if 0 <= begin < last else -1
        return run if colon < 0 else f"{run[: colon + 1]}{hidden}{run[last:]}"

    return _RUN.sub(one, text)


def hide_pairs(text: str, hidden: str) -> str:
    """`password=...`, `"token": "..."`, headers with credentials: without what stands behind the name."""
    text = _HEADER.sub(rf"\1 {hidden}", text)
    text = _PAIR.sub(rf"\1{hidden}", text)
    return _BASIC.sub(rf"\1{hidden}", _BEARER.sub(rf"\1{hidden}", text))
