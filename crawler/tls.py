"""TLS settings as OpenSSL takes them, and what is wrong with their files.

Does: make the one SSLContext of each Tls, read the files that it names, compare a certificate with the pinned ones.
Must not know connections or jobs. Invariant: verification, host name check and at least TLS 1.2 are on unless `verify`
is false, and then only the first two are off; nobody is ever asked for a password; no sentence shows one.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from crawler.routes import ClientCert, Tls

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@lru_cache(maxsize=256)
def context_of(tls: Tls) -> ssl.SSLContext:
    """The context for connections to servers; a `ca_bundle` takes the place of the system's. Raises OSError.

    ssl.SSLError among them. Reads files, those of the system too (some 20 ms), the first time.
    """
    context = _verifying(tls.ca_bundle, tls.min_version)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.client_cert is not None:
        _identify(context, tls.client_cert)
    return context


@lru_cache(maxsize=64)
def proxy_context_of(tls: Tls) -> ssl.SSLContext:
    """The context for a proxy that is spoken to by TLS; what is said of the target does not weaken it. Raises OSError.

    It is verified whatever `verify` says, by the system's authorities or the `ca_bundle`, and gets no client
    certificate.
    """
    context = _verifying(None, tls.min_version)
    if tls.ca_bundle is not None:
        context.load_verify_locations(tls.ca_bundle)
    return context


def faults(tls: Tls) -> str | None:
    """What keeps these settings from being used, in a sentence that names the file; None where nothing does."""
    cert = tls.client_cert
    named = [tls.ca_bundle, *((cert.cert, cert.key) if cert is not None else ())]
    if not any(named):  # nothing of the job's can be wrong; a job of http alone never reads the system's authorities
        return None
    for path in filter(None, named):
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    try:
        context_of(tls._replace(client_cert=None))
    except OSError:
        return f"{tls.ca_bundle} has no certificate in PEM form (a CA bundle)"
    try:
        context_of(tls)
    except OSError as error:
        assert cert is not None
        return _cert_fault(cert, error)
    return None


def matches(tls: Tls, certificate: bytes | None) -> bool:
    """Is the leaf certificate, as DER, one of those pinned, or is none pinned."""
    return not tls.fingerprints or (certificate is not None and sha256(certificate).hexdigest() in tls.fingerprints)


def _verifying(ca_bundle: str | None, min_version: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_bundle)
    context.minimum_version = _VERSIONS[min_version]
    context.set_alpn_protocols(["http/1.1"])
    return context


def _identify(context: ssl.SSLContext, cert: ClientCert) -> None:
    # With None, OpenSSL would ask for a password on the terminal.
    context.load_cert_chain(cert.cert, cert.key, password=cert.password or "")


def _cert_fault(cert: ClientCert, error: OSError) -> str:
    key = cert.key or cert.cert
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"{key} is not the key of the client certificate {cert.cert}"
    if b"ENCRYPTED" in Path(key).read_bytes():
        return f"{key} is encrypted, and " + ("the password is wrong" if cert.password else "no password is given")
    if b"-----BEGIN CERTIFICATE-----" not in Path(cert.cert).read_bytes():
        return f"{cert.cert} has no certificate in PEM form"
    if b"PRIVATE KEY-----" not in Path(key).read_bytes():
        return f"{key} has no private key in PEM form (client_cert.key)"
    return f"{cert.cert} with {key} is of no use as a client certificate: {reason or error}"
