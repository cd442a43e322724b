"""When cron starts a job, and how systemd says the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.schedule import DAY, HOUR, MINUTE, MONTH, NAMED, WEEKDAY, Span, parse
from crawler.unittext import Service, on_calendar, service_unit, timer_unit


def test_the_five_fields() -> None:
    """Stars, lists, ranges, steps and names; Sunday is 0 and 7."""
    found = parse("*/20 1,3-5 1-10/3 jan,jun-aug MON-wed,7")
    assert found.minutes == (0, 20, 40)
    assert found.hours == (1, 3, 4, 5)
    assert found.days == (1, 4, 7, 10)
    assert found.months == (1, 6, 7, 8)
    assert found.weekdays == (0, 1, 2, 3)
    assert found.either
    assert parse("0 0 * * 5-7").weekdays == (0, 5, 6)


def test_a_day_with_a_star_is_no_alternative() -> None:
    """As cron has it: where day or weekday begins with a star both must match."""
    assert not parse("0 0 */2 * 1").either
    assert not parse("0 0 1 * *").either
    assert parse("0 0 1 * 1").either


@pytest.mark.parametrize("name", NAMED)
def test_names_stand_for_fields(name: str) -> None:
    """@daily is midnight; the name is what is written."""
    assert parse(name) == parse(NAMED[name])._replace(text=name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields and not five"),
        ("0 * * * * *", "has 6 fields and not five; cron has no seconds"),
        ("60 * * * *", "minute: 60 is not between 0 and 59; did you mean 0"),
        ("* 24 * * *", "hour: 24 is not between 0 and 23; did you mean 0"),
        ("* * 0 * *", "day: 0 is not between 1 and 31"),
        ("* * * 13 *", "month: 13 is not between"),
        ("* * * * 8", "weekday: 8 is not between 0 and 7"),
        ("* * * * mno", "did you mean mon"),
        ("* * * june *", "did you mean jun"),
        ("*/0 * * * *", "a step of 0"),
        ("*/90 * * * *", "a step of 90"),
        ("5/10 * * * *", "did you mean 5-59/10"),
        ("* 22-4 * * *", "did you mean 22-23,0-4"),
        ("* * * * fri-sun", "did you mean 5-7"),
        ("*-5 * * * *", "a star and a range"),
        ("1,,2 * * * *", "'' is no value"),
        ("-1 * * * *", "'-1' is no value"),
        ("a * * * *", "minute: 'a' is no number"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6,9 *", "never comes"),
        ("@dayly", "did you mean @daily"),
        ("١ * * * *", "is no value"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_nearest(text: str, said: str) -> None:
    """By the field; also what cron would take for something else without a word."""
    with pytest.raises(ValueError, match=said.replace("*", r"\*")):
        parse(text)


def test_days_that_come_now_and_then_are_fine() -> None:
    """The 29th of February, and a weekday beside a day that never comes."""
    assert parse("0 0 29 2 *").days == (29,)
    assert parse("0 0 30 2 1").either


def test_the_events_that_people_read() -> None:
    """Common schedules stay short."""
    assert on_calendar(parse("*/15 * * * *")) == ["*-*-* *:0/15:00"]
    assert on_calendar(parse("5 2 * * mon-fri")) == ["Mon,Tue,Wed,Thu,Fri *-*-* 02:05:00"]
    assert on_calendar(parse("0 0 1,15 * 0")) == ["*-*-01,15 00:00:00", "Sun *-*-* 00:00:00"]
    assert on_calendar(parse("@reboot")) == []


def field(span: Span) -> st.SearchStrategy[str]:
    """Texts of a field that cron takes."""
    values = st.integers(span.least, span.most)
    step = st.one_of(st.just(""), st.integers(1, span.most).map("/{}".format))
    ranges = st.tuples(values, values).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(st.one_of(st.just("*"), ranges), step).map("".join)
    items = st.lists(st.one_of(values.map(str), stepped), min_size=1, max_size=3)
    return items.map(",".join)


TEXTS = st.tuples(*map(field, (MINUTE, HOUR, DAY, MONTH, WEEKDAY))).map(" ".join)


def parsed(text: str) -> list[str] | None:
    try:
        return on_calendar(parse(text))
    except ValueError as error:
        if "never comes" not in str(error):
            raise
        return None


def cron_matches(text: str, moment: datetime) -> bool:
    """By the book: crontab(5)."""
    fields = text.split()
    spans = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
    now = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)

    def one(said: str, span: Span, value: int) -> bool:
        for item in said.split(","):
            span_text, _, step = item.partition("/")
            low, _, high = span_text.partition("-")
            first = span.least if low == "*" else int(low)
            last = span.most if low == "*" else int(high or low)
            if first <= value <= last and (value - first) % int(step or 1) == 0:
                return True
        return False

    minute, hour, day, month, weekday = (one(*parts) for parts in zip(fields, spans, now, strict=True))
    star = fields[2].startswith("*") or fields[4].startswith("*")
    return minute and hour and month and ((day and weekday) if star else (day or weekday))


def calendar_matches(event: str, moment: datetime) -> bool:
    """By the book: systemd.time(7)."""
    days, _, rest = event.rpartition(" ")[0].rpartition(" ")
    weekdays, date = days, rest
    time = event.rpartition(" ")[2]

    def one(said: str, value: int) -> bool:
        for item in said.split(","):
            span, _, step = item.partition("/")
            low, _, high = span.partition("..")
            if low == "*":
                return True
            last = int(high) if high else (99 if step else int(low))
            if int(low) <= value <= last and (value - int(low)) % int(step or 1) == 0:
                return True
        return False

    _, month, day = date.split("-")
    hour, minute, _ = time.split(":")
    named = not weekdays or f"{moment:%a}" in weekdays.split(",")
    pairs = ((month, moment.month), (day, moment.day), (hour, moment.hour), (minute, moment.minute))
    return named and all(one(*pair) for pair in pairs)


@given(TEXTS, st.lists(st.integers(0, 366 * 1440), min_size=20, max_size=20))
def test_the_calendar_events_match_when_cron_does(text: str, minutes: list[int]) -> None:
    """At any minute of a leap year."""
    events = parsed(text)
    for number in minutes:
        moment = datetime(2028, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        expected = cron_matches(text, moment)
        assert expected is (events is not None and any(calendar_matches(event, moment) for event in events)), moment


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
@pytest.mark.parametrize(
    "text", ["*/15 * * * *", "7-59/20 2-4 * * 1-5", "0 12 1 */2 *", "0 0 13 * 5", "30 6 */10 * 6,0", "59 23 28-29 2 *"]
)
def test_systemd_reads_the_events_as_cron_the_fields(text: str) -> None:
    """`systemd-analyze calendar` names the next moments at which cron would start."""
    walked = (datetime(2028, 1, 1, tzinfo=UTC) + timedelta(minutes=minute) for minute in range(1, 100 * 1440))
    expected = [moment for moment in walked if cron_matches(text, moment)][:2]
    found = set[str]()
    for event in on_calendar(parse(text)):
        options = ["--iterations=2", "--base-time=2028-01-01 00:00:00 UTC"]
        command = ["systemd-analyze", "calendar", *options, f"{event} UTC"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env={"TZ": "UTC"})
        found |= set(re.findall(r"(?:elapse|Iteration #2|Iter. #2): \w{3} (\S+ \S+) UTC", done.stdout))
    assert sorted(found)[:2] == [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in expected]


WORDS = ["/opt/x y/crawler", "run", "50%", "$HOME", 'say "hi"']
SERVICE = Service("j", "/srv/j.toml", WORDS, "/srv/a%b", {"PATH": "/a b:$c"})


def test_no_word_of_a_unit_means_more_than_it_says() -> None:
    """Specifiers, variables and quotes are escaped (systemd.service(5), systemd.unit(5))."""
    text = service_unit(SERVICE)
    assert r'ExecStart="/opt/x y/crawler" run "50%%" "$$HOME" "say \"hi\""' in text
    assert "WorkingDirectory=/srv/a%%b\n" in text
    assert 'Environment="PATH=/a b:$c"\n' in text
    assert "SuccessExitStatus=3 75\n" in text


def test_a_timer_catches_up_and_spreads_its_starts() -> None:
    """Persistent, with the jitter of the job, and one line for each event."""
    text = timer_unit(SERVICE, parse("0 0 1 * 1"), 90.0)
    assert text.count("OnCalendar=") == 2
    assert "Persistent=true\n" in text
    assert "RandomizedDelaySec=90\n" in text
    assert "RandomizedDelaySec" not in timer_unit(SERVICE, parse("@daily"), 0.0)
    assert "OnStartupSec=" in timer_unit(SERVICE, parse("@reboot"), 0.0)
