"""The Link header: quoting, relations, anchors, and what no server may do to us."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.linkheader import MAX_LINE, MAX_LINKS, links, next_target

# Mostly the characters that mean something, so that faults are met often.
LINES = st.text(st.sampled_from('<>;,="\\ \tab*') | st.characters(), max_size=200)
TARGETS = st.text(st.characters(codec="ascii", exclude_characters="<>\x00", exclude_categories=["Cc"]), max_size=40)


@pytest.mark.parametrize(
    "line",
    [
        "</2>; rel=next",
        '</2>; rel="next"',
        '</2> ; REL = "NEXT"',
        '</2>; rel="last  next"',
        '</1>; rel="prev", </2>; rel="next"',
        '</1>; rel="prev",</2>;rel="next",</9>;rel="last"',
        '</1>; title="a, <x>; rel=next"; rel=prev, </2>; rel=next',
        r'</1>; title="say \", </x>; rel=next"; rel=prev, </2>; rel=next',
        "</2>; rel=next; rel=prev",
        "</2>; title*=UTF-8''%e2%82%ac; rel=next",
        "</2>; flag; rel=next",
        '</x>; rel=next; anchor="#part", </2>; rel=next',
        "</x>; rel*=next, </2>; rel=next",
        "</x>; rel=prev; rel=next, </2>; rel=next",
        ", ,\t</2>; rel=next,",
        "< /2 >; rel=next",
    ],
)
def test_the_first_next_counts(line: str) -> None:
    """Commas, semicolons and brackets within quotes are text; anchors and rel* are not relations of this page."""
    assert next_target([line]) == "/2"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "</2>",
        "</2>; rel=nextpage",
        '</2>; rel="no-next"',
        "</2; rel=next",
        "/2; rel=next",
        "</1>; rel=prev oops </2>; rel=next",
        '</1>; rel=prev; title="never closed, </2>; rel=next',
        "</2>; rel=next; anchor=",
    ],
)
def test_what_is_no_next(line: str) -> None:
    """Other relations; and what follows a fault, as appendix B.2 reads it."""
    assert next_target([line]) is None


def test_several_headers_are_one_list() -> None:
    """The header may come several times (RFC 9110, section 5.3)."""
    assert next_target(["</1>; rel=prev", "broken", "</3>; rel=next"]) == "/3"


def test_a_target_may_hold_separators() -> None:
    """Between the brackets commas and semicolons belong to the URL."""
    assert next_target(["<https://a.example/?q=a,b;c&d=%22>; rel=next"]) == "https://a.example/?q=a,b;c&d=%22"


@given(st.lists(LINES, max_size=4))
def test_nothing_raises(lines: list[str]) -> None:
    """Whatever a server sends, the answer is a list of links, each of which stood there."""
    for link in links(lines):
        assert any(f"<{link.target}" in line or link.target in line for line in lines)
        assert all(name == name.lower() and name for name in link.relations)


@given(st.lists(st.tuples(TARGETS, st.sampled_from(["next", "prev", "last next"]), TARGETS), max_size=5))
def test_what_was_written_is_read(written: list[tuple[str, str, str]]) -> None:
    """Each link of a well-formed line is found, whatever its title says."""
    escaped = [(target, rel, title.replace("\\", r"\\").replace('"', r"\"")) for target, rel, title in written]
    line = ", ".join(f'<{target}>; title="{title}"; rel="{rel}"' for target, rel, title in escaped)
    assert [(link.target, link.relations) for link in links([line])] == [
        (target.strip(), frozenset(rel.split())) for target, rel, _ in written
    ]


@pytest.mark.parametrize(
    "piece", ["<", "<>", '<>;a="', '<>;a="\\', ";", "<>;", "<> ", "<>; ", " ", ",", "<>,", '"', "="]
)
def test_a_long_line_is_bounded(piece: str) -> None:
    """No line costs more than a fraction of a second, nor gives more than MAX_LINKS."""
    line = piece * (4 * MAX_LINE // len(piece))
    before = time.process_time()
    assert len(list(links([line]))) <= MAX_LINKS
    assert time.process_time() - before < 0.5


def test_a_line_is_read_up_to_its_bound() -> None:
    """What stands behind MAX_LINE characters is not looked at; other lines are."""
    far = f'</1>; title="{"x" * MAX_LINE}"; rel=prev, </2>; rel=next'
    assert next_target([far]) is None
    assert next_target([far, "</3>; rel=next"]) == "/3"
