"""What went wrong on the wire, in our words: an exception of aiohttp, of a socket, of TLS becomes a Reason.

Decides by the exception and its cause alone. Must not know jobs, retries or hosts. Invariant: every trouble of the
wire leaves as TransportError with a Reason and a sentence that shows no credential.
"""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
from aiohttp import http_exceptions

from crawler.errors import Reason
from crawler.guard import Blocked
from crawler.handshakes import ProxyFault
from crawler.upload import Unreadable

# A certificate's fault as OpenSSL numbers it (x509_vfy.h).
_EXPIRED = {9, 10}
_WRONG_NAME = {62, 63, 64}
# Alerts by which a server speaks about our certificate (RFC 8446 6.2), in OpenSSL's words. In TLS 1.3 they come after
# the handshake, with the first read.
_ABOUT_OURS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "TLSV1_ALERT_UNKNOWN_CA",
    "TLSV1_ALERT_ACCESS_DENIED",
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_NO_CERTIFICATE",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_REVOKED",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
}


class TransportError(Exception):
    """The wire gave no usable answer: `reason` and a sentence."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


class WrongCertificate(OSError):
    """The server's certificate is not one of those pinned, and nothing was sent to it; the text is a sentence."""


def translate(error: Exception, when: str) -> TransportError:
    """An exception of aiohttp or the socket layer as a Reason with a sentence."""
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, Blocked):
        return TransportError(Reason.BLOCKED_ADDRESS, str(inner))
    if isinstance(inner, ProxyFault):
        return TransportError(inner.reason, str(inner))
    if isinstance(inner, WrongCertificate):
        return TransportError(Reason.TLS_FINGERPRINT, str(inner))
    if isinstance(inner, Unreadable):
        return TransportError(Reason.UPLOAD_UNREADABLE, str(inner))
    reason = _reason(error)
    text = str(error) or type(error).__name__
    return TransportError(reason, f"{reason.value} {when}: {text[:300]}")


def _reason(error: Exception) -> Reason:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return _dns_reason(error.os_error)
        case socket.gaierror():
            return _dns_reason(error)
        case aiohttp.ClientConnectorCertificateError():
            return _certificate_reason(error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return _tls_reason(error.os_error)
        case ssl.SSLError():
            return _tls_reason(error)
        case aiohttp.ClientPayloadError():
            return _payload_reason(error)
        case aiohttp.ServerTimeoutError():
            return Reason.READ_TIMEOUT
        case aiohttp.ClientConnectorError():
            return _connect_reason(error)
        case aiohttp.ClientResponseError() | http_exceptions.HttpProcessingError():
            return Reason.BAD_RESPONSE
        case aiohttp.ServerDisconnectedError() if isinstance(error.message, http_exceptions.HttpProcessingError):
            return Reason.BAD_RESPONSE
        case aiohttp.ClientOSError():
            return _late_reason(error)
        case aiohttp.ClientConnectionError() | OSError():
            return Reason.CONNECTION_RESET
        case ValueError():  # aiohttp.InvalidURL among others
            return Reason.BAD_INPUT
    return Reason.BAD_RESPONSE


def _dns_reason(error: OSError) -> Reason:
    # EAI_NODATA is a glibc extension (a name without addresses).
    absent = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return Reason.DNS_NOT_FOUND if isinstance(error, socket.gaierror) and error.errno in absent else Reason.DNS_FAILED


def _tls_reason(error: OSError) -> Reason:
    """Of a fault in the handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_reason(error)
    return Reason.TLS_CLIENT_CERT if getattr(error, "reason", None) in _ABOUT_OURS else Reason.TLS_PROTOCOL


def _late_reason(error: OSError) -> Reason:
    """Of a connection that was lost after it had been made; aiohttp keeps of TLS's own exception only the text."""
    about_ours = any(f"[SSL: {name}]" in str(error) for name in _ABOUT_OURS)
    return Reason.TLS_CLIENT_CERT if about_ours else Reason.CONNECTION_RESET


def _certificate_reason(error: Exception) -> Reason:
    code = getattr(error, "verify_code", None)
    if code in _EXPIRED:
        return Reason.TLS_EXPIRED
    if code in _WRONG_NAME:
        return Reason.TLS_HOSTNAME
    return Reason.TLS_UNTRUSTED


def _payload_reason(error: aiohttp.ClientPayloadError) -> Reason:
    """A body that ended early is `truncated`; a framing no server may send is `bad-response`."""
    cause = error.__cause__
    if isinstance(cause, http_exceptions.HttpProcessingError) and "Not enough data" not in str(cause):
        return Reason.BAD_RESPONSE
    return Reason.TRUNCATED


def _connect_reason(error: aiohttp.ClientConnectorError) -> Reason:
    inner = error.os_error
    number, text = inner.errno, str(inner)
    # Happy eyeballs joins several failures into one text without an errno.
    if number == errno.ECONNREFUSED or f"[Errno {errno.ECONNREFUSED}]" in text:
        return Reason.CONNECT_REFUSED
    if number == errno.ETIMEDOUT or isinstance(inner, ConnectionAbortedError):  # asyncio's word for a slow handshake
        return Reason.CONNECT_TIMEOUT
    if isinstance(inner, ConnectionResetError | BrokenPipeError):  # in the handshake too, where they have no errno
        return Reason.CONNECTION_RESET
    return Reason.CONNECT_FAILED
