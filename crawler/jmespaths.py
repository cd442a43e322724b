"""Texts "jmespath:EXPRESSION" of a job: checked as it is loaded, evaluated on what a page says.

Decides what is an expression, and what it finds. Must not know what is looked for. Invariant: an expression that was
let through parses and names known functions only; no message repeats the data it was evaluated on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from crawler.urls import printable

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

PREFIX = "jmespath:"
_LONGEST = 1000  # characters of an expression


class Unfit(ValueError):
    """The expression cannot be evaluated on these data; the text is a sentence."""


def checked(text: str) -> str:
    """The text, if it is an expression. Raises ValueError with the place of the fault, or what was probably meant."""
    expression = text.removeprefix(PREFIX).strip()
    if not text.startswith(PREFIX):
        raise ValueError(f"'{printable(text)}' says no language; did you mean '{PREFIX}{printable(expression)}'?")
    if not 0 < len(expression) <= _LONGEST:
        raise ValueError(f"has {len(expression)} characters after '{PREFIX}'; an expression has 1 to {_LONGEST}")
    try:
        _check({"type": "whole", "children": [_parsed(expression)]})  # it may not be an `&expression` itself
    except RecursionError:
        raise ValueError("is nested too deep") from None
    return f"{PREFIX}{expression}"


def evaluate(text: str, data: Any) -> Any:
    """What the (checked) expression finds in parsed JSON. Raises Unfit."""
    from jmespath.exceptions import JMESPathTypeError

    try:
        return _compiled(text.removeprefix(PREFIX)).search(data)
    except JMESPathTypeError as error:  # its text holds the data
        why = f"{error.function_name}() is given {error.actual_type}"
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        why = type(error).__name__
    raise Unfit(f"'{printable(text.removeprefix(PREFIX))}' fails on this page: {why}")


Expression = Annotated[str, AfterValidator(checked)]


def _parsed(expression: str) -> Mapping[str, Any]:
    from jmespath.exceptions import LexerError, ParseError

    try:
        tree: Mapping[str, Any] = _compiled(expression).parsed
    except ParseError as error:
        said = error.message if isinstance(error, LexerError) else error.msg
        told = "it ends too early" if error.token_type is None else f"{said} at character {error.lex_position + 1}"
        raise ValueError(f"'{printable(expression)}' is no JMESPath expression: {told}") from None
    return tree


def _check(tree: Mapping[str, Any]) -> None:
    """JMESPath itself finds out what is called wrongly no sooner than on a page that has what it is called on; and an
    `&expression` is no value that a page could have: it stands only where a function takes one.
    """
    taken = _taken(tree) if tree["type"] == "function_expression" else []
    for number, child in enumerate(tree["children"]):
        if isinstance(child, dict):
            if child["type"] == "expref" and not (taken and "expref" in taken[min(number, len(taken) - 1)]["types"]):
                raise ValueError("'&' is for the functions that take an expression, such as sort_by(@, &name)")
            _check(child)


def _taken(call: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the function of a call takes. Raises ValueError where there is none, or it takes more or less."""
    from jmespath.functions import Functions

    name, given = call["value"], len(call["children"])
    if name not in Functions.FUNCTION_TABLE:
        near = get_close_matches(name, Functions.FUNCTION_TABLE, 1)
        raise ValueError(f"JMESPath has no function '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    taken: Sequence[Mapping[str, Any]] = Functions.FUNCTION_TABLE[name]["signature"]
    open_ended = bool(taken) and taken[-1].get("variadic", False)
    if given < len(taken) or (given > len(taken) and not open_ended):
        raise ValueError(f"{name}() takes {len(taken)} arguments{' or more' * open_ended}, not {given}")
    return taken


@lru_cache(maxsize=64)
def _compiled(expression: str) -> ParsedResult:
    import jmespath

    return jmespath.compile(expression)
