"""What can go wrong: the exit codes, our own exceptions, and Reason with the one table that says what each leads to.

Decides: is a fault worth another try, and does it speak against its host. Must not know HTTP libraries or the job.
Invariant: every Reason has a row in POLICY (a test holds it); slugs are stable, since people grep for them.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple


class ExitCode(IntEnum):
    """How a command ends; the table stands in the README."""

    OK = 0  # all well
    FAILED = 1  # finished, but more inputs failed than allowed
    USAGE = 2  # job file or usage wrong; nothing was fetched
    STOPPED = 3  # stopped before the end by a budget or a signal; the next run goes on
    NO_ROOM = 4  # no room or no right to write, or the state on disk is damaged
    BUG = 70  # our bug (EX_SOFTWARE)
    BUSY = 75  # another run of this job holds the lock (EX_TEMPFAIL)


class CrawlerError(Exception):
    """A fault we can put into one sentence for the user; `code` is the exit code it leads to."""

    code = ExitCode.BUG


class JobError(CrawlerError):
    """The job, its inputs or the command line are wrong. `problems` holds every one found, each a full sentence."""

    code = ExitCode.USAGE

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StorageError(CrawlerError):
    """The output folder or the state in it cannot be written, read or trusted."""

    code = ExitCode.NO_ROOM


class BusyError(CrawlerError):
    """Another run of the same job holds the lock."""

    code = ExitCode.BUSY


class Interrupted(CrawlerError):
    """A signal came while a start waited for its turn; nothing was begun."""

    code = ExitCode.STOPPED


class NothingToDo(CrawlerError):
    """What was asked for is done already; said, and no fault."""

    code = ExitCode.OK


class Reason(Enum):
    """Why an input did not end as `fetched`. The value is the slug in records, logs and summaries."""

    STATUS = "status"  # an unaccepted status; written with its number: status-404
    DNS_NOT_FOUND = "dns-not-found"
    DNS_FAILED = "dns-failed"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_FAILED = "connect-failed"  # no route, network unreachable and the like
    CONNECT_TIMEOUT = "connect-timeout"
    CONNECTION_RESET = "connection-reset"
    READ_TIMEOUT = "read-timeout"
    TOTAL_TIMEOUT = "total-timeout"
    STALL = "stall"
    TLS_EXPIRED = "tls-expired"
    TLS_HOSTNAME = "tls-hostname"
    TLS_UNTRUSTED = "tls-untrusted"
    TLS_PROTOCOL = "tls-protocol"
    TLS_CLIENT_CERT = "tls-client-cert"  # the server wants a client certificate, or another one
    TLS_FINGERPRINT = "tls-fingerprint"  # not the certificate that the job pinned
    PROXY_REFUSED = "proxy-refused"  # no connection to the proxy
    PROXY_AUTH = "proxy-auth"  # 407, or refused by SOCKS
    PROXY_FAILED = "proxy-failed"  # the proxy answers, but leads nowhere
    AUTH_REJECTED = "auth-rejected"  # the server does not take the credential
    AUTH_UNAVAILABLE = "auth-unavailable"  # no token was to be had
    AUTH_CLOCK = "auth-clock"  # our clock and the server's differ too much for a signature
    AUTH_INSECURE = "auth-insecure"  # a credential would have gone over plain http
    UNEXPECTED_CONTENT = "unexpected-content"  # a success by its status, but not what [expect] says
    BAD_PAGE = "bad-page"  # the next page cannot be found out
    PAST_END = "past-end"  # asked for by counting, behind the last page
    UPLOAD_UNREADABLE = "upload-unreadable"  # a file to be sent is gone, or changed while it was sent
    WEBSOCKET_CLOSED = "websocket-closed"  # before all that was wanted had come
    TRUNCATED = "truncated"
    BAD_RANGE = "bad-range"  # a part of a body that was not asked for
    BAD_RESPONSE = "bad-response"
    BAD_ENCODING = "bad-encoding"
    TOO_LARGE = "too-large"
    DIGEST_MISMATCH = "digest-mismatch"
    SIZE_MISMATCH = "size-mismatch"  # not the `size` of its row
    BAD_CONTENT = "bad-content"  # a file whose end is not there (expect.verify_format)
    REDIRECT_LOOP = "redirect-loop"
    TOO_MANY_REDIRECTS = "too-many-redirects"
    BAD_REDIRECT = "bad-redirect"
    BLOCKED_SCHEME = "blocked-scheme"
    CANNOT_REPLAY = "cannot-replay"
    BAD_INPUT = "bad-input"
    BLOCKED_ADDRESS = "blocked-address"  # a page or redirect led to loopback, a private or a metadata address
    HOST_DEAD = "host-dead"  # given up after [breaker] give_up; never sent, or not again
    ROBOTS = "robots"  # its robots.txt disallows it
    ROBOTS_UNREACHABLE = "robots-unreachable"  # RFC 9309 2.3.1.4: then nothing is allowed
    OUT_OF_SCOPE = "out-of-scope"  # a redirect of a crawl left its scope
    KNOWN = "known"  # a redirect of a crawl led to what it fetches anyway
    EXTRACT_FAILED = "extract-failed"  # a function of [extract] raised
    MISSING_FIELD = "missing-field"  # a page without a field that it must have
    NOT_DUE = "not-due"  # known, and by run.again or its own word not worth asking for yet
    REMOVED = "removed"  # its row left the input list before it was fetched
    INTERNAL = "internal"

    def slug(self, status: int | None = None) -> str:
        """The stable text of this reason; `status-NNN` where the status itself is the reason."""
        return f"status-{status}" if self is Reason.STATUS else self.value


class Policy(NamedTuple):
    """What a reason leads to: `tries` caps the attempts (None: as many as the job allows; 1: never again)."""

    tries: int | None
    against_host: bool


_AGAIN = Policy(None, True)
_AGAIN_NOT_THE_HOST = Policy(None, False)
_ONCE_MORE = Policy(2, False)
_NEVER = Policy(1, False)

# A status is retried by the job's own list (retry.statuses), so STATUS itself only says "not by this table".
POLICY: dict[Reason, Policy] = {
    Reason.STATUS: _NEVER,
    Reason.DNS_NOT_FOUND: _NEVER,  # no host is asked, and the answer is remembered
    Reason.DNS_FAILED: _AGAIN,
    Reason.CONNECT_REFUSED: _AGAIN,
    Reason.CONNECT_FAILED: _AGAIN,
    Reason.CONNECT_TIMEOUT: _AGAIN,
    Reason.CONNECTION_RESET: _AGAIN,
    Reason.READ_TIMEOUT: _AGAIN,
    Reason.TOTAL_TIMEOUT: Policy(2, False),
    Reason.STALL: Policy(2, True),
    Reason.TLS_EXPIRED: Policy(1, True),
    Reason.TLS_HOSTNAME: Policy(1, True),
    Reason.TLS_UNTRUSTED: Policy(1, True),
    Reason.TLS_PROTOCOL: Policy(1, True),
    Reason.TLS_CLIENT_CERT: _NEVER,
    Reason.TLS_FINGERPRINT: _NEVER,
    Reason.PROXY_REFUSED: _AGAIN_NOT_THE_HOST,
    Reason.PROXY_AUTH: _ONCE_MORE,  # of several proxies the next may let us in
    Reason.PROXY_FAILED: _AGAIN_NOT_THE_HOST,
    Reason.AUTH_REJECTED: _NEVER,
    Reason.AUTH_UNAVAILABLE: _AGAIN,  # the host waits meanwhile, as if it were down: it is of no use
    Reason.AUTH_CLOCK: _NEVER,
    Reason.AUTH_INSECURE: _NEVER,
    Reason.UNEXPECTED_CONTENT: _NEVER,
    Reason.BAD_PAGE: _NEVER,
    Reason.PAST_END: _NEVER,
    Reason.UPLOAD_UNREADABLE: _NEVER,
    Reason.WEBSOCKET_CLOSED: _AGAIN_NOT_THE_HOST,
    Reason.TRUNCATED: _AGAIN_NOT_THE_HOST,
    Reason.BAD_RANGE: _ONCE_MORE,
    Reason.BAD_RESPONSE: _NEVER,
    Reason.BAD_ENCODING: _ONCE_MORE,
    Reason.TOO_LARGE: _NEVER,
    Reason.DIGEST_MISMATCH: _ONCE_MORE,
    Reason.SIZE_MISMATCH: _ONCE_MORE,
    Reason.BAD_CONTENT: _ONCE_MORE,
    Reason.REDIRECT_LOOP: _NEVER,
    Reason.TOO_MANY_REDIRECTS: _NEVER,
    Reason.BAD_REDIRECT: _NEVER,
    Reason.BLOCKED_SCHEME: _NEVER,
    Reason.CANNOT_REPLAY: _NEVER,
    Reason.BAD_INPUT: _NEVER,
    Reason.BLOCKED_ADDRESS: _NEVER,
    Reason.HOST_DEAD: _NEVER,
    Reason.ROBOTS: _NEVER,
    Reason.ROBOTS_UNREACHABLE: _NEVER,
    Reason.OUT_OF_SCOPE: _NEVER,
    Reason.KNOWN: _NEVER,
    Reason.EXTRACT_FAILED: _NEVER,
    Reason.MISSING_FIELD: _NEVER,
    Reason.NOT_DUE: _NEVER,
    Reason.REMOVED: _NEVER,
    Reason.INTERNAL: _NEVER,
}
