"""[extract]: the fields of a page, each by CSS, JMESPath, a regular expression or a function, and a function for all.

Decides what may be asked, and names what was probably meant. Must not know pages, nor import functions. Invariant: what
was let through can be compiled: selectors, expressions and patterns parse, names of functions have the form
`module:function`, a default has the type of its field. The text `title = "css:h1::text"` and the table
`title = { css = "h1::text" }` are one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crawler import cssquery, jmespaths
from crawler.fieldtypes import FieldType, Unfit, column_type, convert
from crawler.urls import parse, printable

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FIELDS = 100
FUNCTION = "function:"

_LONGEST = 1000  # characters of a pattern
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}\Z")
_TARGET = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
_SOURCES = ("css", "jmespath", "regex", "function")
_MEANT = {"xpath": "css", "selector": "css", "jsonpath": "jmespath", "json": "jmespath", "jq": "jmespath"}
_MEANT |= {"re": "regex", "regexp": "regex", "python": "function", "py": "function", "call": "function"}


def _css(value: str) -> str:
    cssquery.parsed(value)
    return value.removeprefix(cssquery.PREFIX).strip()


def _jmespath(value: str) -> str:
    return jmespaths.checked(jmespaths.PREFIX + value.removeprefix(jmespaths.PREFIX)).removeprefix(jmespaths.PREFIX)


def _pattern(value: str) -> str:
    return _compiled(value, re.compile, re.error)


def _regex(value: str) -> str:
    import regex  # which can be stopped; `re` cannot, and some patterns take hours on hostile pages

    return _compiled(value, regex.compile, regex.error)


def _compiled(value: str, compiled: Callable[[str], object], fault: type[Exception]) -> str:
    if not 0 < len(value) <= _LONGEST:
        raise ValueError(f"has {len(value)} characters; a regular expression has 1 to {_LONGEST}")
    try:
        compiled(value)
    except (fault, OverflowError, RecursionError) as error:
        said = printable(value, 100)
        raise ValueError(f"'{said}' is no regular expression: {printable(str(error), 100)}") from None
    return value


def _target(value: str) -> str:
    if _TARGET.match(value):
        return value
    bare = re.sub(r"\(.*\)\Z", "", value.strip().replace("/", ".").replace(".py", ""))
    meant = bare if ":" in bare else ":".join(bare.rsplit(".", 1))
    hint = f"did you mean '{printable(meant, 100)}'?" if _TARGET.match(meant) else "write it as 'module:function'"
    raise ValueError(f"'{printable(value, 100)}' names no function; {hint}")


Target = Annotated[str, AfterValidator(_target)]


class FieldSaid(BaseModel):
    """One field. Exactly one of `css`, `jmespath`, `regex`, `function` says where it is; a `regex` beside `css` is
    looked for in what `css` finds. `url`: a pattern that is searched in the URL of a page (after redirects); without it
    the field is of all pages. `default` stands where nothing was found; `required`: then the page is a failure.
    `raw` keeps white space, which is made one space else; `separator` goes between the texts that tags divide.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, json_schema_extra=lambda schema: _or_text(schema)
    )

    css: Annotated[str, AfterValidator(_css)] | None = None
    jmespath: Annotated[str, AfterValidator(_jmespath)] | None = None
    regex: Annotated[str, AfterValidator(_regex)] | None = None
    function: Target | None = None
    type: FieldType | None = None
    many: bool = Field(False, alias="list")
    default: Any = None
    required: bool = False
    raw: bool = False
    separator: str = Field("", max_length=100)
    url: Annotated[str, AfterValidator(_pattern)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_table(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _of_text(value)
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in value if isinstance(value, dict) else ():
            if key not in (*known, "many"):
                near = get_close_matches(str(key)[:100], known, 1, 0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
                raise ValueError(f"unknown key '{printable(str(key), 60)}'; {hint}")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> FieldSaid:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1 and given != ["css", "regex"]:
            said = " and ".join(given) if given else "nothing"
            raise ValueError(f"has {said}; a field is found by one of {', '.join(_SOURCES)} (or by css with a regex)")
        if self.separator and self.css is None:
            raise ValueError("separator goes between the texts of elements; it needs css")
        if self.raw and given[0] not in ("css", "regex"):
            raise ValueError("raw keeps the white space of a page's text; it needs css or regex")
        if self.regex is not None and self.type not in (None, "json") and self.names_groups:
            raise ValueError('has a regex with named groups, which makes an object; leave out type, or say "json"')
        return self

    @model_validator(mode="after")
    def _default_fits(self) -> FieldSaid:
        if self.default is None:
            return self
        if self.required:
            raise ValueError("has a default, so it can never be missing; leave out required")
        values = self.default if self.gives_list else [self.default]
        if not isinstance(values, list):
            raise ValueError("is a list, so its default is one, too: default = []")
        try:
            for value in values:
                if self.kind != "json" and convert(self.kind, value, lambda text: parse(text).href) != value:
                    raise Unfit("is written otherwise")
            orjson.dumps(values)
        except (Unfit, TypeError):
            said = printable(repr(self.default), 60)
            raise ValueError(f"the default {said} is no {self.kind} as records have it") from None
        return self

    @property
    def kind(self) -> FieldType:
        """Its type, said or not: a text where it is found in one, else JSON as it comes."""
        if self.type is not None:
            return self.type
        return "json" if self.names_groups or (self.css is None and self.regex is None) else "text"

    @property
    def names_groups(self) -> bool:
        """Has its regular expression groups with names, which make an object."""
        if self.regex is None:
            return False
        import regex

        return bool(regex.compile(self.regex).groupindex)

    @property
    def gives_list(self) -> bool:
        """Is its value a list of `kind`."""
        return self.many or (self.css is not None and cssquery.parsed(self.css).many)


class Extract(BaseModel):
    """The section: each key a field, save `function`, which is given each page (see `page.Page`)."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, FieldSaid]

    function: Target | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        names = [str(name) for name in value] if isinstance(value, dict) else []
        for name in names:
            if not _NAME.match(name):
                meant = re.sub(r"\A(?=[0-9])", "_", re.sub(r"[^A-Za-z0-9_]", "_", name))[:60]
                raise ValueError(
                    f"'{printable(name, 80)}' is no name of a field (letters, digits, '_'); write '{meant or 'title'}'"
                )
        if len(names) - ("function" in names) > MAX_FIELDS:
            raise ValueError(f"has {len(names):,} fields; at most {MAX_FIELDS} are taken")
        said = value.get("function") if names else None
        if isinstance(said, dict) or (isinstance(said, str) and said.startswith(tuple(f"{s}:" for s in _SOURCES[:3]))):
            raise ValueError("'function' names the function that is given each page; call the field otherwise")
        return value

    @property
    def fields(self) -> Mapping[str, FieldSaid]:
        """The fields by name, in the order of the file."""
        return self.__pydantic_extra__

    @property
    def functions(self) -> dict[str, str]:
        """The functions that are to be loaded, by the key that names them."""
        own = {"function": self.function} if self.function is not None else {}
        return own | {name: said.function for name, said in self.fields.items() if said.function is not None}

    def __bool__(self) -> bool:
        return bool(self.fields) or self.function is not None


def column_types(said: Extract) -> dict[str, pa.DataType]:
    """The columns of the fields, as `parquetrows.schema` takes them."""
    return {name: column_type(field.kind, field.gives_list) for name, field in said.fields.items()}


def _or_text(schema: dict[str, Any]) -> None:
    """For editors: the text form is as good."""
    table = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "examples": ["css:h1::text"]}, table]


def _of_text(value: str) -> dict[str, str]:
    """The table that a text stands for. Raises ValueError with what was probably meant."""
    language, colon, rest = value.partition(":")
    if colon and language in _SOURCES:
        return {language: rest}
    said = language.strip().lower()
    meant = _MEANT.get(said) or next(iter(get_close_matches(said[:100], _SOURCES, 1, 0.6)), "")
    if said == "xpath":
        raise ValueError("XPath is not understood; write 'css:…'")
    if not colon or not meant:
        hint = f"did you mean 'css:{printable(value.strip(), 100)}'?" if value.strip() else "write 'css:h1::text'"
        raise ValueError(f"'{printable(value, 100)}' says no language (css:, jmespath:, regex:, function:); {hint}")
    raise ValueError(f"'{printable(language, 60)}:' is unknown; did you mean '{meant}:{printable(rest, 100)}'?")
