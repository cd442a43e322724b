"""[websocket]: what is sent, which frames are kept, and when a capture is over.

Decides the line of a frame, the end (count, time, pattern, the server's own close) and what a close code means. Must
not know sockets, retries or files; `now` is monotonic, `wall` seconds since the epoch. Invariant: frames of one input
are numbered from 1 without a gap over all its connections, and none is taken once the capture is over.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from crawler.bodytext import BadContent, loaded
from crawler.model import Captured
from crawler.stamps import stamp
from crawler.units import Duration, Size
from crawler.urls import printable

METHOD = "WEBSOCKET"  # of a Request, and in records
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_LONGEST_PATTERN = 1000
# A server that sends this will do so again (RFC 6455 7.4.1, and IANA's registry for those from 3000 on).
_FOR_GOOD = {
    1002: "protocol error",
    1003: "data it cannot accept",
    1007: "data that is not what it says",
    1008: "policy violation",
    1009: "message too big",
    1010: "an extension it wants",
    3000: "unauthorized",
    3003: "forbidden",
}
_NAMES = {1000: "normal", 1001: "going away", 1011: "internal error", 1012: "restart", 1013: "try again later"}
LOST = 1006  # no close frame came
_NORMAL = (1000, 1001, 1005)  # 1005: a close frame without a code


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"'{printable(text, 40)}' is not base64") from None


def _base64(text: str) -> str:
    _decoded(text)
    return text


def _compiled(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def _subprotocol(text: str) -> str:
    if not _TOKEN.match(text):
        raise ValueError(f"'{printable(text, 40)}' is not the name of a subprotocol (RFC 6455 4.1)")
    return text


class Binary(BaseModel):
    """A message that is no text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base64: Annotated[str, AfterValidator(_base64)]


class WebSocket(BaseModel):
    """The [websocket] section: what holds for ws:// and wss:// inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    send: tuple[str | Binary, ...] = ()
    count: int | None = Field(None, ge=1)
    time: Duration | None = Field(None, gt=0)
    pattern: Annotated[str, AfterValidator(_compiled)] | None = Field(None, min_length=1, max_length=_LONGEST_PATTERN)
    subprotocols: tuple[Annotated[str, AfterValidator(_subprotocol)], ...] = ()
    heartbeat: Duration = Field(30.0, ge=0.1)
    max_message: Size = Field(1024**2, ge=1)
    reconnect: bool = True

    @cached_property
    def messages(self) -> tuple[str | bytes, ...]:
        """What is sent after each connect."""
        return tuple(said if isinstance(said, str) else _decoded(said.base64) for said in self.send)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile(self.pattern) if self.pattern is not None else None

    @property
    def ends(self) -> bool:
        """Does the job itself say when a capture is over."""
        return self.count is not None or self.time is not None or self.pattern is not None

    def over(self, done: Captured) -> bool:
        """Is no more wanted after this."""
        return (
            done.over
            or (self.count is not None and done.frames >= self.count)
            or (self.time is not None and done.seconds >= self.time)
        )

    def matched(self, data: str | bytes) -> bool:
        """Does a text frame end the capture."""
        return self._pattern is not None and isinstance(data, str) and self._pattern.search(data) is not None


def messages_of(said: Any) -> tuple[str | bytes, ...]:
    """The cell of a row: a JSON list of texts and of {"base64": "…"}. Raises BadContent."""
    value = loaded("send", said)
    if not isinstance(value, list):
        raise BadContent("send is not a JSON list of messages")
    return tuple(_message(item) for item in value)


def _message(item: Any) -> str | bytes:
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            raise BadContent("send has characters that UTF-8 has not") from None
        return item
    if isinstance(item, dict) and item.keys() == {"base64"} and isinstance(item["base64"], str):
        try:
            return _decoded(item["base64"])
        except ValueError as error:
            raise BadContent(f"send: {error}") from None
    raise BadContent('a message in send is neither a text nor {"base64": "…"}')


class Meaning(Enum):
    """What the end of a connection means for its capture."""

    OVER = "over"
    LOST = "lost"  # to be connected again
    FAILED = "failed"


def meaning_of(code: int, wanted: WebSocket) -> Meaning:
    """What a close code means (RFC 6455 7.4); LOST where none came."""
    if code in _NORMAL and not wanted.ends:
        return Meaning.OVER
    return Meaning.FAILED if code in _FOR_GOOD or not wanted.reconnect else Meaning.LOST


def told(code: int, reason: str) -> str:
    """A close as a sentence."""
    if code == LOST:
        return f"the connection was lost: {printable(reason)}" if reason else "the connection was lost"
    name = _FOR_GOOD.get(code) or _NAMES.get(code)
    said = f"the server closed the WebSocket: {code}" + (f" ({name})" if name else "")
    return said + (f", '{printable(reason, 125)}'" if reason else "")


class Head(NamedTuple):
    """What every line of one capture begins with."""

    id: int
    run: str
    url: str


class Capture:
    """One connection's share of a capture; `done` is what came before it."""

    def __init__(self, wanted: WebSocket, head: Head, done: Captured, now: float) -> None:
        self._wanted = wanted
        self._head = head
        self._before = done.seconds
        self._began = now
        self.done = done

    def __repr__(self) -> str:
        return f"<Capture {self._head.url} {self.done}>"

    @property
    def over(self) -> bool:
        """Is no more wanted."""
        return self._wanted.over(self.done)

    @property
    def until(self) -> float | None:
        """The moment at which the time is up."""
        return None if self._wanted.time is None else self._began + self._wanted.time - self._before

    def take(self, data: str | bytes, now: float, wall: float) -> bytes:
        """Count a frame; returns its line."""
        done, text = self.done, isinstance(data, str)
        size = len(data.encode()) if isinstance(data, str) else len(data)
        self.done = Captured(done.frames + 1, done.bytes + size, self._seconds(now), self._wanted.matched(data))
        line = {
            "id": self._head.id,
            "run": self._head.run,
            "url": self._head.url,
            "n": self.done.frames,
            "at": stamp(wall),
            "type": "text" if text else "binary",
            "data": data if isinstance(data, str) else b64encode(data).decode(),
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def passed(self, now: float) -> Captured:
        """Count the time; returns what came so far."""
        self.done = self.done._replace(seconds=self._seconds(now))
        return self.done

    def finish(self, now: float) -> Captured:
        """It is over, whatever is still to come."""
        self.done = self.passed(now)._replace(over=True)
        return self.done

    def _seconds(self, now: float) -> float:
        return self._before + now - self._began
