"""What shares a pace: a host, a registrable domain, or an address (`limits.politeness`).

Decides the politeness key of a host name. Must not look names up: addresses are told by `learn`. Invariant: a key once
known for a name stays for the run, so that a request comes back to the queue it was taken from; by address it is known
from `learn` on.
"""

from __future__ import annotations

from collections.abc import Callable


class Keys:
    """The politeness keys of one run. `registrable` gives a name's domain by the public suffix list, None where it has
    none (an address, a suffix itself); without it every host is its own key.
    """

    def __init__(self, registrable: Callable[[str], str | None] | None = None, *, by_address: bool = False) -> None:
        self._registrable = registrable
        self.by_address = by_address
        self._known: dict[str, str] = {}
        self.plain = registrable is None and not by_address

    def __repr__(self) -> str:
        return f"<Keys {len(self._known)} known>"

    def key_of(self, host: str) -> str:
        """The key of a canonical host name; the name itself where nothing better is known."""
        if self.plain:
            return host
        key = self._known.get(host)
        if key is None:
            if self._registrable is None:
                return host
            key = self._known[host] = self._registrable(host) or host
        return key

    def unknown(self, host: str) -> bool:
        """Must the address of this host be looked up before it has its key."""
        return self.by_address and bool(host) and host not in self._known

    def learn(self, host: str, address: str | None) -> None:
        """The first address that the name has; None: it has none, so it stands for itself."""
        self._known.setdefault(host, address or host)
