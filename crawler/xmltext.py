"""XML in pieces, for what comes from strangers: elements as they end, and never an entity of the document's own.

Decides what of a document is read: its bytes in their charset, up to the first fault. Must not know what it means.
Invariant: nothing raises; no entity that the document declares is ever resolved, nothing outside it is read, and a
document of any length takes constant memory, as long as its reader keeps nothing.
"""

from __future__ import annotations

from typing import Protocol
from xml.parsers import expat

MAX_DEPTH = 200  # elements within each other
MAX_TEXT = 64 * 1024  # characters of one text that are kept
MAX_TOKEN = 1024 * 1024  # bytes of one tag or comment; expat may read it anew with each piece


class Handler(Protocol):
    """What is told of a document. Elements are told without their prefixes, which many feeds forget to declare. May
    raise Refused.
    """

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins; names of attributes are as they are written."""

    def end(self, name: str, text: str) -> None:
        """It ends; `text` is its own, without that of elements within."""


class Refused(Exception):
    """The document is not read on; the text is the rest of a sentence."""


class XmlReader:
    """Feeds a Handler. `fault` is the rest of a sentence, where the document was not read to its end."""

    def __init__(self, handler: Handler, charset: str | None) -> None:
        self.fault: str | None = None
        self._handler = handler
        self._parser = expat.ParserCreate(charset)
        self._texts: list[list[str]] = []
        self._sizes: list[int] = []
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.EntityDeclHandler = self._entity
        self._fed = 0
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def feed(self, piece: bytes, last: bool = False) -> None:
        """Read on; after a fault nothing more is read."""
        if self.fault is not None:
            return
        self._fed += len(piece)
        try:
            self._parser.Parse(piece, last)
            if self._fed - self._parser.CurrentByteIndex > MAX_TOKEN + len(piece):
                raise Refused(f"has a tag or comment of more than {MAX_TOKEN:,} bytes")
        except Refused as error:
            self.fault = str(error)
        except expat.ExpatError as error:
            where = f"line {error.lineno}, column {error.offset + 1}"
            self.fault = f"is broken XML ({expat.ErrorString(error.code)} at {where})"
        except (ValueError, LookupError, UnicodeError):  # a charset that expat and Python cannot read
            self.fault = "is XML in a charset that cannot be read"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._texts) >= MAX_DEPTH:
            raise Refused(f"has elements nested deeper than {MAX_DEPTH}")
        self._texts.append([])
        self._sizes.append(0)
        self._handler.start(name.rpartition(":")[2], attributes)

    def _end(self, name: str) -> None:
        self._sizes.pop()
        self._handler.end(name.rpartition(":")[2], "".join(self._texts.pop()))

    def _text(self, text: str) -> None:
        if self._texts and self._sizes[-1] < MAX_TEXT:
            self._texts[-1].append(text)
            self._sizes[-1] += len(text)

    def _entity(self, *_: object) -> None:
        raise Refused("declares entities of its own, which are not read")
