"""Certificates made on the spot: a good one, and those that no client may accept.

An authority of our own signs them; who trusts its file trusts the good one and nothing else. Wants the library
`cryptography` (premortem[lab]).
"""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.errors import MissingRequirementError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_DAY = timedelta(days=1)
_HOST, _OTHER_HOST = "localhost", "somebody-else.test"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, in one PEM file."""

    path: Path
    valid_from: datetime
    valid_to: datetime


class Authority:
    """Signs certificates for localhost, 127.0.0.1 and ::1, and keeps them in `folder`; `now` is the issuing moment."""

    def __init__(self, folder: Path, now: datetime, name: str = "ca") -> None:
        if importlib.util.find_spec("cryptography") is None:
            raise MissingRequirementError(
                "cryptography", "the library is not installed", "pip install 'premortem[lab]'"
            )
        self._folder, self._now = folder, now
        self._key = _new_key()
        self._name = f"premortem {name}"
        self._own = self._signed(self._key, self._name, (now - _DAY, now + 365 * _DAY), None)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(_pem(self._own))

    def issue(
        self, name: str, valid_from: timedelta = -_DAY, valid_for: timedelta = 31 * _DAY, *, host: str = _HOST
    ) -> Certificate:
        """A certificate for `host`, valid from `valid_from` after the issuing moment."""
        return self._kept(name, host, (self._now + valid_from, self._now + valid_from + valid_for), self_signed=False)

    def expired(self) -> Certificate:
        """Was valid for a month, until yesterday."""
        return self.issue("expired", -31 * _DAY, 30 * _DAY)

    def not_yet_valid(self) -> Certificate:
        """Will be valid from tomorrow on."""
        return self.issue("not-yet-valid", _DAY)

    def wrong_host(self) -> Certificate:
        """Valid, and somebody else's."""
        return self.issue("wrong-host", host=_OTHER_HOST)

    def self_signed(self) -> Certificate:
        """Signed by nobody but itself."""
        return self._kept("self-signed", _HOST, (self._now - _DAY, self._now + 30 * _DAY), self_signed=True)

    def _kept(self, name: str, host: str, valid: tuple[datetime, datetime], *, self_signed: bool) -> Certificate:
        key = _new_key()
        path = self._folder / f"{name}.pem"
        path.write_bytes(_key_pem(key) + _pem(self._signed(key, host, valid, None if self_signed else self._key)))
        return Certificate(path, *valid)

    def _signed(
        self,
        key: EllipticCurvePrivateKey,
        name: str,
        valid: tuple[datetime, datetime],
        signer: EllipticCurvePrivateKey | None,
    ) -> x509.Certificate:
        """Of `key`, signed by `signer`, or by itself where that is None."""
        from cryptography import x509  # noqa: PLC0415 - a quarter of a second, for who makes certificates
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - as above
        from cryptography.x509.oid import NameOID  # noqa: PLC0415 - as above

        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        is_authority = name == self._name
        built = (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(self._name if signer else name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if is_authority:
            built = built.add_extension(_may_sign(), critical=True)
        else:
            built = built.add_extension(_names(name), critical=False)
        if signer is not None:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            built = built.add_extension(issuer, critical=False)
        return built.sign(signer or key, hashes.SHA256())


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    return ec.generate_private_key(ec.SECP256R1())


def _names(host: str) -> x509.SubjectAlternativeName:
    from cryptography import x509  # noqa: PLC0415 - as above

    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if host == _HOST:
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return x509.SubjectAlternativeName(names)


def _may_sign() -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415 - as above

    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*every, "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(**never, key_cert_sign=True, crl_sign=True)


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - as above

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
