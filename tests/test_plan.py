"""What `crawler plan` counts and says, from real lists."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from math import inf
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.bound import Share
from crawler.feed import Defaults
from crawler.model import Place, Row
from crawler.plan import Counts, Plan, counts, plan_of, render, to_json
from crawler.sources import open_sources

DEFAULTS = Defaults()


def same(host: str) -> str:
    return host


def counted(folder: Path, files: dict[str, str], **options: bool) -> Counts:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = open_sources([], list(files), "url", None, folder)
    return counts(chain.from_iterable(source.rows() for source in sources), DEFAULTS, same, **options)


def planned(*shares: Share, rate: float | None = None, workers: int = 64, bad: int = 0) -> Plan:
    """A plan of shares whose counts agree with them."""
    hosts = {share.key: share.requests for share in shares}
    total = sum(hosts.values())
    shown = tuple(f"urls.txt:{line}: is empty" for line in range(1, min(bad, 5) + 1))
    table = Counts(total + bad, total, 0, bad, shown, hosts, {f"http://{host}": n for host, n in hosts.items()})
    return plan_of("docs", table, shares, rate=rate, workers=workers)


def test_rows_of_several_lists_are_counted_as_a_run_would_take_them(tmp_path: Path) -> None:
    """Duplicates by canonical URL, across files and formats; bad rows with their place; requests by host and origin."""
    found = counted(
        tmp_path,
        {
            "a.txt": "http://A.example/x\n# a comment\n\nhttp://a.example:80/x#part\nhttps://a.example/x\nnonsense\n",
            "b.csv": "n,url\n1,http://b.example:8080/\n2,http://a.example/x\n3,ftp://a.example/\n",
            "c.jsonl": '{"url": "http://b.example:8080/", "method": "POST"}\n{"url": 5}\n',
        },
    )
    assert found.rows == 9
    assert found[1:4] == (4, 2, 3)
    assert found.hosts == {"a.example": 2, "b.example": 2}
    assert found.origins == {"http://a.example": 1, "https://a.example": 1, "http://b.example:8080": 2}
    assert [error.split(": ")[0] for error in found.shown_bad] == ["a.txt:6", "b.csv:4", "c.jsonl:2"]
    assert "has no scheme; did you mean 'https://nonsense'?" in found.shown_bad[0]


def test_without_dedupe_every_row_is_a_request(tmp_path: Path) -> None:
    """A job that fetches duplicates is planned so."""
    found = counted(tmp_path, {"a.txt": "http://a.example/\n" * 3}, dedupe=False)
    assert (found.requests, found.duplicates, found.hosts) == (3, 0, {"a.example": 3})


def test_only_the_first_bad_rows_are_kept(tmp_path: Path) -> None:
    """A list of nothing but nonsense is counted to its end, in bounded memory, and told without control characters."""
    found = counted(tmp_path, {"a.txt": "non\u202esense\n" * 50})
    assert (found.rows, found.requests, found.bad, len(found.shown_bad), found.hosts) == (50, 0, 50, 5, {})
    assert all(error.isprintable() for error in found.shown_bad)


def test_an_empty_list_is_a_plan_too(tmp_path: Path) -> None:
    """Nothing to do takes no time."""
    empty = plan_of("docs", counted(tmp_path, {"a.txt": ""}), [], rate=None, workers=1)
    assert render(empty).splitlines()[0] == "docs: 0 rows, 0 requests to 0 hosts"
    assert orjson.loads(to_json(empty))["lower_bound"] == {"seconds": 0, "set_by": "", "held_by": ""}


def test_the_key_is_asked_for_once_for_each_origin() -> None:
    """Looking up a registrable domain for every row would cost more than the row."""
    asked: list[str] = []

    def key_of(host: str) -> str:
        asked.append(host)
        return host.partition(".")[2]

    rows = [Row(Place("a", n), f"http://{'abc'[n % 3]}.example.org/{n}") for n in range(30)]
    found = counts(rows, DEFAULTS, key_of)
    assert sorted(asked) == ["a.example.org", "b.example.org", "c.example.org"]
    assert found.hosts == {"example.org": 30}
    assert set(found.origins.values()) == {10}


@given(st.lists(st.sampled_from(["http://a/1", "http://a/2", "https://b:8443/", "http://[::1]/x", "bad", ""])))
def test_the_counts_add_up(urls: list[str]) -> None:
    """Rows are requests, duplicates or bad, and both tables hold all requests."""
    found = counts((Row(Place("a", n), url) for n, url in enumerate(urls, 1)), DEFAULTS, same)
    assert found.rows == len(urls) == found.requests + found.duplicates + found.bad
    assert found.requests == sum(found.hosts.values()) == sum(found.origins.values())
    assert found.origins == Counter(url.rstrip("x12/") for url in set(urls) if url not in ("bad", ""))


def test_people_read_which_host_sets_the_time() -> None:
    """The whole text of a plan: counts, bad rows, the bound, what sets it, what would help, the longest hosts."""
    slow = Share("slow.example", 1001, delay=5.0)
    plan = planned(Share("a.example", 36_001, 10.0), slow, Share("c.example", 1), bad=7)
    assert render(plan).splitlines() == [
        "docs: 37,010 rows, 37,003 requests to 3 hosts",
        "  bad rows: 7, which will end as bad-input",
        *(f"    urls.txt:{line}: is empty" for line in range(1, 6)),
        "    and 2 more",
        "  lower bound: 1h23m20s, set by slow.example with 1,001 requests",
        "  what would shorten it: limits.delay_per_host or its Crawl-delay is what holds it",
        "  hosts that need longest:",
        "    host          requests         pace  lower bound",
        "    slow.example     1,001  1 each 5.0s     1h23m20s",
        "    a.example       36,001         10/s     1h00m00s",
        "    c.example            1          any         0.0s",
    ]


@pytest.mark.parametrize(
    ("share", "rate", "workers", "held", "hint"),
    [
        (Share("a", 101, 1.0), None, 64, "rate", "limits.rate_per_host is what holds it"),
        (Share("a", 101, 1.0), 0.5, 64, "limits.rate", "limits.rate is what holds it"),
        (Share("a", 100, concurrency=8, latency=1.0), None, 64, "latency", "limits.per_host is what holds it"),
        (Share("a", 100, concurrency=8, latency=1.0), None, 4, "limits.workers", "limits.workers is what holds it"),
        (Share("a", 1, blocked=30.0), None, 64, "blocked", "nothing: the host asked us to wait"),
        (Share("a", 100), None, 64, "", "nothing: no limit holds it"),
    ],
)
def test_what_would_shorten_it(share: Share, rate: float | None, workers: int, held: str, hint: str) -> None:
    """The one limit that holds the job is named, alike in the text and in JSON."""
    plan = planned(share, rate=rate, workers=workers)
    assert f"what would shorten it: {hint}" in render(plan)
    told = orjson.loads(to_json(plan))["lower_bound"]
    assert told["held_by"] == held
    assert told["set_by"] == (held if held.startswith("limits.") else "a" if held else "")


def test_ten_hosts_are_shown() -> None:
    """Of a hundred hosts those ten that need longest are listed, in both forms."""
    plan = planned(*(Share(f"h{number}.example", number, 1.0) for number in range(1, 101)))
    lines = render(plan).splitlines()
    assert [line.split()[0] for line in lines[-10:]] == [f"h{number}.example" for number in range(100, 90, -1)]
    longest = orjson.loads(to_json(plan))["longest"]
    assert [host["key"] for host in longest] == [f"h{number}.example" for number in range(100, 90, -1)]
    assert (longest[0]["requests"], longest[0]["lower_bound"], longest[0]["held_by"]) == (100, 99.0, "rate")


@pytest.mark.parametrize(
    ("share", "columns"),
    [
        (Share("a", 2, 1 / 3600), ["2", "1/h", "1h00m00s"]),
        (Share("a", 2, 1.23456789), ["2", "1.23/s", "0.8s"]),
        (Share("a", 360_001, 0.1), ["360,001", "6/min", "1,000h00m00s"]),
        (Share("a", 1, blocked=inf), ["1", "any", "forever"]),
    ],
)
def test_numbers_are_short(share: Share, columns: list[str]) -> None:
    """Rates that were learned are rounded, times are in hours, minutes and seconds."""
    assert render(planned(share)).splitlines()[-1].split() == ["a", *columns]
