"""The user's own signer, `module:callable`: a function or a class of theirs, called for each request.

Decides what a signer is given, and what it may give. Must not know how it is found and imported. Invariant: what it
gives is checked before it goes anywhere: headers that HTTP can carry and that do not frame the message, a URL of the
draft's own origin alone; a fault in it becomes a PluginError that holds no text of the plugin's making.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import iscoroutine
from random import Random
from types import MappingProxyType
from typing import Any

from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step, Unsignable
from crawler.challenges import refusal
from crawler.tables import BadCell, check_header
from crawler.urls import BadURL, origin, parse

_ROUNDS = 2  # how often one request may be sent back because the plugin says so
_FRAMING = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_NONE: Mapping[str, Any] = MappingProxyType({})


class PluginError(Unsignable):
    """A fault of the user's signer, named by `module:callable`; of an exception only its type is told."""


class Plugin:
    """`target` is a function `(draft, now)`, or a class that is made once with the mapping of the section's options.

        class Stamp:                         # plugin = "signers:Stamp", options = { key = "env:KEY" }
            wants = {"sha256"}               # optional: the body digests to be found in draft.digests
            reads_errors = False             # optional: is the begin of an error's body wanted in `accept`

            def __init__(self, options):
                self.key = options["key"].encode()

            def sign(self, draft, now):      # draft.method .url .headers .digests .length .round; now: epoch seconds
                text = b"%d %s" % (now, draft.digests["sha256"])
                return {"X-Time": str(int(now)), "X-Sign": hmac.new(self.key, text, "sha256").hexdigest()}

            def accept(self, draft, answered):   # optional: answered.status .headers .challenges .body
                return answered.status == 419    # True: sign and send again, at most twice for one request

    A signer gives a mapping of headers, a `Signed` (with a `url` of the same origin, where the query is signed), or
    None to add nothing. It must not be a coroutine, nor wait: every request of the run stands still meanwhile.
    Raises PluginError.
    """

    name = "plugin"

    def __init__(self, target: Callable[..., object], name: str, options: Mapping[str, Any] = _NONE) -> None:
        self._label = name
        made = isinstance(target, type)
        signer: Any = self._called(target, MappingProxyType(dict(options))) if made else target
        self._sign: Any = getattr(signer, "sign", None) if made else target
        if not callable(self._sign):
            raise self._fault("is a class without a method sign(draft, now)" if made else "cannot be called")
        self._accept: Any = getattr(signer, "accept", None) if made else None
        self.wants = self._digests(getattr(signer, "wants", ()))
        self.reads_errors = bool(getattr(signer, "reads_errors", False))

    def __repr__(self) -> str:
        return f"<Plugin {self._label}>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """What the signer gives, once it is checked. Raises PluginError."""
        given = self._called(self._sign, draft._replace(headers=MappingProxyType(draft.headers)), now)
        if given is None:
            return Signed({})
        signed = given if isinstance(given, Signed) else Signed(given) if isinstance(given, Mapping) else None
        if signed is None or not isinstance(signed.headers, Mapping):
            raise self._fault(f"gave a {type(given).__name__}, not a mapping of headers, a Signed or None")
        headers = dict(signed.headers)
        self._check_headers(headers)
        if signed.url is not None:
            self._check_url(signed.url, draft.url)
        return signed._replace(headers=headers)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """AGAIN where the signer says so, else a 401 rejects it. Raises PluginError."""
        if self._accept is not None:
            again = self._called(self._accept, draft._replace(headers=MappingProxyType(draft.headers)), answered)
            if not isinstance(again, bool):
                raise self._fault(f"gave a {type(again).__name__} from accept, not True or False")
            if again and draft.round < _ROUNDS:
                return AGAIN
            if again:
                return Judgement(Step.REJECTED, f"the server refuses what {self._label} signs, again and again")
        if answered.status != 401:
            return FINE
        return Judgement(Step.REJECTED, refusal(answered.challenges, f"plugin {self._label}"))

    def _called(self, function: Callable[..., object], *arguments: object) -> object:
        """What the function gives. Its exception is dropped whole: its text or its frames may hold a secret."""
        fault = ""
        try:
            given = function(*arguments)
        except Exception as error:  # whatever a user's code may raise
            fault = type(error).__name__
        if fault:  # raised out here, so that the exception is not its context
            raise self._fault(f"raised {fault}")
        if iscoroutine(given):
            given.close()
            raise self._fault("is a coroutine function; a signer must be a plain one")
        return given

    def _check_headers(self, headers: Mapping[Any, Any]) -> None:
        for name, value in headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise self._fault("gave a header whose name or value is not a text")
            if name.lower() in _FRAMING:
                raise self._fault(f"gave the header {name}, which is not for a signer to set")
            if not _sendable(name, value):
                raise self._fault("gave a header with characters that HTTP does not allow")

    def _check_url(self, url: object, drafted: str) -> None:
        if not isinstance(url, str) or not _same_place(url, drafted):
            raise self._fault("gave a URL that is not canonical, or of another origin than the request's")

    def _digests(self, wants: object) -> frozenset[str]:
        names = frozenset(wants) if isinstance(wants, Iterable) and not isinstance(wants, str) else None
        if names is None or not all(isinstance(name, str) for name in names):
            raise self._fault('has a `wants` that is not a set of names as {"sha256"}')
        return names

    def _fault(self, text: str) -> PluginError:
        return PluginError(f"the plugin {self._label} {text}")


def _sendable(name: str, value: str) -> bool:
    try:
        check_header(name, value)
        value.encode()
    except (BadCell, UnicodeEncodeError):
        return False
    return True


def _same_place(url: str, drafted: str) -> bool:
    """Is it a canonical URL of the origin that the request goes to."""
    try:
        return parse(url).href == url and origin(url) == origin(drafted)
    except BadURL:
        return False
