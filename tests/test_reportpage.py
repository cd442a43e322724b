"""report.html: whatever the web said stays text, numbers are those of the report, and a reader finds the way."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.curve import Stretch
from crawler.gathering import gather, host_of
from crawler.reportdata import Facts, Report, put_together
from crawler.reportpage import page
from crawler.reportstyle import SCRIPT, STYLE
from tests.exportruns import record
from tests.reportruns import ATTACKS, records
from tests.test_tags import Read

HOSTILE = st.text(max_size=60) | st.sampled_from(ATTACKS)
PROGRESS = [Stretch(n * 10.0, n * 10.0 + 10, 40, 2, 5000) for n in range(9)]


def filled(text: str) -> Report:
    """A report that shows this text wherever the web or a job can put one."""
    ended = {"url": text, "error": text, "request_id": text, "warning": text, "change": "gone"}
    beside = f"https://{text}/"
    if not host_of(beside):  # as in "https://x@#y/": counted where there is no host, so that there is a row less
        beside = "https://none.example/"
    found = gather(
        [
            record(1, b"x", url=text, change="new", warning=text),
            record(2, outcome="failed", reason=text or "stall", status=599, **ended),
            record(
                3, outcome="failed", reason="status-404", status=404, **(ended | {"url": f"http://h.example/{text}"})
            ),
            record(4, outcome="skipped", reason="robots", status=None, **(ended | {"url": beside})),
        ]
    )
    facts = Facts(
        job=text, run=text, state="stopped", made="2026-01-01T00:00:00Z", note=text, started="2026-01-01T00:00:00Z",
        seconds=90.0, inputs=9, uploads={text: 1, "bytes": 5}, warnings=[text], links={text: 2}, traps=[(text, 3)],
        blocked={}, previous=text, forgotten=1, settings=text,
    )  # fmt: skip
    return put_together(facts, found, PROGRESS)


def tags_of(told: str) -> list[tuple[str, dict[str, str | None]]]:
    return Read(told).tags


def by_lexbor(told: str) -> list[tuple[str, dict[str, str | None]]]:
    nodes = LexborHTMLParser(told).root.traverse()  # type: ignore[union-attr]
    return [(node.tag, dict(node.attributes)) for node in nodes if node.tag and not node.tag.startswith(("-", "!"))]


def skeleton(read: list[tuple[str, dict[str, str | None]]]) -> list[tuple[str, set[str]]]:
    """Elements in their order with the names of their attributes, without links to what the run fetched."""
    return [(name, set(attributes)) for name, attributes in read if "rel" not in attributes]


PLAIN = page(filled("xplainy"))


@given(text=HOSTILE)
@example("@#")
@settings(max_examples=60)
def test_no_text_makes_a_tag(text: str) -> None:
    """With any text in place of a harmless one the page has the same elements, as two parsers read it."""
    told = page(filled(f"x{text}y"))
    assert skeleton(tags_of(told)) == skeleton(tags_of(PLAIN))
    assert skeleton(by_lexbor(told)) == skeleton(by_lexbor(PLAIN))


@given(text=HOSTILE)
@settings(max_examples=60)
def test_links_lead_to_http_alone(text: str) -> None:
    """Whatever a URL looks like: no other scheme, no credentials, nothing told to the target."""
    for name, attributes in tags_of(page(filled(text))):
        href = attributes.get("href")
        if name == "a" and href is not None and not href.startswith("#"):
            assert re.match(r"https?://[^/@\s]+/", href)
            assert attributes["rel"] == "noreferrer noopener"


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "http://u:secret@h.example/", "file:///etc/passwd", "//h/", "http:x"],
)
def test_what_must_not_be_a_link_is_text(url: str) -> None:
    """It is shown all the same, without the credentials."""
    told = page(put_together(Facts("j", "r", "finished", ""), gather([record(1, b"x", url=url)]), []))
    assert not [attributes for name, attributes in tags_of(told) if name == "a" and "rel" in attributes]
    assert "secret" not in told


@pytest.mark.parametrize("attack", [text for text in ATTACKS if len(text) < 100])
def test_an_attack_is_shown_and_inert(attack: str) -> None:
    """No direction is turned and no terminal moved: what cannot be seen is shown as its escape."""
    told = page(filled(attack))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", told)
    assert told.count("<script>") == 1
    assert told.count("</style>") == 1


def test_only_our_own_style_and_script_may_run() -> None:
    """The policy names both by their hashes and allows nothing else; nothing in the page needs more."""
    told = page(filled("x"))
    policy = next(one["content"] for name, one in tags_of(told) if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (SCRIPT, STYLE)]
    assert [f"'sha256-{one}'" for one in hashes] == re.findall(r"'sha256-[^']+'", policy)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert f"<script>{SCRIPT}</script>" in told
    assert f"<style>{STYLE}</style>" in told
    for _, attributes in tags_of(told):
        assert not {"src", "style", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_headings_come_in_order_and_tables_tell_what_they_are() -> None:
    """One h1, no level left out; each table has a caption, each of its heads a scope; each id stands once."""
    told = page(filled("x"))
    levels = [int(name[1]) for name, _ in tags_of(told) if re.fullmatch(r"h[1-6]", name)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    tree = LexborHTMLParser(told)
    tables = tree.css("table")
    assert tables
    assert all(table.css_first("caption") is not None for table in tables)
    assert all(head.attributes.get("scope") in ("row", "col") for head in tree.css("th"))
    ids = [attributes["id"] for _, attributes in tags_of(told) if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = [attributes["href"] for name, attributes in tags_of(told) if name == "a"]
    assert {href[1:] for href in anchors if href and href.startswith("#")} <= set(ids)


def test_numbers_are_those_of_the_report() -> None:
    """Figures and tables say what was gathered."""
    gathered = gather(records(2000))
    tree = LexborHTMLParser(page(put_together(Facts("j", "r", "finished", "", seconds=10.0), gathered, [])))
    figures = {one.css_first("dt").text(): one.css_first("dd").text() for one in tree.css("main > dl > div")}
    assert figures["Fetched"] == f"{gathered.fetched:,}"
    assert figures["Failed"] == f"{gathered.failed:,}"
    assert figures["Rate"] == "200/s"
    rows = [[cell.attributes.get("data-v") for cell in row.css("td")] for row in tree.css("table.hosts tbody tr")]
    assert sum(int(row[0] or 0) for row in rows) == 2000
    assert sum(int(row[1] or 0) for row in rows) == gathered.failed
    assert sum(int(row[7] or 0) for row in rows) == gathered.bytes
    ends = [int(one.text().replace(",", "")) for one in tree.css("#failures .count")]
    assert sum(ends) == gathered.failed


def test_an_empty_run_has_a_page() -> None:
    """Without a record there is nothing odd: the sentence, zeros, and no empty section."""
    tree = LexborHTMLParser(page(put_together(Facts("j", "r", "running", ""), gather([]), [])))
    assert tree.css("h2") == []
    assert tree.css_first(".outcome").text() == "Still running: 0 inputs done."


def test_a_hostile_run_stays_small() -> None:
    """Thousands of statuses, hosts and long URLs that are all escaped make no more than 5 MB."""
    bad = "&" * 3000

    def hostile(n: int) -> dict[str, Any]:
        said = {
            "error": bad,
            "request_id": bad,
            "warning": bad,
            "change": ("new", "changed", "unchanged", "gone")[n % 4],
        }
        url = f"http://{'h' * 200}{n % 400}.example/{n}?{'&' * (n % 900)}"
        if n % 2:
            return record(n, bytes=n, url=url, elapsed_ms={"total": n}, **said)
        return record(n, outcome="failed", reason=f"status-{n % 1000}", status=n % 1000, url=url, **said)

    told = page(put_together(Facts("j", "r", "finished", ""), gather(map(hostile, range(20_000))), []))
    assert len(told.encode()) < 5_000_000
