"""Headers as a job says them.

Decides what HTTP can carry. Must not know which headers mean what. Invariant: no header that was let through can end
a line of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

from crawler.tables import BadCell, check_header


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("names a header twice; upper and lower case make no difference")
    try:
        for name, text in value.items():
            check_header(name, text)
    except BadCell as error:
        raise ValueError(str(error)) from None
    return value


Headers = Annotated[dict[str, str], AfterValidator(_headers)]
