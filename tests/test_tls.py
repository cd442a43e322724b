"""TLS settings without a connection: what OpenSSL is told, and what is wrong with files."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from crawler.routes import ClientCert, Tls
from crawler.tls import context_of, faults, matches, proxy_context_of
from tests.peers import pem


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def leaf(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("127.0.0.1")


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA, leaf: trustme.LeafCert) -> dict[str, str]:
    """PEM files by name; `locked` is the key under the password "hunter2"."""
    chain, key = leaf.cert_chain_pems, leaf.private_key_pem
    locked = load_pem_private_key(key.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
    )
    return {
        "ca": pem(tmp_path, "ca.pem", authority.cert_pem),
        "cert": pem(tmp_path, "cert.pem", *chain),
        "key": pem(tmp_path, "key.pem", key),
        "both": pem(tmp_path, "both.pem", key, *chain),
        "other": pem(tmp_path, "other.pem", authority.issue_cert("x.test").private_key_pem),
        "locked": pem(tmp_path, "locked.pem", trustme.Blob(locked)),
        "empty": pem(tmp_path, "empty.pem"),
        "absent": str(tmp_path / "absent.pem"),
        "folder": str(tmp_path),
    }


def test_the_defaults_are_strict() -> None:
    """Verified, by name, from TLS 1.2 on, by the system's authorities."""
    context = context_of(Tls())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.maximum_version is ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.cert_store_stats()["x509_ca"] > 0


def test_without_verification_the_version_still_counts() -> None:
    """Only certificate and name are let pass."""
    context = context_of(Tls(verify=False, min_version="1.3"))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_a_bundle_takes_the_place_of_the_systems(files: dict[str, str]) -> None:
    """Nobody else is trusted then."""
    assert context_of(Tls(ca_bundle=files["ca"])).cert_store_stats()["x509_ca"] == 1


def test_a_proxy_is_verified_whatever_is_said_of_the_target(files: dict[str, str]) -> None:
    """By the system's authorities and the bundle; our certificate is for the target alone."""
    cert = ClientCert(files["both"])
    context = proxy_context_of(Tls(ca_bundle=files["ca"], client_cert=cert, verify=False))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    system = context_of(Tls()).cert_store_stats()["x509_ca"]
    assert context.cert_store_stats()["x509_ca"] == system + 1


def test_equal_settings_share_a_context(files: dict[str, str]) -> None:
    """Made once; what differs in anything has its own."""
    assert context_of(Tls(ca_bundle=files["ca"])) is context_of(Tls(ca_bundle=files["ca"]))
    assert context_of(Tls(ca_bundle=files["ca"])) is not context_of(Tls(ca_bundle=files["ca"], verify=False))


@pytest.mark.parametrize(
    "cert",
    [("cert", "key", None), ("both", None, None), ("cert", "locked", "hunter2"), ("cert", "key", "not needed")],
)
def test_good_files_have_no_fault(files: dict[str, str], cert: tuple[str, str | None, str | None]) -> None:
    """Certificate and key in two files or one, the key encrypted or not."""
    name, key, password = cert
    client = ClientCert(files[name], files[key] if key else None, password)
    assert faults(Tls(ca_bundle=files["ca"], client_cert=client)) is None
    assert faults(Tls()) is None


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        (("absent", None, None, None), "{absent} cannot be read: No such file or directory"),
        (("folder", None, None, None), "{folder} cannot be read: Is a directory"),
        (("empty", None, None, None), "{empty} has no certificate in PEM form (a CA bundle)"),
        (("key", None, None, None), "{key} has no certificate in PEM form (a CA bundle)"),
        (("ca", "absent", None, None), "{absent} cannot be read: No such file or directory"),
        (("ca", "cert", "absent", None), "{absent} cannot be read: No such file or directory"),
        (("ca", "key", "key", None), "{key} has no certificate in PEM form"),
        (("ca", "cert", None, None), "{cert} has no private key in PEM form (client_cert.key)"),
        (("ca", "cert", "cert", None), "{cert} has no private key in PEM form (client_cert.key)"),
        (("ca", "cert", "other", None), "{other} is not the key of the client certificate {cert}"),
        (("ca", "cert", "locked", None), "{locked} is encrypted, and no password is given"),
        (("ca", "cert", "locked", "hunter3"), "{locked} is encrypted, and the password is wrong"),
    ],
)
def test_each_fault_names_its_file(
    files: dict[str, str], tls: tuple[str, str | None, str | None, str | None], told: str
) -> None:
    """In one sentence, before anything is fetched; nobody is asked for a password, and none is shown."""
    bundle, cert, key, password = tls
    client = ClientCert(files[cert], files[key] if key else None, password) if cert else None
    assert faults(Tls(ca_bundle=files[bundle], client_cert=client)) == told.format(**files)


def test_a_certificate_is_compared_whole(leaf: trustme.LeafCert) -> None:
    """SHA-256 of its DER, one of those pinned; none pinned takes any, some pinned take no absent one."""
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    digest = sha256(der).hexdigest()
    assert matches(Tls(), der)
    assert matches(Tls(), None)
    assert matches(Tls(fingerprints=("0" * 64, digest)), der)
    assert not matches(Tls(fingerprints=("0" * 64,)), der)
    assert not matches(Tls(fingerprints=(digest,)), None)
