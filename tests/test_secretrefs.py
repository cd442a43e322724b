"""References: the five forms, and refusals that never show what may be a secret."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from crawler.secretrefs import FORMS, Reference, check_reference, is_reference, parse_reference


class Section(BaseModel):
    """As a job has it."""

    password: Reference | None = None


@pytest.mark.parametrize(
    ("text", "scheme", "rest"),
    [
        ("env:API_TOKEN", "env", "API_TOKEN"),
        ("file:/run/secrets/x", "file", "/run/secrets/x"),
        ("file:token.txt", "file", "token.txt"),
        ("keyring:https://api.example/v1/anna", "keyring", "https://api.example/v1/anna"),
        ("vault:secret/team/api#token", "vault", "secret/team/api#token"),
        ("cmd:pass show 'my api'", "cmd", "pass show 'my api'"),
    ],
)
def test_the_forms(text: str, scheme: str, rest: str) -> None:
    """Each form falls into its scheme and the rest, and comes back from the check as it was."""
    assert is_reference(text)
    assert parse_reference(text) == (scheme, rest)
    assert check_reference(text) == text


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("env:", "env:NAME"),
        ("env:hunter2 x", "env:NAME"),
        ("env:$hunter2", "env:NAME"),
        ("env:A=hunter2", "env:NAME"),
        ("ENV:hunter2", "env:NAME"),
        ("evn:hunter2", "env:NAME"),
        ("file: ", "file:PATH"),
        ("file:hunter2\n", "file:PATH"),
        ("files:hunter2", "file:PATH"),
        ("keyring:hunter2", "keyring:SERVICE/USER"),
        ("keyring:hunter2/", "keyring:SERVICE/USER"),
        ("keyring:/hunter2", "keyring:SERVICE/USER"),
        ("vault:hunter2", "vault:MOUNT/PATH#FIELD"),
        ("vault:a/hunter2", "vault:MOUNT/PATH#FIELD"),
        ("vault:a#hunter2", "vault:MOUNT/PATH#FIELD"),
        ("vault:a/#hunter2", "vault:MOUNT/PATH#FIELD"),
        ("vault:a/hunter2#", "vault:MOUNT/PATH#FIELD"),
        ("cmd:'hunter2", "cmd:PROGRAM"),
        ("cmd:''", "cmd:PROGRAM"),
    ],
)
def test_a_refusal_names_the_nearest_form(text: str, form: str) -> None:
    """What was meant is told by its form, and nothing of what was written is shown."""
    with pytest.raises(ValueError, match="is no reference") as caught:
        check_reference(text)
    assert form in str(caught.value)
    assert "hunter2" not in str(caught.value)


def refusal(text: str) -> str:
    """The sentence for what is no reference."""
    with pytest.raises(ValueError, match="is no reference") as caught:
        check_reference(text)
    return str(caught.value)


SENTENCES = {refusal("x"), *(refusal(f"{scheme}x:y") for scheme in FORMS)}


@given(st.text() | st.builds("{}{}:{}".format, st.sampled_from(sorted(FORMS)), st.sampled_from("sx "), st.text()))
def test_a_literal_is_never_shown(text: str) -> None:
    """The sentence is one of six, whatever stands there: it is a secret for all we know."""
    assume(text.partition(":")[0] not in FORMS)
    assert refusal(text) in SENTENCES
    assert not is_reference(text)


@pytest.mark.parametrize("given", ["hunter2-hunter2", 31415926, 3.1415926, True, ["hunter2"], {"a": "hunter2"}])
def test_pydantic_shows_no_literal_either(given: object) -> None:
    """A password that is a number in YAML is refused in our words, in which it does not stand."""
    with pytest.raises(ValidationError) as caught:
        Section(password=given)
    told = " ".join(fault["msg"] + fault["type"] for fault in caught.value.errors())
    assert "31415926" not in told
    assert "hunter2" not in told
    assert "env:NAME" in told
    assert {fault["type"] for fault in caught.value.errors()} == {"value_error"}


def test_the_schema_has_a_pattern_for_editors() -> None:
    """An editor tells of a literal while it is typed."""
    schema = Section.model_json_schema()["properties"]["password"]["anyOf"][0]
    assert schema["type"] == "string"
    assert schema["pattern"].startswith("^(env|file|")
    assert "examples" not in schema  # these mark values with units
