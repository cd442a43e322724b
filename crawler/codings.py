"""Content codings (RFC 9110, section 8.4.1), decoded by us: gzip, deflate, br, zstd, and lists of up to two of them.

Every client we know takes a compressed stream that was cut short for a whole one, and lets a bomb grow without bound.
Decides: is what came whole, sound, and within the limits. Must not know HTTP libraries, files or the job.
Invariant: no piece handed out is larger than 1 MiB, and `finish` returns only if every stream reached its proper end
(checksums included where the coding has them), or if nothing was fed at all.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Generator, Iterator

import brotli  # type: ignore[import-untyped]

from crawler.errors import Reason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ACCEPT_ENCODING = "gzip, deflate, br, zstd"
MAX_CODINGS = 2
MAX_MEMBERS = 1024  # gzip members or zstd frames in one body

_PIECE = 1 << 20  # bytes of output at a time
_SLICE = 64 << 10  # bytes of input at a time: decoders copy the input left over for each piece of output
_BROTLI_LIMIT = _PIECE // 2  # brotli overshoots its limit by up to the same again
_RATIO_FREE = 1 << 20  # bytes of output before the ratio is looked at: small pages of blanks are honest
_ZSTD_WINDOW_LOG = 23  # 8 MiB: what a sender may use at most (RFC 9659, section 3)

_Bytes = bytes | memoryview


class CodingError(Exception):
    """The body cannot be decoded. `reason` is BAD_ENCODING or TOO_LARGE; the text is a sentence for people."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


# An engine decodes one stream: it yields pieces (some empty), to be drained before the next call, and returns None
# while the stream goes on; once it has ended, the bytes that are no longer part of it.
_Pieces = Generator[bytes, None, bytes | None]
_Engine = Callable[[_Bytes], _Pieces]


def _zlib(wbits: int) -> _Engine:
    """One gzip member (31; zlib checks its CRC and length as it ends), zlib stream (15) or raw deflate (-15)."""
    z = zlib.decompressobj(wbits)

    def pieces(data: _Bytes) -> _Pieces:
        piece = z.decompress(data, _PIECE)
        yield piece
        while len(piece) == _PIECE and not z.eof:
            piece = z.decompress(z.unconsumed_tail, _PIECE)
            yield piece
        return z.unused_data if z.eof else None

    return pieces


def _deflate() -> _Engine:
    """The zlib format as RFC 9110 wants it, or the raw deflate (RFC 1951) that some servers send: two bytes tell."""
    head = b""
    engine: _Engine | None = None

    def pieces(data: _Bytes) -> _Pieces:
        nonlocal head, engine
        if engine is None:
            data = head = head + data
            if len(head) < 2:
                return None
            wrapped = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0  # RFC 1950, section 2.2
            engine = _zlib(15 if wrapped else -15)
        return (yield from engine(data))

    return pieces


def _brotli() -> _Engine:
    """One brotli stream (RFC 7932); the library refuses a chunk that goes beyond the end."""
    z = brotli.Decompressor()

    def pieces(data: _Bytes) -> _Pieces:
        piece = z.process(data, output_buffer_limit=_BROTLI_LIMIT)
        yield piece
        # can_accept_more_data() tells of input kept back, not of output kept back: a full piece may have a successor.
        while not z.is_finished() and (len(piece) >= _BROTLI_LIMIT or not z.can_accept_more_data()):
            piece = z.process(b"", output_buffer_limit=_BROTLI_LIMIT)
            yield piece
        return b"" if z.is_finished() else None

    return pieces


def _zstd() -> _Engine:
    """One zstd frame (RFC 8878), skippable ones included."""
    z = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    def pieces(data: _Bytes) -> _Pieces:
        yield z.decompress(data, _PIECE)
        while not (z.needs_input or z.eof):
            yield z.decompress(b"", _PIECE)
        return z.unused_data if z.eof else None

    return pieces


# coding -> its engine, and how a further member of the same body begins (none: there is only one)
_ENGINES: dict[str, tuple[Callable[[], _Engine], tuple[bytes, ...]]] = {
    "gzip": (lambda: _zlib(31), (b"\x1f\x8b",)),
    "x-gzip": (lambda: _zlib(31), (b"\x1f\x8b",)),  # RFC 9110, section 8.4.1.3: the same
    "deflate": (_deflate, ()),
    "br": (_brotli, ()),
    "zstd": (_zstd, (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + n,)) + b"\x2a\x4d\x18" for n in range(16)))),
}
_BROKEN = (zlib.error, brotli.error, zstd.ZstdError)


class _Stage:
    """One coding of a body: its members one after another, then zeros, which mean nothing, or a surplus, kept out."""

    def __init__(self, coding: str) -> None:
        self.coding = coding
        self.surplus = 0
        self._make, self._magics = _ENGINES[coding]
        self._engine: _Engine | None = None
        self._members = 0
        self._held = b""

    def decode(self, data: _Bytes) -> Iterator[bytes]:
        while data:
            if self._engine is None:
                data = self._next_member(bytes(data))
                if self._engine is None:
                    return
            try:
                rest = yield from self._engine(data)
            except _BROKEN as error:
                raise CodingError(Reason.BAD_ENCODING, f"the {self.coding} content is damaged: {error}") from error
            if rest is None:
                return
            data = rest
            self._engine = None

    def finish(self) -> None:
        if self._engine is not None or self._held:
            raise CodingError(Reason.BAD_ENCODING, f"the {self.coding} content ended early")

    def _next_member(self, data: bytes) -> bytes:
        """Starts a member if `data` begins one, and returns what is for it; else the bytes are counted or held."""
        if self._members:
            if self.coding == "br":
                raise CodingError(Reason.BAD_ENCODING, "the br content is damaged: more bytes follow its end")
            if self.surplus:
                self.surplus += len(data)
                return b""
            data, self._held = (self._held + data).lstrip(b"\0"), b""
            if not data.startswith(self._magics):
                partial = any(magic.startswith(data) for magic in self._magics)
                self._held, self.surplus = (data, 0) if partial else (b"", len(data))
                return b""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise CodingError(Reason.BAD_ENCODING, f"the {self.coding} content has more than {MAX_MEMBERS:,} members")
        self._engine = self._make()
        return data


def _slices(data: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[at : at + _SLICE] for at in range(0, len(view), _SLICE))


class Decoder:
    """Turns the bytes of one body on the wire into its content; made by `decoder`. Sizes are in bytes."""

    def __init__(self, codings: list[str], max_size: int, max_ratio: float) -> None:
        self._stages = [_Stage(coding) for coding in reversed(codings)]
        self._sizes = [0] * len(codings)
        self._fed = 0
        self._max_size = max_size
        self._max_ratio = max_ratio
        # No honest coding adds more to what it cannot shrink; unbounded, input that decodes to nothing would be free.
        self._max_coded = max_size + max_size // 8 + _SLICE

    @property
    def warning(self) -> str | None:
        """A sentence if bytes after the end of the content were left out, else None. Final once all is fed."""
        for stage in self._stages:
            if stage.surplus:
                return f"{stage.surplus:,} bytes after the end of the {stage.coding} content were left out"
        return None

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decoded pieces of at most 1 MiB, none empty, made as they are asked for: drain it before the next call.

        Raises CodingError: BAD_ENCODING if the content is damaged, TOO_LARGE as soon as a limit is passed.
        """
        for part in _slices(data):
            self._fed += len(part)
            if self._fed > self._max_coded:
                raise self._too_large()
            yield from self._pour(part, 0)

    def finish(self) -> None:
        """To be called when the wire has ended. Raises CodingError (BAD_ENCODING) if the content has not."""
        for stage in self._stages:
            stage.finish()

    def _pour(self, data: memoryview, level: int) -> Iterator[bytes]:
        last = level == len(self._stages) - 1
        for piece in self._stages[level].decode(data):
            self._count(len(piece), level, last)
            if not last:
                for part in _slices(piece):
                    yield from self._pour(part, level + 1)
            elif piece:
                yield piece

    def _count(self, size: int, level: int, last: bool) -> None:
        self._sizes[level] = total = self._sizes[level] + size
        if total > (self._max_size if last else self._max_coded):
            raise self._too_large()
        if total > _RATIO_FREE and total > self._max_ratio * self._fed:
            coding, ratio = self._stages[level].coding, self._max_ratio
            raise CodingError(Reason.TOO_LARGE, f"the {coding} content expands to more than {ratio:g} times its size")

    def _too_large(self) -> CodingError:
        return CodingError(Reason.TOO_LARGE, f"the decoded body is larger than {self._max_size:,} bytes")


def decoder(content_encoding: str | None, max_size: int, max_ratio: float = 200.0) -> Decoder | None:
    """The decoder for a Content-Encoding value (several fields joined by commas), None if there is nothing to decode.

    `max_size` bounds the decoded body in bytes; `max_ratio` its size over the bytes that came, from 1 MiB on
    (`math.inf`: no bound). Raises CodingError (BAD_ENCODING) if a coding is unknown or more than two are nested.
    """
    names = [part.strip().lower() for part in content_encoding.split(",")] if content_encoding else []
    codings = [name for name in names if name not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > MAX_CODINGS:
        raise CodingError(Reason.BAD_ENCODING, f"{len(codings)} codings are nested, at most {MAX_CODINGS} are decoded")
    for coding in codings:
        if coding not in _ENGINES:
            raise CodingError(Reason.BAD_ENCODING, f"the content coding {coding[:40]!a} is unknown")
    return Decoder(codings, max_size, max_ratio)
