"""What `crawler plan` says of credentials: how many requests each is for, and whether what it needs is to be had.

Does: count by origin, and ask for a token or keys once, where a section needs such. Must not fetch anything else.
Invariant: no credential is sent to a host that requests are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from crawler.authenticate import Authenticator, Section
from crawler.hosts import Hosts
from crawler.jobfile import LoadedJob
from crawler.means import Given
from crawler.model import Request
from crawler.parts import session_settings
from crawler.plan import AuthSeen
from crawler.session import Session
from crawler.urls import hostname
from crawler.watch import Watch


async def auth_seen(
    loaded: LoadedJob, found: Given, hosts: Hosts, origins: Mapping[str, int], *, offline: bool
) -> list[AuthSeen]:
    """One for each [auth] section of the job; `origins` holds the number of requests of each."""
    if found.credentials is None:
        return []
    async with Session(session_settings(loaded.job)) as session:
        means = found.means(session, Watch(tick=1.0), hosts, None)
        assert means is not None
        assert means.auth is not None
        counted, insecure = _counted(means.auth, origins)
        seen = []
        for section in means.auth.sections:
            fault = await section.renew() if section.renew is not None and not offline else None
            problem = found.mask(fault.error) if fault is not None else insecure.get(section.name)
            seen.append(AuthSeen(section.name, section.scheme.name, counted[section.name], problem))
        return seen


def _counted(auth: Authenticator, origins: Mapping[str, int]) -> tuple[Counter[str], dict[str, str]]:
    """Requests by section, and why some would not be sent."""
    counted, problems = Counter[str](), dict[str, str]()
    for origin, number in origins.items():
        request = Request(0, f"{origin}/", hostname(f"{origin}/"))
        found = auth.section(request)
        if isinstance(found, Section):
            counted[found.name] += number
        elif found is not None:
            bound = auth.bound(request)
            assert bound is not None
            counted[bound.name] += number
            problems[bound.name] = found.error
    return counted, problems
