"""An authority and certificates of its own, as files, for servers and clients with TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


class Authority:
    """Issues certificates into a directory; `file` is its own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}.pem"
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        own = _builder(self._name, self._name, self._key, -DAY, DAY)
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
            usage, critical=True
        )
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        own = own.add_extension(self._identifier, critical=False)
        _write(self.file, own.sign(self._key, hashes.SHA256()))

    def issue(
        self, name: str, *, host: str = "127.0.0.1", ends: dt.timedelta = DAY, password: bytes | None = None
    ) -> tuple[Path, Path]:
        """Make a certificate for a host, good for servers and clients; return its file and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative: x509.GeneralName = x509.DNSName(host)
        if host[0].isdigit():
            alternative = x509.IPAddress(ipaddress.ip_address(host))
        certificate = _builder(subject, self._name, key, ends - 2 * DAY, ends)
        for extension in (
            x509.SubjectAlternativeName([alternative]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier),
        ):
            certificate = certificate.add_extension(extension, critical=False)
        file, key_file = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        _write(file, certificate.sign(self._key, hashes.SHA256()))
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        return file, key_file

    def trusted(self, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A client's context that trusts this authority only, with a certificate of its own if given."""
        context = ssl.create_default_context(cafile=self.file)
        if client is not None:
            context.load_cert_chain(*client)
        return context


def server_tls(pair: tuple[Path, Path], **settings: object) -> dict[str, object]:
    """What a nats-server's configuration says for this certificate."""
    return {"tls": {"cert_file": str(pair[0]), "key_file": str(pair[1]), **settings}}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, starts: dt.timedelta, ends: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now + starts).not_valid_after(now + ends)


def _write(file: Path, certificate: x509.Certificate) -> None:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
