"""TLS through the proxy, from end to end: it leads where the grant says, and what is said stays
between the harness and that place."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane
from tests.runner.way_out import OpenProxy, Site, is_cut, opener, read_to_end, refusals

_REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of 127.0.0.1, which vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site of a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "site.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def site(certificate: Path) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site = Site(context)
    yield site
    site.close()


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """A client that believes this certificate and no other."""
    return ssl.create_default_context(cafile=str(certificate))


@pytest.fixture
def open_proxy(plane: ControlPlane, publish: Publish, start_runner: StartRunner) -> OpenProxy:
    return opener(plane, publish, start_runner)


@pytest.mark.proves("grant.egress-only-with-grant")
def test_https_passes_with_a_grant_and_the_client_itself_verifies_the_server(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site, trusting: ssl.SSLContext
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation)
    with (
        proxy.tunnel(site.place) as raw,
        trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(_REQUEST % b"/hello")
        assert read_to_end(sock).endswith("hello")
    assert [line for line, _, _ in site.requests] == ["GET /hello HTTP/1.1"]
    assert session.grants[0]["uses"] == 1


@pytest.mark.proves("grant.egress-only-with-grant")
def test_https_without_a_grant_ends_before_a_byte_of_tls(open_proxy: OpenProxy, site: Site) -> None:
    proxy, _, _ = open_proxy()
    assert proxy.answer(proxy.connect(site.place)).startswith("HTTP/1.1 403 ")
    assert site.requests == []


@pytest.mark.proves("grant.egress-cut")
def test_a_revoked_grant_cuts_a_running_download_by_https(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site, trusting: ssl.SSLContext
) -> None:
    proxy, session, _ = open_proxy()
    grant = plane.grant(session, site.operation)
    with (
        proxy.tunnel(site.place) as raw,
        trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(_REQUEST % b"/endless")
        assert sock.recv(4096)
        grant["state"] = "revoked"
        assert is_cut(sock)
    plane.wait_for(lambda: refusals(session, "x.egress.cut"), "the cut on record")
