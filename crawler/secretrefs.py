"""How a job names a secret: env:, file:, keyring:, vault: or cmd:, and never the secret itself.

Decides what is a reference and into which parts it falls. Must not know where secrets lie, nor fetch one. Invariant:
what is no reference is a secret for all we know, so no sentence of a refusal holds any of it.
"""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, WithJsonSchema

FORMS = {
    "env": "env:NAME",
    "file": "file:PATH",
    "keyring": "keyring:SERVICE/USER",
    "vault": "vault:MOUNT/PATH#FIELD",
    "cmd": "cmd:PROGRAM ARGUMENT...",
}
_ALL = "{}, {}, {}, {} or {}".format(*FORMS.values())
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VAULT = re.compile(r"[^/#]+/[^#]*[^/#]#[^#]+\Z")


class Absent(Exception):
    """A reference leads to no value; the text says why, with nothing in it of what was read on the way."""


class Named(NamedTuple):
    """A reference in two parts: a key of FORMS, and what stands behind the colon."""

    scheme: str
    rest: str


def is_reference(text: str) -> bool:
    """Is this meant as a reference; whether it is a right one is for `check_reference` to say."""
    return text.partition(":")[0] in FORMS and ":" in text


def parse_reference(text: str) -> Named:
    """The parts of a reference. Raises ValueError: a sentence with the form that is nearest, and nothing of `text`."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in FORMS:
        near = get_close_matches(scheme[:12].strip().lower(), FORMS, 1, 0.7) if colon else []
        if near:
            raise ValueError(f"is no reference; did you mean {FORMS[near[0]]}?")
        raise ValueError(f"is no reference; write {_ALL}, so that the secret itself stands in no file")
    if why := _wrong(scheme, rest):
        raise ValueError(f"is no reference: {why}; write {FORMS[scheme]}")
    return Named(scheme, rest)


def _wrong(scheme: str, rest: str) -> str:
    """What is wrong with the part behind the colon; "" where nothing is."""
    if not rest.strip():
        return f"nothing stands behind {scheme}:"
    if _CONTROL.search(rest):
        return "it has a control character or line break"
    if scheme == "env" and not _NAME.match(rest):
        return "the name of a variable has letters, digits and _ only"
    if scheme == "keyring" and not all(rest.rpartition("/")[::2]):
        return "it names no service or no user"
    if scheme == "vault" and not _VAULT.match(rest):
        return "it names no mount, no path or no field"
    if scheme == "cmd":
        return _command_fault(rest)
    return ""


def _command_fault(rest: str) -> str:
    try:
        return "" if shlex.split(rest)[:1] not in ([], [""]) else "it names no program"
    except ValueError:
        return "a quotation mark is not closed"


def check_reference(value: object) -> str:
    """The reference as it is. Raises ValueError as `parse_reference` does, and where it is not text."""
    if not isinstance(value, str):
        raise ValueError(f"is no reference, not even text; write {_ALL}")
    parse_reference(value)
    return value


# Checked before pydantic does, whose own faults would show what was given.
Reference = Annotated[
    str,
    BeforeValidator(check_reference),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(FORMS)}):.+", "description": f"A secret: {_ALL}."}),
]
