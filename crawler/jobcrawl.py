"""[crawl]: how a site is followed from its seeds: how far, through which links, and what is no page of its own.

Decides what a job may say of a crawl. Must not know pages, or judge a single URL: scope and traps do. Invariant: what
has no effect beside what else is said is refused; every expression that was let through compiles.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from crawler.jmespaths import Expression
from crawler.links import Kind
from crawler.urls import MAX_LENGTH, printable

Followed = Literal[Kind.A, Kind.AREA, Kind.LINK, Kind.IFRAME, Kind.REFRESH, Kind.HEADER, Kind.FEED, Kind.SITEMAP]
ScopeName = Literal["host", "domain", "prefix", "any"]

NAVIGATION: tuple[Followed, ...] = (
    Kind.A, Kind.AREA, Kind.LINK, Kind.IFRAME, Kind.REFRESH, Kind.HEADER, Kind.FEED, Kind.SITEMAP
)  # fmt: skip
_GLOB = re.compile(r"[^\s&=?#]+\*?[^\s&=?#]*\Z")  # a name in a query, with `*` and not much else
_ELSEWHERE = {
    Kind.REQUISITE: "what a page needs is fetched with requisites = true",
    Kind.DATA: "links in JSON are found with json = 'jmespath:…'",
}


def _several(value: object) -> object:
    """One of them may be written without brackets."""
    return [value] if isinstance(value, str) else value


def _regex(value: str) -> str:
    """The expression, if it compiles. How long it may take is bounded by the length of a URL alone."""
    try:
        re.compile(value)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        hint = f"; did you mean '{printable(value.replace('*', '.*'))}'?" if value.startswith("*") else ""
        raise ValueError(f"'{printable(value)}' is no regular expression: {error.msg}{place}{hint}") from None
    except (RecursionError, OverflowError):
        raise ValueError(f"'{printable(value)}' is too much for a regular expression") from None
    return value


def _parameter(value: str) -> str:
    bare = re.sub(r"\A[?&]+|=.*\Z", "", value.strip(), flags=re.DOTALL)
    if bare != value or not _GLOB.match(value) or not value.isprintable():
        hint = f"; write '{printable(bare)}'" if bare != value and _GLOB.match(bare) else "; such as 'ref' or 'utm_*'"
        raise ValueError(f"'{printable(value)}' is no name of a query parameter{hint}")
    if not value.strip("*"):
        raise ValueError(f"'{value}' would drop every query; name the parameters, such as 'utm_*'")
    return value


Regex = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_regex)]
Parameter = Annotated[str, Field(max_length=200), AfterValidator(_parameter)]
Several = BeforeValidator(_several)


class Traps(BaseModel):
    """[crawl.traps]: when links are no longer taken for pages; the rules stand in crawler/traps.py. `true` and `false`
    for the whole table turn it on and off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: bool = True
    repeats: int = Field(3, ge=2, le=1000)  # times a folder, or a run of folders, may stand in a path
    combinations: int = Field(10_000, ge=10, le=10**9)  # URLs that a few values of parameters may be combined to
    alike: int = Field(50, ge=1, le=10**6)  # pages in a row that say nothing new

    @model_validator(mode="after")
    def _has_effect(self) -> Traps:
        said = [name for name in sorted(self.model_fields_set - {"on"}) if getattr(self, name) != _default(self, name)]
        if not self.on and said:
            raise ValueError(f"{', '.join(said)} means nothing where on = false")
        return self


def _default(model: BaseModel, name: str) -> object:
    return type(model).model_fields[name].default


def _table(value: object) -> object:
    return {"on": value} if isinstance(value, bool) else value


class Crawl(BaseModel):
    """[crawl]: with it, links of pages are followed; the inputs are its seeds.

    `depth` counts clicks from a seed. What `prefer` finds, and what a sitemap gives a priority of `prefer_priority` or
    more, goes before other pages. `max_pages` and `max_pages_per_host` bound requests, requisites among them.
    Regular expressions are searched for in the canonical URL.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int | None = Field(None, ge=0, le=10**6)
    max_pages: int | None = Field(None, ge=1, le=10**12)
    max_pages_per_host: int | None = Field(None, ge=1, le=10**12)
    scope: ScopeName = "host"
    allow: Annotated[tuple[Regex, ...], Several] = ()
    deny: Annotated[tuple[Regex, ...], Several] = ()
    prefer: Annotated[tuple[Regex, ...], Several] = ()
    follow: Annotated[tuple[Followed, ...], Several] = NAVIGATION
    nofollow: Literal["obey", "ignore"] = "obey"
    sitemaps: bool = False
    json_links: Expression | None = Field(None, alias="json")
    requisites: bool = False
    requisites_anywhere: bool = False
    sort_query: bool = False
    drop_params: Annotated[tuple[Parameter, ...], Several] = ()
    drop_tracking: bool = False
    max_url_length: int = Field(2000, ge=20, le=MAX_LENGTH)
    prefer_priority: float = Field(0.8, ge=0, le=1)
    traps: Annotated[Traps, BeforeValidator(_table)] = Traps()

    @field_validator("follow", mode="before")
    @classmethod
    def _elsewhere(cls, value: object) -> object:
        """What has a key of its own is not among the kinds."""
        for kind, told in _ELSEWHERE.items():
            if value == kind or (isinstance(value, list | tuple) and kind in value):
                raise ValueError(f"has '{kind}', but {told}")
        return value

    @field_validator("follow", "allow", "deny", "prefer", "drop_params")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if value.count(one) > 1:
                raise ValueError(f"'{printable(one)}' stands there twice")
        return value

    @model_validator(mode="after")
    def _has_effect(self) -> Crawl:
        if self.requisites_anywhere and not self.requisites:
            raise ValueError("requisites_anywhere is of requisites = true, which is not said")
        if self.sitemaps and Kind.SITEMAP not in self.follow:
            raise ValueError("sitemaps = true finds sitemaps, but follow does not name 'sitemap'")
        if self.max_pages is not None and (self.max_pages_per_host or 0) > self.max_pages:
            raise ValueError(f"max_pages_per_host is more than max_pages ({self.max_pages:,}), so it bounds nothing")
        return self

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of links that are followed or fetched at all."""
        more = {Kind.DATA} if self.json_links is not None else set()
        return frozenset(self.follow) | more | ({Kind.REQUISITE} if self.requisites else set())
