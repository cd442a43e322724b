"""What a running job may be told: pause, resume, stop, set a limit, say how it stands.

Decides whether a line is an order, and what it means. Must not know sockets, tasks or the job. Invariant: an order that
was let through can be carried out; whatever else is said is answered with a sentence, with the nearest right key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, get_args

from crawler.patterns import canonical_pattern
from crawler.units import parse_bandwidth, parse_rate, render_bandwidth, render_rate
from crawler.urls import printable

Do = Literal["pause", "resume", "stop", "set", "state"]
Limit = Literal["rate", "bandwidth", "per_host", "rate_per_host"]
NONE = "none"

_DO: dict[str, Do] = {name: name for name in get_args(Do)}
_JOB: dict[str, Limit] = {f"limits.{name}": name for name in get_args(Limit)}
_HOST: dict[str, Limit] = {"per_host": "per_host", "rate_per_host": "rate_per_host"}
_OF_HOST = re.compile(r'hosts\.(?:"([^"]*)"|(.*))\.([A-Za-z_]+)\Z', re.DOTALL)
_KEYS: dict[Do, frozenset[str]] = {
    "pause": frozenset({"do"}),
    "resume": frozenset({"do"}),
    "stop": frozenset({"do", "now"}),
    "set": frozenset({"do", "key", "value"}),
    "state": frozenset({"do"}),
}
_MOST = 10_000  # connections to a host; as in job files


class NoOrder(ValueError):
    """Not an order; the text is a sentence."""


class Setting(NamedTuple):
    """A limit and its new value: requests per second, bytes per second, or connections; None: no limit.

    `host` is a canonical pattern, as in [hosts."PATTERN"]; None where the limit is one of [limits].
    """

    limit: Limit
    value: float | int | None
    host: str | None = None

    @property
    def key(self) -> str:
        """As it is written."""
        return f"limits.{self.limit}" if self.host is None else f'hosts."{self.host}".{self.limit}'

    @property
    def text(self) -> str:
        """The value as it is written."""
        return written(self.limit, self.value)


class Order(NamedTuple):
    """One order. `setting` of a "set"; `now` of a "stop" that cuts what is under way."""

    do: Do
    setting: Setting | None = None
    now: bool = False


def order_of(said: object) -> Order:
    """The order that a JSON value means. Raises NoOrder."""
    if not isinstance(said, Mapping):
        raise NoOrder('an order is an object like {"do": "state"}')
    given = said.get("do")
    do = _DO.get(given) if isinstance(given, str) else None
    if do is None:
        raise NoOrder(f"there is no order {_shown(given)}{_nearest(given, _DO)}; there are {', '.join(_DO)}")
    for key in said:
        if key not in _KEYS[do]:
            raise NoOrder(f"{do} takes no {_shown(key)}{_nearest(key, _KEYS[do])}")
    if do == "set":
        return Order(do, setting_of(said.get("key"), said.get("value")))
    now = said.get("now", False)
    if not isinstance(now, bool):
        raise NoOrder(f"now is true or false, not {_shown(now)}")
    return Order(do, now=now)


def setting_of(key: object, value: object) -> Setting:
    """What a key and its new value mean; None and "none" stand for no limit. Raises NoOrder."""
    if not isinstance(key, str):
        raise NoOrder("set needs a key, such as limits.rate")
    if key in _JOB:
        limit = _JOB[key]
        return Setting(limit, _value(key, limit, value))
    found = _OF_HOST.match(key)
    if found is not None and found[3] in _HOST:
        limit = _HOST[found[3]]
        try:
            host = canonical_pattern(found[1] if found[1] is not None else found[2])
        except ValueError as error:
            raise NoOrder(f"{printable(key)}: the name of the host {error}") from None
        return Setting(limit, _value(key, limit, value), host)
    known = [f"{key[: found.start(3)]}{name}" for name in _HOST] if found is not None else [*_JOB]
    raise NoOrder(
        f"{printable(key)} cannot be set while a job runs{_nearest(key, known)}; "
        f'there are {", ".join(_JOB)}, and hosts."NAME".rate_per_host and .per_host'
    )


def written(limit: Limit, value: float | int | None) -> str:
    """A value as job files have it."""
    if value is None:
        return NONE
    if limit == "per_host":
        return str(value)
    return render_bandwidth(value) if limit == "bandwidth" else render_rate(value)


def _value(key: str, limit: Limit, value: object) -> float | int | None:
    if value is None or value == NONE:
        return None
    if limit == "per_host":
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= _MOST:
            return number
        raise NoOrder(f"{printable(key)}: {_shown(value)} is no number of connections from 1 to {_MOST}")
    try:
        found = parse_bandwidth(value) if limit == "bandwidth" else parse_rate(value)
    except ValueError as error:
        raise NoOrder(f"{printable(key)}: {printable(str(error))}, or '{NONE}'") from None
    if found < 1e-9:
        raise NoOrder(f"{printable(key)}: {_shown(value)} is slower than can be kept; pause the job instead")
    return found


def _shown(value: Any) -> str:
    return printable(repr(value), 80)


def _nearest(given: object, known: Any) -> str:
    near = get_close_matches(given[:100], sorted(known), 1, 0.5) if isinstance(given, str) else []
    return f", did you mean {near[0]}?" if near else ""
