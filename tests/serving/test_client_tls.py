"""TLS and mutual TLS, over both protocols, with certificates made on the spot."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stub_server import Stub, grpc_stub, rest_stub

from serving.client import Client, InputError, ServerError, Tls

IMAGE = np.zeros((28, 28), np.uint8)
PROTOCOLS = ["grpcs", "https"]


@dataclass
class Authority:
    """A certificate authority, in files."""

    directory: Path
    name: str

    def __post_init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.ca = self._write("ca.pem", self._sign(self._subject, self._key, authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate = self._sign(subject, key, authority=False)
        return self._write(f"{name}.pem", certificate), self._write(f"{name}.key", pem)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self.directory / f"{self.name}-{name}"
        path.write_bytes(content)
        return path


@dataclass
class Secure:
    """Servers of both protocols that want a client's certificate, and all the files."""

    ours: Authority
    stranger: Authority
    ports: dict[str, int]
    stub: Stub

    def ask(self, protocol: str, tls: Tls | None) -> int:
        address = f"{protocol}://127.0.0.1:{self.ports[protocol]}"
        with Client(address, tls=tls, retries=0, timeout=5) as client:
            return len(client.classify(IMAGE))


def serve(directory: Path, *, mutual: bool) -> Iterator[Secure]:
    ours, stranger = Authority(directory, "ours"), Authority(directory, "stranger")
    cert, key = ours.issue("server")
    stub = Stub()
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), cert.read_bytes())],
        ours.ca.read_bytes() if mutual else None,
        require_client_auth=mutual,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ours.ca)
    with ExitStack() as stack:
        ports = {
            "grpcs": stack.enter_context(grpc_stub(stub, credentials=credentials)),
            "https": stack.enter_context(rest_stub(stub, tls=context)),
        }
        yield Secure(ours, stranger, ports, stub)


@pytest.fixture(scope="module")
def tls_servers(tmp_path_factory) -> Iterator[Secure]:
    yield from serve(tmp_path_factory.mktemp("tls"), mutual=False)


@pytest.fixture(scope="module")
def mutual_servers(tmp_path_factory) -> Iterator[Secure]:
    yield from serve(tmp_path_factory.mktemp("mutual"), mutual=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_trusted_server_answers(tls_servers, protocol):
    assert tls_servers.ask(protocol, Tls(ca=tls_servers.ours.ca)) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trust", ["nobody's", "public"])
def test_an_untrusted_server_is_asked_nothing(tls_servers, protocol, trust):
    seen = len(tls_servers.stub.seen)
    tls = Tls(ca=tls_servers.stranger.ca) if trust == "nobody's" else None
    with pytest.raises(ServerError, match=r"(?i)UNAVAILABLE: .*certificate"):
        tls_servers.ask(protocol, tls)
    assert len(tls_servers.stub.seen) == seen


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutual_tls(mutual_servers, protocol):
    ours = mutual_servers.ours
    cert, key = ours.issue("client")
    assert mutual_servers.ask(protocol, Tls(ca=ours.ca, cert=cert, key=key)) == 1
    seen = len(mutual_servers.stub.seen)
    stranger = mutual_servers.stranger.issue("client")
    for cert_key in (None, stranger):
        cert, key = cert_key or (None, None)
        with pytest.raises(ServerError, match="UNAVAILABLE"):
            mutual_servers.ask(protocol, Tls(ca=ours.ca, cert=cert, key=key))
    assert len(mutual_servers.stub.seen) == seen


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bad_files_are_told_by_name(tls_servers, protocol, tmp_path):
    ours = tls_servers.ours
    cert, key = ours.issue("client")
    _, other_key = ours.issue("other")
    text, missing = tmp_path / "text.pem", tmp_path / "missing.pem"
    text.write_text("hello")
    for tls, message in (
        (Tls(ca=missing), f"{missing}: No such file or directory"),
        (Tls(ca=text), f"{text}: not a certificate, in PEM form"),
        (Tls(cert=missing, key=key), f"{missing}: No such file or directory"),
        (Tls(cert=cert, key=missing), f"{missing}: No such file or directory"),
        (Tls(cert=text, key=key), f"{text}: not a certificate with {key} its unencrypted key"),
        (Tls(cert=cert, key=other_key), f"{cert}: not a certificate with {other_key} its"),
        (Tls(cert=cert), "a TLS certificate and its key go together: give both or neither"),
    ):
        with pytest.raises(InputError) as caught:
            tls_servers.ask(protocol, tls)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("address", ["grpc://127.0.0.1:8500", "http://127.0.0.1:8501"])
def test_tls_needs_an_address_with_tls(tls_servers, address):
    with pytest.raises(InputError, match=r"is without TLS; use (grpc|http)s://"):
        Client(address, tls=Tls(ca=tls_servers.ours.ca))
