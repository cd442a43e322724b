"""WARC files: what stands in them by other readers, files that follow each other, kills, secrets, indexes."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.durable import Mark
from crawler.errors import StorageError
from crawler.masking import Mask
from crawler.model import Body
from crawler.sinks.warc import INDEX
from crawler.warccheck import check
from crawler.warcrecords import Refers
from tests.warcs import Seen, entry, files, read, sink, store, visit


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def index(folder: Path) -> list[dict[str, Any]]:
    """The run's index: key, time and the rest of each line."""
    found = []
    for line in lines(folder / INDEX):
        key, moment, rest = line.decode().split(" ", 2)
        found.append({"key": key, "moment": moment, **orjson.loads(rest)})
    return found


def one(folder: Path, *entries: Any, **more: Any) -> list[Seen]:
    """The records of a run that stores these entries as one group; its files are whole."""
    warc = sink(folder, **more)
    marks = store(warc, entries)
    warc.finish()
    marks |= dict(warc.marks())
    warc.close()
    for path in files(folder):
        assert list(check(path, marks[f"warc/{path.name}"].length)) == []
    return [record for path in files(folder) for record in read(path)]


def test_a_capture_is_answer_request_and_metadata(tmp_path: Path) -> None:
    """Behind the warcinfo stand the records of a capture, tied together by the answer's id."""
    kinds = one(tmp_path, entry(7), robots="obey")
    assert [record.kind for record in kinds] == ["warcinfo", "response", "request", "metadata"]
    info, response, request, metadata = kinds
    assert b"robots: obey\r\n" in info.block
    assert info.fields["WARC-Filename"] == "j-r1-00000.warc.gz"
    assert response.payload == b"page 7"
    assert response.fields["WARC-Payload-Digest"] == f"sha256:{sha256(b'page 7').hexdigest()}"
    assert response.fields["WARC-Date"] == "2023-11-14T22:13:20.250000Z"
    assert response.fields["WARC-IP-Address"] == "127.0.0.1"
    assert request.head.startswith(b"GET /7 HTTP/1.1\r\nHost: a.test\r\n")
    assert {request.fields["WARC-Concurrent-To"], metadata.fields["WARC-Concurrent-To"]} == {
        response.fields["WARC-Record-ID"]
    }
    assert b"fetchTimeMs: 12\r\nid: 7\r\n" in metadata.block


def test_an_entry_knows_where_its_last_answer_is(tmp_path: Path) -> None:
    """Of a redirect and its target both are kept, and the place told is the target's member, exactly."""
    hop = visit("http://a.test/old", b"", status=302, phrase="Found", headers=(("Location", "/new"),))
    told = entry(1, hop, visit("http://a.test/new", b"new"))
    records = one(tmp_path, told)
    assert [record.kind for record in records[1:]] == ["response", "request", "response", "request", "metadata"]
    assert b"via: http://a.test/old\r\n" in records[-1].block
    assert told.warc is not None
    path = tmp_path / told.warc.file
    (tmp_path / "member").write_bytes(path.read_bytes()[told.warc.offset :][: told.warc.length])
    [alone] = read(tmp_path / "member")
    assert (alone.fields["WARC-Target-URI"], alone.payload) == ("http://a.test/new", b"new")


def test_an_entry_that_was_never_sent_leaves_nothing(tmp_path: Path) -> None:
    """Without visits there is no record, and without records no file."""
    idle = entry(1)
    idle.visits = ()
    assert one(tmp_path, idle) == []
    assert idle.warc is None
    assert os.listdir(tmp_path / "warc") == []


@pytest.mark.parametrize("size", [0, 30 * 1024 * 1024 + 5])
@pytest.mark.parametrize("kind", ["text/plain", "video/mp4"])
def test_a_body_in_a_file_is_streamed(tmp_path: Path, size: int, kind: str) -> None:
    """A body of no bytes and one of 30 MB come back as they were, whether they can be compressed or not."""
    data = Random(1).randbytes(size // 2) + bytes(size - size // 2)
    part = tmp_path / "1.part"
    part.write_bytes(data)
    body = Body(size, sha256(data).hexdigest(), part=str(part))
    records = one(tmp_path, entry(1, visit(body=body, headers=(("Content-Type", kind),))))
    assert records[1].payload == data
    assert part.exists()  # it is for another sink to take away
    assert files(tmp_path)[0].stat().st_size < 0.6 * size + 2000 or kind == "video/mp4"


def test_a_body_that_lost_its_end_stops_all(tmp_path: Path) -> None:
    """A part file that is not as long as its body is a fault of the disk, and nothing is said of it."""
    part = tmp_path / "1.part"
    part.write_bytes(b"hal")
    with pytest.raises(StorageError, match="has 3 bytes, and 4 came"):
        sink(tmp_path).store(1, [entry(1, visit(body=Body(4, sha256(b"half").hexdigest(), part=str(part))))])


def test_a_body_that_was_only_counted_is_told_to_be_missing(tmp_path: Path) -> None:
    """Where a body was not kept its record says so, and is whole all the same."""
    [_, response, *_] = one(tmp_path, entry(1, visit(body=Body(5, sha256(b"hello").hexdigest()))))
    assert (response.payload, response.fields["WARC-Truncated"]) == (b"", "unspecified")


_NAMES = st.text("abcXYZ-_09", min_size=1, max_size=12)
_VALUES = st.binary(max_size=40).map(lambda data: data.decode("utf-8", "surrogateescape"))


@given(headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=6), data=st.binary(max_size=300), phrase=_VALUES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_server_says_is_kept(
    tmp_path_factory: pytest.TempPathFactory, headers: list[tuple[str, str]], data: bytes, phrase: str
) -> None:
    """Any bytes in headers, phrase and body come back as they were, but for line ends, which become a space."""
    folder = tmp_path_factory.mktemp("any")
    records = one(folder, entry(1, visit(data=data, headers=headers, phrase=phrase), **{"error": phrase}))
    assert records[1].payload == data
    status, *got = records[1].head.split(b"\r\n")
    assert status.startswith(b"HTTP/1.1 200 ")
    secret = [(name, "***" if name.lower() == "set-cookie" else value) for name, value in headers]
    assert [line.partition(b": ")[2] for line in got] == [plain(value) for _, value in secret]


def plain(text: str) -> bytes:
    """Without what would end a line."""
    for end in "\r\n\0":
        text = text.replace(end, "\n")
    while "\n\n" in text:
        text = text.replace("\n\n", "\n")
    return text.replace("\n", " ").encode("utf-8", "surrogateescape")


def test_files_follow_each_other(tmp_path: Path) -> None:
    """A full file ends between two captures; each has its warcinfo, its index, and the run has one of all."""
    warc = sink(tmp_path, size=4000)
    noise = Random(2)
    groups = [[entry(n, visit(f"http://a.test/{n}", noise.randbytes(900))) for n in range(g, g + 5)] for g in (0, 5)]
    marks = store(warc, *groups)
    warc.finish()
    marks |= dict(warc.marks())
    paths = files(tmp_path)
    assert len(paths) > 2
    assert all(marks[f"warc/{path.name}"] == marks[f"warc/{path.name}"]._replace(closed=True) for path in paths)
    for path in paths:
        assert [record.kind for record in read(path)][:2] == ["warcinfo", "response"]
        assert list(check(path)) == []
        assert path.stat().st_size < 4000 + 2500
    all_lines = [line for path in paths for line in lines(path.parent / path.name.replace(".warc.gz", ".cdxj"))]
    assert sorted(all_lines) == lines(tmp_path / INDEX)
    assert {line["filename"] for line in index(tmp_path)} == {path.name for path in paths}
    places = {(f"warc/{one['filename']}", int(one["offset"]), int(one["length"])) for one in index(tmp_path)}
    assert places == {told.warc for group in groups for told in group}


def test_an_index_waits_for_the_commit(tmp_path: Path) -> None:
    """A file that ended in a group has its index only when that group is committed."""
    warc = sink(tmp_path, size=1000)
    warc.store(1, [entry(1), entry(2), entry(3)])
    assert list(tmp_path.glob("warc/*.cdxj")) == []
    warc.marks()
    warc.store(2, [])
    assert list(tmp_path.glob("warc/*.cdxj")) != []
    warc.close()


def killed(folder: Path, marks: dict[str, Mark], seed: int) -> None:
    """As a kill leaves it: bytes behind what is committed, a file of no mark, an index half made."""
    random = Random(seed)
    for path in files(folder):
        name = f"warc/{path.name}"
        if name in marks and not marks[name].closed:
            with path.open("ab") as file:
                file.write(random.randbytes(random.randrange(1, 3000)))
    (folder / "warc" / "j-r1-00077.warc.gz").write_bytes(b"torn")
    (folder / "warc" / "j-r1-00077.cdxj").write_bytes(b"of nothing\n")
    (folder / "warc" / "j-r1-00000.cdxj.tmp").write_bytes(b"half")


@pytest.mark.parametrize("size", [1500, 1 << 30])
def test_after_kills_each_capture_is_there_once(tmp_path: Path, size: int) -> None:
    """Groups that were written and not committed are dropped and written again; the indexes name what is there."""
    marks: dict[str, Mark] = {}
    for n in range(8):
        warc = sink(tmp_path, marks, size)
        assert (warc.dropped > 0) == (n > 0)
        marks |= store(warc, [entry(n * 10 + m) for m in range(3)])
        warc.store(9, [entry(n * 10 + 10 + m) for m in range(2)])  # never committed
        warc.close()
        killed(tmp_path, marks, n)
    warc = sink(tmp_path, marks, size)
    warc.finish()
    marks |= dict(warc.marks())
    warc.close()
    records = [record for path in files(tmp_path) for record in read(path)]
    assert len(set(ids_of(records))) == len(records)
    urls = [record.fields["WARC-Target-URI"] for record in records if record.kind == "response"]
    assert sorted(urls) == sorted(f"http://a.test/{n * 10 + m}" for n in range(8) for m in range(3))
    assert sorted(urls) == sorted(line["url"] for line in index(tmp_path))
    assert sorted(os.listdir(tmp_path / "warc")) == sorted(
        [*(p.name for p in files(tmp_path)), *(p.name[:-8] + ".cdxj" for p in files(tmp_path)), "index.cdxj"]
    )
    assert all(list(check(path, marks[f"warc/{path.name}"].length)) == [] for path in files(tmp_path))


def test_the_same_request_has_the_same_ids_again(tmp_path: Path) -> None:
    """What is fetched once more after a kill is told under the same names, and another request under others."""
    [first, again, other] = [one(tmp_path / name, entry(id)) for name, id in (("a", 1), ("b", 1), ("c", 2))]
    assert ids_of(first) == ids_of(again)
    assert len(set(ids_of(first))) == 4
    assert not set(ids_of(first)[1:]) & set(ids_of(other)[1:])


def ids_of(records: list[Seen]) -> list[str]:
    return [record.fields["WARC-Record-ID"] for record in records]


def test_an_index_is_the_same_when_it_is_read_back(tmp_path: Path) -> None:
    """Lines made from a file after a restart are those that were made as it was written."""
    entries = [entry(1), entry(2, visit("http://b.test/x?b&a", b"y" * 2000)), entry(3, visit(data=b"y" * 2000))]
    one(tmp_path / "a", *entries)
    warc = sink(tmp_path / "b")
    marks = store(warc, entries)
    warc.close()
    warc = sink(tmp_path / "b", marks)
    warc.finish()
    assert lines(tmp_path / "a" / INDEX) == lines(tmp_path / "b" / INDEX)
    assert len(lines(tmp_path / "a" / INDEX)) == 3


def test_finish_can_be_repeated(tmp_path: Path) -> None:
    """A kill in the middle of the end costs nothing: it is done again, from whatever marks were committed."""
    warc = sink(tmp_path, size=800)
    marks = store(warc, [entry(1), entry(2)])
    warc.finish()
    warc.close()
    whole = lines(tmp_path / INDEX)
    again = sink(tmp_path, marks, 800)
    again.finish()
    marks |= dict(again.marks())
    again.close()
    assert lines(tmp_path / INDEX) == whole
    for path in tmp_path.glob("warc/*.cdxj"):
        path.unlink()
    last = sink(tmp_path, marks, 800)
    last.finish()
    assert lines(tmp_path / INDEX) == whole
    assert last.marks() == []


def test_a_payload_stands_in_a_run_once(tmp_path: Path) -> None:
    """A body that was seen before becomes a revisit that leads to the first; small ones and cut ones do not."""
    page = b"the very same page " * 100
    twice = [entry(1, visit("http://a.test/1", page)), entry(2, visit("http://a.test/2", page, at=1_700_000_009.5))]
    small = [entry(3, visit("http://a.test/3", b"small")), entry(4, visit("http://a.test/4", b"small"))]
    records = one(tmp_path, *twice, *small, entry(5, visit("http://a.test/5", page, truncated="time")))
    answers = [record for record in records if record.kind in ("response", "revisit")]
    assert [record.kind for record in answers] == ["response", "revisit", "response", "response", "response"]
    first, second = answers[:2]
    assert second.payload == b""
    assert second.head == first.head
    assert second.fields["WARC-Profile"].endswith("/1.1/revisit/identical-payload-digest")
    assert second.fields["WARC-Payload-Digest"] == first.fields["WARC-Payload-Digest"]
    assert second.fields["WARC-Refers-To-Target-URI"] == first.fields["WARC-Target-URI"]
    assert second.fields["WARC-Refers-To-Date"] == first.fields["WARC-Date"]
    assert answers[-1].fields["WARC-Truncated"] == "time"
    assert [(line["mime"], line.get("status")) for line in index(tmp_path)][1] == ("warc/revisit", None)


def test_a_304_leads_to_what_is_known(tmp_path: Path) -> None:
    """Not modified is a revisit where the earlier record is known, with its headers as they came, else an answer."""
    known = Refers("http://a.test/a", "2020-01-01T00:00:00Z")
    answer = {"status": 304, "phrase": "Not Modified", "headers": (("ETag", '"1"'), ("Content-Length", "77"))}
    here = entry(1, visit("http://a.test/a", b"", **answer))
    other = entry(2, visit("http://a.test/b", b"", **answer))
    records = one(tmp_path, here, other, earlier={"http://a.test/a": known}.get)
    revisit, plain = [record for record in records if record.kind in ("response", "revisit")]
    assert (revisit.kind, plain.kind) == ("revisit", "response")
    assert revisit.fields["WARC-Profile"].endswith("/1.1/revisit/server-not-modified")
    assert revisit.fields["WARC-Refers-To-Date"] == known.date
    assert "WARC-Payload-Digest" not in revisit.fields
    assert revisit.head.endswith(b"Content-Length: 77")


SECRETS = ("pass-word-1", "token=abcdef", "cookie-value", "set-cookie-value", "other-secret-1")


def telling() -> Any:
    """An entry in which secrets stand in every place where they may."""
    sent = (("Authorization", "Basic pass-word-1"), ("cookie", "cookie-value"), ("X-Key", "other-secret-1"))
    got = (("set-cookie", "set-cookie-value"), ("X-Echo", "is other-secret-1"), ("Content-Type", "a/other-secret-1"))
    return entry(
        1,
        visit(
            "http://a.test/?token=abcdef",
            method="POST",
            sent=sent,
            content=b"\xff other-secret-1",
            headers=got,
            phrase="other-secret-1",
        ),
        warning="saw other-secret-1",
    )


def every_byte(folder: Path) -> bytes:
    blocks = [repr(record.fields).encode() + record.block for path in files(folder) for record in read(path)]
    return b"".join(blocks) + (folder / INDEX).read_bytes()


def test_no_secret_is_archived(tmp_path: Path) -> None:
    """Credentials and cookies are left out by their names, and known secrets wherever they stand."""
    one(tmp_path, telling(), hide=Mask(["token=abcdef", "other-secret-1"]))
    found = every_byte(tmp_path)
    assert [secret for secret in SECRETS if secret.encode() in found] == []
    assert b"Authorization: ***\r\n" in found
    assert b"\xff ***" in found


def test_secrets_can_be_kept(tmp_path: Path) -> None:
    """Who asks for it has the headers as they were."""
    one(tmp_path, telling(), keep_secrets=True)
    found = every_byte(tmp_path)
    assert [secret for secret in SECRETS if secret.encode() not in found] == []


def test_what_was_sent_is_kept(tmp_path: Path) -> None:
    """The content of a request stands in its record; of a larger one that it is cut."""
    length = (("Content-Length", "5"),)
    whole = entry(1, visit(method="POST", sent=length, content=b"a=b&c"))
    cut = entry(2, visit(method="PUT", sent=length, content=b"a=b"))
    requests = [record for record in one(tmp_path, whole, cut) if record.kind == "request"]
    assert [record.payload for record in requests] == [b"a=b&c", b"a=b"]
    assert [record.fields.get("WARC-Truncated") for record in requests] == [None, "length"]
    assert requests[0].fields["WARC-Payload-Digest"] == f"sha256:{sha256(b'a=b&c').hexdigest()}"


def test_a_decoded_body_can_be_shown(tmp_path: Path) -> None:
    """Readers that decode by the headers give the page, since what no longer holds stands under another name."""
    from fastwarc.warc import ArchiveIterator
    from warcio.archiveiterator import ArchiveIterator as OtherIterator  # type: ignore[import-untyped]

    headers = (("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked"), ("Content-Type", "text/html"))
    one(tmp_path, entry(1, visit(data=b"<p>page</p>", headers=headers, decoded=True)))
    [path] = files(tmp_path)
    with path.open("rb") as file:
        pages = [record.content_stream().read() for record in OtherIterator(file) if record.rec_type == "response"]
    with path.open("rb") as file:
        got = [(record.http_headers, record.reader.read()) for record in ArchiveIterator(file) if record.is_http]
    assert pages == [b"<p>page</p>"]
    assert got[0][1] == b"<p>page</p>"
    assert dict(got[0][0])["X-Archive-Orig-Transfer-Encoding"] == "chunked"


def test_payloads_remembered_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest is forgotten, and stands there in full again."""
    monkeypatch.setattr("crawler.sinks.warc._REMEMBERED", 2)
    pages = [b"%d" % n * 2000 for n in (1, 2, 3, 1, 3)]
    records = one(tmp_path, *(entry(n, visit(f"http://a.test/{n}", page)) for n, page in enumerate(pages)))
    kinds = [record.kind for record in records if record.kind in ("response", "revisit")]
    assert kinds == ["response"] * 4 + ["revisit"]
