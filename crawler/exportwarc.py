"""A run's records and bodies as one WARC 1.1 file, made when the run is over.

Does: find each body where the run put it, and write what is known of its capture. Must not know what records are made
of elsewhere. Invariant: a body stands in the archive only if it has the digest that its record tells. Where the run
kept the headers of answers there are `response` records; else `resource` records, that claim nothing about HTTP.
"""

from __future__ import annotations

import os
import tarfile
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from crawler import warctext
from crawler.entry import Sync
from crawler.errors import JobError, StorageError
from crawler.exportsource import Source
from crawler.model import Body, Elapsed, Record, Visit
from crawler.series import Series
from crawler.warcrecords import About, Pair, WarcRecord, warcinfo
from crawler.warctext import Hiding
from crawler.warcwriter import RecordWriter, digest_of

_FIELDS = [field.name for field in fields(Record)]
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_SMALL = 1024 * 1024  # bytes of a body that is taken into memory
_NOTHING = Body(0, sha256(b"").hexdigest(), b"")
_HIDING = Hiding(lambda text: text)  # records have lost the job's secrets before they were written


class Archive:
    """One WARC file. `decoded`: bodies are kept without the coding that they came in."""

    def __init__(self, path: Path, job: str, source: Source, *, decoded: bool) -> None:
        self._path = path
        self._source = source
        self._about = About(job, source.run)
        self._decoded = decoded
        self._scratch = path.with_name(path.name + ".body")
        self._never_sent = 0
        self._bare = 0

    def __repr__(self) -> str:
        return f"<Archive {self._path.name} of {self._source.run}>"

    def write(self, name: str) -> int:
        """Write all records; how many there are. `name` is what the file will be called.

        Raises JobError where the run has WARC files of its own, StorageError where a body is gone or another, OSError.
        """
        # One file alone of a series, as the writer of records wants it; none is ever full.
        pattern = self._path.name.replace("{", "{{").replace("}", "}}") + "{}"
        series = Series(self._path.parent, pattern, {}, 2**63, Sync.CLOSE)
        series.begin()
        written = self._path.parent / series.name
        try:
            rows = self._write(RecordWriter(series), name)
            series.end()
            os.rename(written, self._path)
        finally:
            series.close()
            written.unlink(missing_ok=True)
            self._scratch.unlink(missing_ok=True)
        return rows

    def notes(self) -> list[str]:
        """What the file has not."""
        notes = []
        if self._never_sent:
            notes.append(f"{self._never_sent:,} inputs that were never sent are left out")
        if self._bare:
            notes.append(
                f"{self._bare:,} bodies are `resource` records: the run kept no headers "
                "(output.headers_in_record, or bodies = warc)"
            )
        return notes

    def _write(self, writer: RecordWriter, name: str) -> int:
        rows = 0
        for told in self._source.records():
            if told.get("warc"):
                raise JobError(f"run {self._source.run} has WARC files of its own: {self._source.folder / 'warc'}")
            record = _record(told)
            if record.started_at is None:
                self._never_sent += 1
                continue
            if writer.position == 0:
                self._put(writer, warcinfo(self._about, name, _seconds(record.started_at), _HIDING))
            self._capture(writer, record, self._body(told))
            rows += 1
        if writer.position == 0:  # a file without records has none to be dated by
            self._put(writer, warcinfo(self._about, name, 0.0, _HIDING))
        writer.flush()
        return rows

    def _capture(self, writer: RecordWriter, record: Record, body: Body | None) -> None:
        answer = None
        if record.headers is not None and record.status is not None:
            answer = self._response(record, body or _NOTHING)
        elif body is not None:
            self._bare += 1
            answer = self._resource(record, body)
        if answer is not None:
            self._put(writer, answer)
        via = record.referrer or (record.url if record.url != record.final_url else None)
        block = warctext.metadata(record, via, _HIDING.hide)
        more = [
            ("Content-Type", warctext.FIELDS),
            ("WARC-Concurrent-To", answer.id if answer is not None else None),
        ]
        self._put(writer, self._named("metadata", record, more, None, block))

    def _response(self, record: Record, body: Body) -> WarcRecord:
        status = record.status or 0
        headers = [*(record.headers or {}).items()]
        at = _seconds(record.started_at or "")
        visit = Visit(
            record.final_url,
            record.method,
            (),
            None,
            status,
            _PHRASES.get(status, ""),
            headers,
            at,
            body,
            decoded=self._decoded,
        )
        block = warctext.response_head(visit, _HIDING)
        more: list[Pair] = [("Content-Type", warctext.RESPONSE)]
        return self._named("response", record, more, warctext.digest(body.sha256), block)._replace(body=body)

    def _resource(self, record: Record, body: Body) -> WarcRecord:
        more: list[Pair] = [("Content-Type", _type(record.content_type))]
        return self._named("resource", record, more, warctext.digest(body.sha256), b"")._replace(body=body)

    def _named(self, kind: str, record: Record, more: list[Pair], payload: str | None, block: bytes) -> WarcRecord:
        id = warctext.record_id(f"{self._about.job}/{self._about.run}", record.id, 0, kind)
        url = warctext.target(record.final_url, _HIDING.hide)
        return WarcRecord(kind, id, url, warctext.date(_seconds(record.started_at or "")), more, payload, block)

    def _put(self, writer: RecordWriter, record: WarcRecord) -> None:
        head = record.head(digest_of(record.block, record.body))
        writer.put(head, record.block, record.body)

    # -- bodies -------------------------------------------------------------------------------------------------------

    def _body(self, told: Mapping[str, Any]) -> Body | None:
        """The body of a record, with its digest checked; None where there is none."""
        digest, size = told.get("sha256"), told.get("bytes")
        if digest is None or size is None:
            return None
        try:
            body = self._found(told, digest, size)
        except FileNotFoundError as error:
            raise StorageError(f"{error.filename}: is gone; it was the body of {told['final_url']}") from None
        except tarfile.TarError as error:
            raise StorageError(f"{self._source.folder / told['tar']['file']}: is damaged: {error}") from error
        if body is not None and digest_of(b"", body) != digest:
            raise StorageError(f"record {told['id']}: its body is not the one that came from {told['final_url']}")
        return body

    def _found(self, told: Mapping[str, Any], digest: str, size: int) -> Body | None:
        if told.get("body") is not None:
            path = self._source.folder / told["body"]
            if size <= _SMALL:
                return Body(size, digest, path.read_bytes())
            return Body(size, digest, part=str(path))
        if told.get("tar") is not None:
            return self._from_tar(self._source.folder / told["tar"]["file"], told["tar"]["offset"], digest, size)
        if told.get("content") is not None:
            return Body(size, digest, told["content"].encode())
        if told.get("content_base64") is not None:
            return Body(size, digest, b64decode(told["content_base64"]))
        return None

    def _from_tar(self, path: Path, offset: int, digest: str, size: int) -> Body:
        """A member; a large one by way of a file, which the next one overwrites."""
        with open(path, "rb") as shard:
            shard.seek(offset)
            with tarfile.open(fileobj=shard, mode="r:") as archive:
                member = archive.next()
                data = archive.extractfile(member) if member is not None else None
                if data is None:
                    raise tarfile.ReadError(f"at {offset} there is no member")
                if size <= _SMALL:
                    return Body(size, digest, data.read())
                with open(self._scratch, "wb") as scratch:
                    copyfileobj(data, scratch, _SMALL)
        return Body(size, digest, part=str(self._scratch))


def _record(told: Mapping[str, Any]) -> Record:
    values: dict[str, Any] = {name: told.get(name) for name in _FIELDS}
    record = Record(**values)
    if told.get("elapsed_ms") is not None:
        record.elapsed_ms = Elapsed(**told["elapsed_ms"])
    return record


def _seconds(stamp: str) -> float:
    """The wall second of a `started_at`."""
    return datetime.fromisoformat(stamp).timestamp()


def _type(content_type: str | None) -> str:
    """A Content-Type as one line of a head; what a server says could end it."""
    said = "".join(sign for sign in content_type or "" if sign.isprintable())
    return said or "application/octet-stream"
