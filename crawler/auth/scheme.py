"""The words of all schemes: a Draft is signed, an Answered is looked at, a Judgement says what follows.

Decides nothing. Must not know any scheme, the wire or the job. Invariant: a scheme holds no clock, no socket and no
file; what it must be given anew (a token, keys) is asked for by `stale` and handed in by whoever fetches it. No repr
of any of these shows a credential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random
from typing import NamedTuple, Protocol


class Draft(NamedTuple):
    """A request about to be sent. `headers`: all that will be sent but what the signer adds, Host not among them.

    `digests`: raw digests of the body by hashlib's name, those that the scheme `wants` (of an empty body where there
    is none). `length` of the body in bytes, 0 for none; `body` itself only where it is in memory. `round` counts from 0
    how often this very request was sent back for credentials.
    """

    method: str
    url: str  # canonical
    headers: Mapping[str, str]
    digests: Mapping[str, bytes] = {}
    length: int = 0
    round: int = 0
    body: bytes | None = None

    def __repr__(self) -> str:
        return f"<Draft {self.method} round={self.round}>"


class Unsignable(Exception):
    """This request cannot be signed; the text is a sentence without any secret."""


class Framing(Protocol):
    """A body that is sent in signed pieces (SigV4 streaming)."""

    def length(self, total: int) -> int:
        """Bytes on the wire for a body of `total` bytes."""

    def frame(self, data: bytes) -> bytes:
        """The next piece as it goes onto the wire; b"" is the end, and is framed as well."""


class Signed(NamedTuple):
    """What the signer adds: `headers` laid over the draft's, a `url` where the query carries the credential.

    `mark` names the credential that was used (its generation), for `accept`. `framing` where the body must be cut into
    signed pieces; `piece` is their size in bytes.
    """

    headers: Mapping[str, str]
    url: str | None = None
    mark: object = None
    framing: Framing | None = None
    piece: int = 65536

    def __repr__(self) -> str:
        return f"<Signed headers={sorted(self.headers)}>"


class Answered(NamedTuple):
    """The head of an answer: `challenges` are its WWW-Authenticate lines, `body` the first KiB of an error's body
    (where the scheme reads them). Header names compare without case.
    """

    status: int
    headers: Mapping[str, str]
    challenges: Sequence[str] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"<Answered {self.status}>"


class Step(Enum):
    """What an answer means for the credential."""

    FINE = "fine"  # nothing to do with credentials
    AGAIN = "again"  # sign and send once more (the challenge was learned, the token is to be renewed)
    REJECTED = "rejected"  # the credential is no good here
    CLOCK = "clock"  # the clocks differ too much


class Judgement(NamedTuple):
    """`error` is a sentence without any secret, "" where the step is FINE or AGAIN."""

    step: Step
    error: str = ""


FINE = Judgement(Step.FINE)
AGAIN = Judgement(Step.AGAIN)


class Scheme(Protocol):
    """One credential. `name` as people say it: "Basic", "Digest", "OAuth 2"."""

    name: str

    @property
    def wants(self) -> frozenset[str]:
        """The body digests that `sign` needs, by hashlib's names."""

    @property
    def reads_errors(self) -> bool:
        """Does `accept` look at the body of an error."""

    def stale(self, now: float) -> bool:
        """Must something (a token, keys) be fetched before the next `sign`? `now` is wall seconds, here as in all."""

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The draft's credential; never called while `stale`. Raises Unsignable."""

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """What the answer to a signed request means; called for every status."""
