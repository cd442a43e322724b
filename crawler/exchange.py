"""What goes along with an attempt beside its headers: body, cookies, credential, way; and what it teaches them.

Does: put a message together in the order in which its parts depend on each other (the body's digest before the
signature, the signature last), and tell jar, proxies and scheme how it went. Must not know the wire, retries or
records. Invariant: nothing is added to a message once it is signed.
"""

from __future__ import annotations

from time import monotonic
from time import time as wall_clock
from typing import NamedTuple
from urllib.parse import unquote_plus

from crawler.auth.scheme import Answered, Draft, Step
from crawler.authenticate import Authenticator, Fault, Used
from crawler.capture import METHOD
from crawler.compose import merged, with_cookies
from crawler.cookies import Jar
from crawler.errors import Reason
from crawler.hosts import HostRules
from crawler.model import Fetched, Message, Request
from crawler.outgoing import Framed, UploadUnreadable, open_content
from crawler.redirect import exposed
from crawler.routing import Routing
from crawler.session import Answer
from crawler.urls import hostname

# A connection that does not come about through a proxy may be its fault or the target's; two in a row make it its own.
_PROXY_FAULTS = {Reason.PROXY_REFUSED, Reason.PROXY_AUTH, Reason.PROXY_FAILED, Reason.CONNECT_TIMEOUT}
_REASONS = {Step.REJECTED: Reason.AUTH_REJECTED, Step.CLOCK: Reason.AUTH_CLOCK}


class Means(NamedTuple):
    """What of a job goes along with requests; None where it has none."""

    jar: Jar | None = None
    auth: Authenticator | None = None
    routing: Routing | None = None


class Refused(Exception):
    """The attempt ends: `reason`, a sentence, the status where an answer led to it, and `wait` as a Failed has it."""

    def __init__(self, reason: Reason, error: str, status: int | None = None, *, wait: float | None = None) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error
        self.status = status
        self.wait = wait


class Exchange:
    """One attempt of one request."""

    def __init__(self, request: Request, host: HostRules, means: Means) -> None:
        self._request = request
        self._host = host
        self._means = means
        self._used: Used | None = None
        self._message: Message | None = None

    @property
    def reads_errors(self) -> bool:
        """Is the start of an error's body wanted."""
        return self._used is not None and self._used.section.scheme.reads_errors

    async def prepare(self, message: Message) -> Message:
        """The message with all that goes along. Raises Refused."""
        request, means = self._request, self._means
        if request.robots is None:
            headers = dict(message.headers)
            if means.jar is not None and not (request.foreign and exposed(request.url, request.seed)):
                headers = with_cookies(headers, means.jar.header(request.url, wall_clock()))
            message = await self._signed(message._replace(headers=headers))
        if means.routing is not None:
            route = means.routing.route(message.url, self._host.ways, monotonic())
            if request.method == METHOD and route.proxy is not None:
                route = route._replace(tunnel=True)  # RFC 6455 4.1, of ws:// as well
            if request.foreign and route.tls.client_cert is not None and not self._identified():
                route = route._replace(tls=route.tls._replace(client_cert=None))
            message = message._replace(route=route)
        self._message = message
        return message

    def _identified(self) -> bool:
        """May a hop at another origin learn by our certificate who we are: another host only where it is named."""
        url, seed = self._request.url, self._request.seed
        named = hostname(url) == hostname(seed) and not self._request.depth  # a page may have led to its own seed
        return not exposed(url, seed) and (self._host.certified or named)

    async def _signed(self, message: Message) -> Message:
        """The message with its body, and with the credential that is bound to its host."""
        request, auth = self._request, self._means.auth
        section = auth.section(request) if auth is not None else None
        if isinstance(section, Fault):
            raise Refused(section.reason, section.error)
        wants = section.scheme.wants if section is not None else frozenset[str]()
        try:
            typed = any(name.lower() == "content-type" for name in message.headers)
            body = await open_content(request.body, wants, typed=typed)
        except UploadUnreadable as trouble:
            raise Refused(Reason.UPLOAD_UNREADABLE, str(trouble)) from None
        message = message._replace(headers=merged(message.headers, body.headers), body=body.body)
        if section is None or auth is None:
            return message
        held = body.body if isinstance(body.body, bytes) else None
        draft = Draft(message.method, message.url, message.headers, body.digests, body.length, request.rounds, held)
        used = await auth.sign(section, draft)
        if isinstance(used, Fault):
            raise Refused(used.reason, used.error, wait=used.retry_in)
        self._used, signed = used, used.signed
        message = message._replace(headers=merged(message.headers, signed.headers), url=signed.url or message.url)
        if signed.framing is not None and body.body is not None:
            message = message._replace(body=Framed(body.body, signed.framing, signed.piece))
        return message

    def failed(self, reason: Reason) -> None:
        """No answer came. Of a proxy that tells nothing, unless the fault is its own."""
        if reason in _PROXY_FAULTS:
            self._tell_proxy(well=False)

    def overdue(self, reason: Reason, error: str) -> tuple[Reason, str]:
        """What it is that took too long, where no answer came: no connection through a proxy is the proxy's fault."""
        proxy = self._message.route.proxy if self._message is not None else None
        if proxy is not None and reason is Reason.CONNECT_TIMEOUT:
            reason, error = Reason.PROXY_FAILED, f"through the proxy {proxy}: {error}"
        self.failed(reason)
        return reason, error

    def arrived(self, answer: Answer) -> bool:
        """The head of the answer is there. True: it changed the jar."""
        self._tell_proxy(well=True)
        jar = self._means.jar
        if jar is None or self._request.robots is not None or "Set-Cookie" not in answer.headers:
            return False
        before = jar.changes
        jar.accept(self._request.url, answer.all("Set-Cookie"), wall_clock())
        return jar.changes != before

    def judged(self, outcome: Fetched, answer: Answer, start: bytes) -> None:
        """What the whole answer means for the credential; `start` of an error's body. Raises Refused."""
        used, auth = self._used, self._means.auth
        if used is None or auth is None:
            return
        if used.signed.url is not None:
            outcome.lent = _pairs(used.signed.url) - _pairs(used.draft.url)
        answered = Answered(answer.status, answer.headers, answer.all("WWW-Authenticate"), start)
        judgement = auth.heard(used, answered)
        if judgement.step is Step.AGAIN:
            outcome.again = True
        elif judgement.step is not Step.FINE:
            raise Refused(_REASONS[judgement.step], judgement.error, answer.status)

    def _tell_proxy(self, *, well: bool) -> None:
        routing, message = self._means.routing, self._message
        if routing is not None and message is not None and message.route.proxy is not None:
            routing.told(message.route, self._host.ways, monotonic(), well=well)


def _pairs(url: str) -> frozenset[str]:
    """The parameters of a query, decoded."""
    return frozenset(map(unquote_plus, url.partition("?")[2].split("&")))
