"""The authority of one process: what it signs, and what it never writes."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from provisioner.adapters.certificates import CertificateAuthority

ROOT = Path(__file__).parents[2]

# Reports every file that the process opens for writing, and which of them holds a key.
WATCHER = """
import os, sys
opened = set()

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        if (mode and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            opened.add(arguments[0])

from provisioner.adapters.certificates import CertificateAuthority
sys.addaudithook(watch)
CertificateAuthority().context("index.test")
print(sorted(opened))
"""


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """One authority for all tests, as for all requests of a process."""
    return CertificateAuthority()


def handshake(
    authority: CertificateAuthority,
    host: str,
    trusting: ssl.SSLContext,
    *,
    named: str | None = None,
) -> tuple[x509.Certificate, str | None]:
    """Meet the server of a host over a socket: its certificate and the protocol agreed on."""
    ours, theirs = socket.socketpair()
    served = authority.context(host)

    def serve() -> None:
        try:
            with served.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except (ssl.SSLError, ConnectionError):
            theirs.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        with ours, trusting.wrap_socket(ours, server_hostname=named or host) as connection:
            der = connection.getpeercert(binary_form=True)
            assert der is not None
            connection.sendall(b"x")
            return x509.load_der_x509_certificate(der), connection.selected_alpn_protocol()
    finally:
        server.join()


def trust(authority: CertificateAuthority) -> ssl.SSLContext:
    """A client's settings that trust only this authority, as strictly as OpenSSL can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.certificate.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@pytest.mark.parametrize("host", ["index.test", "127.0.0.1", "10.1.2.3", "::1"])
def test_a_strict_client_trusts_the_certificate_of_the_host_it_asked_for(
    host: str, authority: CertificateAuthority
) -> None:
    certificate, _ = handshake(authority, host, trust(authority))

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(host)]
        assert names.get_values_for_type(x509.DNSName) == []
    except ValueError:
        assert names.get_values_for_type(x509.DNSName) == [host]


def test_a_certificate_is_for_no_other_host(authority: CertificateAuthority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        handshake(authority, "index.test", trust(authority), named="other.test")


def test_a_client_of_another_authority_refuses(authority: CertificateAuthority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, "index.test", trust(CertificateAuthority()))


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"]])
def test_http_2_is_never_agreed_on(offered: list[str], authority: CertificateAuthority) -> None:
    trusting = trust(authority)
    trusting.set_alpn_protocols(offered)

    _, agreed = handshake(authority, "index.test", trusting)

    assert agreed == "http/1.1"


def test_old_versions_of_tls_are_refused(authority: CertificateAuthority) -> None:
    assert authority.context("index.test").minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_server_certificate_can_sign_nothing(authority: CertificateAuthority) -> None:
    certificate, _ = handshake(authority, "index.test", trust(authority))
    extensions = certificate.extensions

    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]


def test_the_authority_lives_for_days_and_was_valid_an_hour_ago(
    authority: CertificateAuthority,
) -> None:
    made = x509.load_pem_x509_certificate(authority.certificate)
    life = made.not_valid_after_utc - made.not_valid_before_utc

    assert life.days <= 7
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_one_host_gets_one_certificate(authority: CertificateAuthority) -> None:
    assert authority.context("index.test") is authority.context("index.test")
    assert authority.context("index.test") is not authority.context("other.test")


def test_two_authorities_share_nothing() -> None:
    first, second = (CertificateAuthority().certificate for _ in range(2))

    assert first != second
    assert b"PRIVATE" not in first + second


def test_no_key_is_written_to_a_disk() -> None:
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no files in memory")
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHER], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
