"""Where JSON leads, by the expression of the job.

Decides which of the values that JMESPath finds are links: texts, and texts in lists. Must not know URLs or what the
data are. Invariant: whatever stands in the data, nothing raises; what cannot be read has no links, and a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crawler.charsets import parsed_json
from crawler.hreftext import Gathered
from crawler.jmespaths import Unfit, evaluate
from crawler.links import Kind, Leads
from crawler.units import render_size
from crawler.urls import printable

LARGEST = 16 * 1024**2  # bytes of a text that is read


def json_leads(data: bytes, content_type: str | None, expression: str) -> Leads:
    """The links that a (checked) expression finds in a JSON text."""
    if not data or data.isspace():
        return Leads()
    if len(data) > LARGEST:
        return Leads(warning=f"is larger than {render_size(LARGEST)}, so it was not read for links")
    try:
        value = evaluate(expression, parsed_json(data, content_type))
    except Unfit as error:
        return Leads(warning=str(error))
    except ValueError as error:
        return Leads(warning=f"is not JSON, so it has no links: {printable(str(error))}")
    gathered = Gathered()
    for text in _texts(value):
        gathered.add(text, Kind.DATA)
        if gathered.full:
            break
    return Leads(gathered.links, warning=gathered.warning)


def _texts(value: Any) -> Iterator[str]:
    """In the order of the data; lists within lists count, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.extend(reversed(value))
