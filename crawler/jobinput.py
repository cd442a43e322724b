"""[input]: the sources of a job, and the URLs that a template stands for.

Decides what may be an input and what a variable means. Must not read files. Invariant: a template names exactly its
variables, each stands for something, and no range is ever held whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, Field, model_validator

_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})(?:\s+step\s+([0-9]{1,18}))?\Z")
_FIELD = re.compile(r"\{([^{}]*)\}")
_MAX_VARIABLES = 20

Scalar = str | int | float | bool


def values(said: str | list[Scalar]) -> Iterator[str]:
    """What a variable stands for: "1..500", "001..500" (padded), "0..100 step 10", or a list."""
    if not isinstance(said, str):
        yield from (str(item) for item in said)
        return
    match = _RANGE.match(said)
    if not match or (match[3] and not int(match[3])):
        raise ValueError(f"'{said}' is not a range; write it like '1..500', '0..100 step 10', or as a list")
    width = len(match[1]) if match[1].startswith("0") else 0
    yield from (str(number).zfill(width) for number in range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))


def expand(template: str, variables: Mapping[str, str | list[Scalar]]) -> Iterator[str]:
    """Every URL of a template, the last variable turning fastest. Names are looked up, nothing is evaluated."""
    return _chosen(template, variables, list(variables), {})


def _chosen(
    template: str, variables: Mapping[str, str | list[Scalar]], names: list[str], known: Mapping[str, str]
) -> Iterator[str]:
    if not names:
        yield _FIELD.sub(lambda field: known[field[1]], template)
        return
    for value in values(variables[names[0]]):  # not itertools.product: it would hold every value of a range
        yield from _chosen(template, variables, names[1:], {**known, names[0]: value})


class Input(BaseModel):
    """[input]: one or more sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: list[str] = []
    files: list[str] = []
    sitemaps: list[str] = []
    column: str = Field("url", min_length=1)
    template: str | None = None
    vars: dict[str, str | list[Scalar]] = {}
    dedupe: bool = True

    @model_validator(mode="after")
    def _has_input(self) -> Input:
        if not (self.urls or self.files or self.sitemaps or self.template):
            raise ValueError("the job has no input: give urls, files, sitemaps or a template")
        if self.template is not None:
            _check_template(self.template, self.vars)
        elif self.vars:
            raise ValueError("vars without a template do nothing; give template as well")
        if self.files.count("-") > 1:
            raise ValueError("stdin ('-') can be read only once")
        return self


def _check_template(template: str, variables: Mapping[str, str | list[Scalar]]) -> None:
    if len(variables) > _MAX_VARIABLES:
        raise ValueError(f"vars has {len(variables)} variables; at most {_MAX_VARIABLES} are taken")
    used = set(_FIELD.findall(template))
    for name in sorted(used - set(variables)):
        near = get_close_matches(name, variables, 1)
        raise ValueError(
            f"template uses {{{name}}}, which vars does not have" + (f"; did you mean '{near[0]}'?" if near else "")
        )
    for name in variables:
        if name not in used:
            raise ValueError(f"vars.{name} is not used in the template")
        if next(values(variables[name]), None) is None:
            raise ValueError(f"vars.{name} stands for nothing")
