"""[websocket] and one capture: lines, ends, what a close code means."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crawler.bodytext import BadContent
from crawler.capture import LOST, Capture, Head, Meaning, WebSocket, meaning_of, messages_of, told
from crawler.model import Captured

NOW = 1000.0
WALL = 1_700_000_000.25
HEAD = Head(7, "run-1", "wss://a.example/ws")
MESSAGES = st.one_of(st.text(max_size=30), st.binary(max_size=30))


NONE = Captured()


def capture(wanted: WebSocket, done: Captured = NONE) -> Capture:
    return Capture(wanted, HEAD, done, NOW)


# -- the section ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"count": 0},
        {"time": "0s"},
        {"pattern": "("},
        {"pattern": ""},
        {"pattern": "x" * 1001},
        {"subprotocols": ["a b"]},
        {"subprotocols": [""]},
        {"heartbeat": "0s"},
        {"max_message": "0B"},
        {"send": [{"base64": "?"}]},
        {"send": [{"base64": "AA==", "text": "x"}]},
        {"send": [1]},
        {"sends": []},
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any]) -> None:
    """A number below one, a pattern that is none or too long, a name that is no token."""
    with pytest.raises(ValidationError):
        WebSocket.model_validate(said)


def test_messages_are_texts_and_bytes() -> None:
    """base64 stands for bytes, and the section as data is what was said."""
    section = WebSocket.model_validate({"send": ["a", {"base64": "AP8="}], "time": "1m"})
    assert section.messages == ("a", b"\0\xff")
    data = section.model_dump(mode="json")
    assert data["send"] == ["a", {"base64": "AP8="}]
    assert WebSocket.model_validate(data) == section


@pytest.mark.parametrize("said", ['["a", {"base64": "AP8="}]', ["a", {"base64": "AP8="}]])
def test_a_cell_holds_messages(said: object) -> None:
    """A list, or its JSON text as a CSV has it."""
    assert messages_of(said) == ("a", b"\0\xff")


@pytest.mark.parametrize(
    "said", ["a", "{}", {"base64": ""}, [1], [None], ["\ud800"], [{"base64": "?"}], [{"base64": 1}], [{"text": "a"}]]
)
def test_a_cell_that_holds_none_is_told(said: object) -> None:
    """What is no list of messages, or has one that cannot be sent, is a sentence."""
    with pytest.raises(BadContent, match="send"):
        messages_of(said)


# -- lines and ends ---------------------------------------------------------------------------------------------------


@given(st.lists(MESSAGES, max_size=20), st.integers(0, 5))
def test_each_frame_is_a_line(messages: list[str | bytes], before: int) -> None:
    """Numbers go on from those before; the data comes back as it was; bytes of the payload are counted."""
    one = capture(WebSocket(), Captured(before, 100, 0.0))
    lines = [orjson.loads(one.take(message, NOW, WALL)) for message in messages]
    back = [line["data"] if line["type"] == "text" else b64decode(line["data"]) for line in lines]
    assert back == messages
    assert [line["n"] for line in lines] == list(range(before + 1, before + 1 + len(messages)))
    assert one.done.frames == before + len(messages)
    assert one.done.bytes == 100 + sum(len(m.encode() if isinstance(m, str) else m) for m in messages)


def test_a_line_says_whose_frame_it_is() -> None:
    """Id, run, URL, number, moment, type and data, in this order, and a line end."""
    line = capture(WebSocket()).take('a "b"\n', NOW, WALL)
    assert line == (
        b'{"id":7,"run":"run-1","url":"wss://a.example/ws","n":1,"at":"2023-11-14T22:13:20.250Z",'
        b'"type":"text","data":"a \\"b\\"\\n"}\n'
    )


def test_the_count_is_over_all_connections() -> None:
    """Frames before this connection count as well."""
    one = capture(WebSocket(count=3), Captured(1))
    one.take("a", NOW, WALL)
    assert not one.over
    one.take("b", NOW, WALL)
    assert one.over
    assert capture(WebSocket(count=3), one.done).over


def test_the_time_is_over_all_connections() -> None:
    """Seconds connected before count; those between two connections do not."""
    one = capture(WebSocket(time=10.0), Captured(0, 0, 4.0))
    assert one.until == NOW + 6.0
    assert one.passed(NOW + 5.5).seconds == 9.5
    assert not one.over
    one.take("a", NOW + 6.0, WALL)
    assert one.over
    assert capture(WebSocket()).until is None


def test_a_text_that_matches_is_the_last() -> None:
    """Anywhere in a text frame, never in a binary one; and a later start knows it."""
    wanted = WebSocket(pattern="b+y")
    one = capture(wanted)
    one.take("a", NOW, WALL)
    one.take(b"by", NOW, WALL)
    assert not one.over
    one.take("good bye", NOW, WALL)
    assert one.over
    assert wanted.over(one.done)
    assert one.passed(NOW + 1.0).over


def test_finished_is_over() -> None:
    """After the server's own end there is nothing to go on with."""
    one = capture(WebSocket())
    assert not one.over
    assert one.finish(NOW + 2.0) == Captured(0, 0, 2.0, True)
    assert one.over


# -- close codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1005])
@pytest.mark.parametrize("said", [{"count": 5}, {"time": 5.0}, {"pattern": "x"}])
def test_a_normal_close_ends_what_has_no_other_end(code: int, said: dict[str, Any]) -> None:
    """Where the job names an end, the server is asked again until that is reached."""
    assert meaning_of(code, WebSocket()) is Meaning.OVER
    assert meaning_of(code, WebSocket(reconnect=False)) is Meaning.OVER
    assert meaning_of(code, WebSocket.model_validate(said)) is Meaning.LOST
    assert meaning_of(code, WebSocket.model_validate({**said, "reconnect": False})) is Meaning.FAILED


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003])
def test_what_would_come_again_is_a_failure(code: int) -> None:
    """The server does not like us, or what we send."""
    assert meaning_of(code, WebSocket()) is Meaning.FAILED


@pytest.mark.parametrize("code", [LOST, 1011, 1012, 1013, 1014, 3008, 4000])
def test_all_else_is_lost(code: int) -> None:
    """It may be better next time, unless nobody wants to connect again."""
    assert meaning_of(code, WebSocket()) is Meaning.LOST
    assert meaning_of(code, WebSocket(reconnect=False)) is Meaning.FAILED


def test_a_close_is_told() -> None:
    """By code, name and the server's words, which cannot harm a terminal."""
    assert told(1008, "no\x1b[31m") == "the server closed the WebSocket: 1008 (policy violation), 'no\\x1b[31m'"
    assert told(4321, "") == "the server closed the WebSocket: 4321"
    assert told(LOST, "") == "the connection was lost"
    assert told(LOST, "No PONG") == "the connection was lost: No PONG"
