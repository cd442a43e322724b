"""What [run] may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crawler.jobrun import Run, Share
from crawler.reasonglobs import reason_glob


def test_failures_are_allowed_by_count_share_and_reason() -> None:
    """A number alone is the total."""
    assert Run(max_failed="2%").max_failed == {"total": Share(2)}  # type: ignore[arg-type]
    assert Run(max_failed={"status-5*": 3, "total": "0.5%"}).max_failed == {"status-5*": 3, "total": 0.5}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("host-ded", "did you mean 'host-dead'"),
        ("totl", "no reason to fail"),
        ("status-99", r"did you mean 'status-5\*'"),
        ("robots", "is a reason to skip an input"),
        ("zz*", "no reason"),
    ],
)
def test_a_key_that_can_be_no_reason_is_refused(key: str, said: str) -> None:
    """With the nearest that can."""
    with pytest.raises(ValidationError, match=said):
        Run(max_failed={key: 1})


@pytest.mark.parametrize("value", [-1, "101%", "x", True, 1.5, {}, {"total": "2"}])
def test_what_is_no_number_of_failures_is_refused(value: object) -> None:
    """Neither below none nor above all."""
    with pytest.raises(ValidationError):
        Run(max_failed=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["status", "status-404", "status-5*", "connect-*", "host-dead", "*"])
def test_reasons_are_slugs_or_globs(text: str) -> None:
    """`status` alone means any."""
    assert reason_glob(text).fullmatch("status-503" if text == "status" else text.replace("*", "failed"))


@pytest.mark.parametrize("value", ["hc.example/x", "ftp://hc.example/", "http://", "https://a b/", "env:1B", "env:A B"])
def test_a_heartbeat_is_a_url_or_a_reference(value: str) -> None:
    """What is neither is refused, and not shown: it is a secret for all we know."""
    with pytest.raises(ValidationError) as refused:
        Run(heartbeat=value)
    assert value not in refused.value.errors()[0]["msg"]
    assert Run(heartbeat="https://hc.example/uuid").heartbeat == "https://hc.example/uuid"
    assert Run(heartbeat="env:HEARTBEAT").heartbeat == "env:HEARTBEAT"


@pytest.mark.parametrize("value", ["", "  ", [], [""], ["a\0b"], 5, ["a", 5]])
def test_a_command_names_a_program(value: object) -> None:
    """A text for the shell, or a list of words."""
    with pytest.raises(ValidationError):
        Run(on_failure=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["24:00", "6", "06:60", "6am", "06:00:00"])
def test_a_time_of_the_day_exists(value: str) -> None:
    """And 6:05 is 06:05."""
    with pytest.raises(ValidationError):
        Run(until=value)
    assert Run(until="6:05").until == "06:05"
