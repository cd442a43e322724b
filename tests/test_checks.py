"""What a body must be by its row and by the fields that come with it."""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.checks import Checks, checks_for
from crawler.errors import POLICY, Reason
from crawler.model import Promised

BODY = b"The quick brown fox jumps over the lazy dog"
CODED = gzip.compress(BODY, mtime=0)
FIELDS = ("Content-MD5", "Digest", "Repr-Digest", "Content-Digest")
ALGORITHMS = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}


def digest(algorithm: str, data: bytes) -> str:
    return b64encode(hashlib.new(ALGORITHMS[algorithm], data).digest()).decode()


def field(name: str, data: bytes, algorithm: str = "sha-512") -> str:
    """What a server says of its body in this field."""
    if name == "Content-MD5":
        return digest("md5", data)
    if name == "Digest":
        return f"{algorithm}={digest(algorithm, data)}"
    return f"{algorithm}=:{digest(algorithm, data)}:"


def checks(
    *fields: tuple[str, str], promised: Promised | None = None, coded: bool = False, partial: bool = False
) -> Checks | None:
    headers = CIMultiDict(fields)
    return checks_for(promised, headers, lambda name: headers.getall(name, []), coded=coded, partial=partial)


def some(found: Checks | None) -> Checks:
    assert found is not None
    return found


def faulted(found: Checks, raw: bytes, body: bytes | None = None) -> tuple[Reason, str] | None:
    """The end of a body that came in two pieces."""
    whole = raw if body is None else body
    for take, data in ((found.raw, raw), (found.body, whole)):
        take(data[:7])
        take(data[7:])
    return found.fault(len(whole), hashlib.sha256(whole).hexdigest())


def test_most_bodies_are_not_checked() -> None:
    """Nothing promised and no digest: nothing to do."""
    assert checks(("ETag", '"digest"'), ("Content-Type", "text/html")) is None
    assert checks(partial=True, coded=True) is None


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_field_that_holds_and_one_that_does_not(name: str, algorithm: str) -> None:
    """Each field with each algorithm takes the body that was meant, and no other."""
    found = some(checks((name.lower(), field(name, BODY, algorithm))))
    assert found.warning is None
    assert faulted(found.copy(), BODY) is None
    fault = faulted(found, BODY[:-1])
    assert fault is not None
    reason, error = fault
    assert reason is Reason.DIGEST_MISMATCH
    kind = "md5" if name == "Content-MD5" else ALGORITHMS[algorithm]
    wanted, got = (hashlib.new(kind, data).hexdigest() for data in (BODY, BODY[:-1]))
    assert error == f"the body's {kind} is {got}, its {name} says {wanted}"


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("meant", [BODY, CODED], ids=["decoded", "coded"])
def test_fields_speak_of_the_coded_body(name: str, meant: bytes) -> None:
    """Of a coded body either form may be meant; with one byte other than both it is refused."""
    found = some(checks((name, field(name, meant)), coded=True))
    assert found.needs_raw
    assert found.needs_body
    assert faulted(found.copy(), CODED, BODY) is None
    assert faulted(found, CODED + b"x", BODY + b"x") is not None


@pytest.mark.parametrize("name", ["sha256", "sha512", "md5"])
def test_a_row_speaks_of_the_decoded_body(name: str) -> None:
    """Its digest is that of the file that the user gets."""
    said, other = (hashlib.new(name, data).hexdigest() for data in (BODY, CODED))
    promised = {"sha256": Promised(sha256=said), "sha512": Promised(sha512=said), "md5": Promised(md5=said)}
    found = some(checks(promised=promised[name], coded=True))
    assert found.needs_body == (name != "sha256")  # that one is computed anyway
    assert not found.needs_raw
    assert faulted(found.copy(), CODED, BODY) is None
    error = f"the body's {name} is {other}, its row says {said}"
    assert faulted(found, BODY, CODED) == (Reason.DIGEST_MISMATCH, error)


def test_a_size_that_differs() -> None:
    """Told before the body where its head says so, else at its end; that of a coded body is known at its end only."""
    found = some(checks(promised=Promised(size=5000)))
    assert not found.needs_raw
    assert not found.needs_body
    assert found.early(None) is found.early(5000) is None
    assert found.early(4999) == (
        Reason.SIZE_MISMATCH,
        "the body has 4,999 bytes by its head, its row says 5,000 (size)",
    )
    assert found.fault(5000, "") is None
    assert found.fault(5001, "") == (Reason.SIZE_MISMATCH, "the body has 5,001 bytes, its row says 5,000 (size)")
    coded = some(checks(promised=Promised(size=5000), coded=True))
    assert coded.early(700) is None
    assert some(checks(("Digest", field("Digest", BODY)))).early(1) is None


def test_all_that_is_said_must_hold() -> None:
    """One wrong digest beside right ones is a mismatch, in one field or in two."""
    good, bad = field("Repr-Digest", BODY), field("Repr-Digest", b"other", "sha-256")
    for said in ([("Repr-Digest", f"{good}, {bad}")], [("Repr-Digest", good), ("Repr-Digest", bad)]):
        assert faulted(some(checks(*said)), BODY) is not None
    assert faulted(some(checks(("Repr-Digest", good), promised=Promised(md5="0" * 32))), BODY) is not None
    assert faulted(some(checks(("Repr-Digest", good), ("Digest", field("Digest", b"other")))), BODY) is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Digest", "UNIXsum=30637, SHA-1024=abc, crc32c=AAAAAA=="),
        ("Repr-Digest", 'unixsum=30637, x=:AAAA:;a=1, y=(1 2);q, z, s="a, sha-256=:AAAA:"'),
        ("Content-Digest", "adler=:AAAA:"),
        ("Digest", ""),
        ("Repr-Digest", " "),
    ],
)
def test_unknown_algorithms_are_passed_over(name: str, text: str) -> None:
    """What nobody here can compute neither fails a body nor is worth a word."""
    assert checks((name, text)) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Content-MD5", "not base64!"),
        ("Content-MD5", hashlib.md5(BODY).hexdigest()),
        ("Content-MD5", digest("md5", BODY) + ", " + digest("md5", BODY)),
        ("Digest", "sha-256"),
        ("Digest", f"sha-256={digest('md5', BODY)}"),
        ("Digest", "sha-256=é"),
        ("Repr-Digest", f"sha-256={digest('sha-256', BODY)}"),
        ("Repr-Digest", "sha-256"),
        ("Repr-Digest", f"sha-256=:{digest('sha-256', BODY)}"),
        ("Repr-Digest", field("Repr-Digest", BODY) + ","),
        ("Repr-Digest", "SHA-256=:AAAA:"),
        ("Content-Digest", 'sha-256="' + digest("sha-256", BODY) + '"'),
        ("Content-Digest", "=:AAAA:"),
    ],
)
def test_a_malformed_field_is_told_and_passed_over(name: str, text: str) -> None:
    """The server's mistake in a header fails no body."""
    found = some(checks((name, text)))
    assert (found.warning or "").startswith(f"{name} is malformed and was passed over: ")
    assert not found.needs_raw
    assert not found.needs_body
    assert faulted(found, b"anything") is None


def test_spellings_that_are_taken() -> None:
    """Spaces, parameters, several lines, algorithms of RFC 3230 in any case, base64 without its padding."""
    sha, md5 = digest("sha-256", BODY), digest("md5", BODY)
    for name, text in (
        ("Digest", f" SHA-256={sha} ,  Md5={md5.rstrip('=')},unixsum=1"),
        ("Repr-Digest", f"sha-256=:{sha}:;p=1;q,\tmd5=:{md5}:"),
        ("Content-MD5", f" {md5}"),
    ):
        found = some(checks((name, text)))
        assert found.warning is None
        assert faulted(found.copy(), BODY) is None
        assert faulted(found, b"other") is not None


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60), st.sampled_from(FIELDS))
def test_no_field_ever_raises(text: str, name: str) -> None:
    """Whatever a server puts there."""
    found = checks((name, text), (name, text[::-1]))
    assert found is None or faulted(found, BODY) is None or found.warning is None


def continued(found: Checks, *fields: tuple[str, str]) -> Checks:
    headers = CIMultiDict(fields)
    return found.continued(lambda name: headers.getall(name, []), headers)


def fed(found: Checks) -> Checks:
    found.raw(BODY[:10])
    found.body(BODY[:10])
    return found


PART = ("Content-Digest", field("Content-Digest", BODY[10:]))
WRONG_PART = ("Content-Digest", field("Content-Digest", BODY))


@pytest.mark.parametrize(
    ("begin", "fields", "good"),
    [
        (lambda: fed(some(checks(("Repr-Digest", field("Repr-Digest", BODY))))), (), True),
        (lambda: fed(some(checks(("Repr-Digest", field("Repr-Digest", BODY))))), (PART,), True),
        (lambda: fed(some(checks(("Repr-Digest", field("Repr-Digest", BODY))))), (WRONG_PART,), False),
        (lambda: fed(some(checks(("Content-Digest", field("Content-Digest", BODY))))), (PART,), True),
        (lambda: fed(some(checks(("Repr-Digest", field("Repr-Digest", BODY[10:]))))), (PART,), False),
        (lambda: fed(some(checks(promised=Promised(md5=hashlib.md5(BODY).hexdigest())))), (PART,), True),
        (lambda: fed(some(checks(promised=Promised(md5=hashlib.md5(BODY[10:]).hexdigest())))), (), False),
    ],
)
def test_a_body_goes_on_in_a_206(begin: Callable[[], Checks], fields: tuple[tuple[str, str], ...], good: bool) -> None:
    """What was said of the whole must hold of the whole, a Content-Digest of the part that came with it."""
    found = continued(begin(), *fields)
    found.raw(BODY[10:])
    found.body(BODY[10:])
    fault = found.fault(len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (fault is None) == good


def test_a_206_whose_beginning_comes_from_elsewhere() -> None:
    """All that came before is given to `body` first: then whole and part are told apart from the fields of one head."""
    whole = ("Digest", field("Digest", BODY))
    for fields, good in (((whole, PART), True), ((whole, WRONG_PART), False), ((("Digest", "sha-512="),), True)):
        found = checks(*fields, promised=Promised(size=len(BODY)), partial=True)
        assert found is not None
        found.body(BODY[:10])
        found.raw(BODY[10:])
        found.body(BODY[10:])
        assert (found.fault(len(BODY), hashlib.sha256(BODY).hexdigest()) is None) == good
    assert checks(("Content-MD5", digest("md5", BODY)), partial=True) is None  # of what, nobody says
    assert checks(whole, partial=True, coded=True) is None  # what came before is not there as it came


def test_a_copy_goes_its_own_way() -> None:
    """What is given to one of them does not reach the other."""
    found = some(checks(("Content-MD5", field("Content-MD5", BODY)), ("Digest", "sha-256")))
    found.body(BODY[:10])
    other = found.copy()
    found.body(b"noise")
    other.body(BODY[10:])
    assert other.fault(len(BODY), "") is None
    assert found.fault(15, "") is not None
    assert other.warning == found.warning is not None


def test_mismatches_are_tried_once_more() -> None:
    """From the start, and never held against the host."""
    for reason in (Reason.DIGEST_MISMATCH, Reason.SIZE_MISMATCH, Reason.BAD_CONTENT):
        assert POLICY[reason] == (2, False)
