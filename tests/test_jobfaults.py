"""What is wrong with credentials and proxies in a job, in words that help and show no secret."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.jobfaults import judged
from crawler.places import Key

HOSTS = {"hosts": ["a.example"]}


def faults(**sections: Any) -> dict[Key, str]:
    job, found = judged({"name": "n", "input": {"urls": ["http://a.example/"]}, **sections}, 100)
    assert job is not None or found
    return dict(found)


def test_a_wrong_key_of_a_credential_is_told_where_it_stands() -> None:
    """With the nearest right one, and without the names that pydantic gives to kinds."""
    found = faults(auth={"x": {"type": "bearer", "tokn": "env:X", **HOSTS}})
    assert found == {("auth", "x", "token"): "is missing", ("auth", "x", "tokn"): "unknown key; did you mean 'token'?"}


def test_a_wrong_kind_of_credential_is_told_with_the_nearest_one() -> None:
    """And one without a kind with all there are."""
    found = faults(auth={"x": {"type": "basik", **HOSTS}, "y": HOSTS})
    assert found["auth", "x", "type"].startswith("'basik' is none of basic, digest,")
    assert found["auth", "x", "type"].endswith("did you mean 'basic'?")
    assert found["auth", "y", "type"].startswith("is missing; one of basic, digest")


@pytest.mark.parametrize("secret", ["hunter2hunter2", "http://u:hunter2hunter2@h:1"])
def test_a_secret_in_the_file_is_refused_and_not_shown(secret: str) -> None:
    """Whether it stands in a credential or in the URL of a proxy."""
    found = faults(auth={"x": {"type": "basic", "user": "u", "password": secret, **HOSTS}})
    assert "is no reference" in found["auth", "x", "password"]
    found |= faults(connection={"proxy": secret}) if secret.startswith("http") else {}
    assert "hunter2" not in "".join(found.values())


def test_of_several_kinds_of_value_our_own_sentence_is_told() -> None:
    """A proxy may be a text, a table or a list; what is wrong with the text says more than that."""
    assert "has a password" in faults(connection={"proxy": "http://u:p@h:1"})["connection", "proxy"]
    alone = {"url": "http://h:1", "password": "env:P"}
    assert "no user" in faults(connection={"proxy": alone})["connection", "proxy"]
    assert "password" in faults(hosts={"a": {"connection": {"proxy": "http://u:p@h:1"}}}).popitem()[1]


def test_a_number_of_a_credential_needs_its_unit() -> None:
    """As everywhere in the file."""
    said = {"type": "oauth2", "token_url": "https://a/", "client_id": "i", "client_secret": "env:S", "skew": 30}
    assert faults(auth={"x": {**said, **HOSTS}}) == {("auth", "x", "skew"): "30 has no unit; write it like '30s'"}


def test_what_is_no_table_is_said() -> None:
    """A list of tables in the place of one, a text, a number."""
    for wrong in ([{}], "text", 1):
        assert faults(auth={"x": wrong}) == {("auth", "x"): "is not a table"}


def test_bodies_that_are_kept_as_they_came_cannot_be_looked_into() -> None:
    """Gzip is no JSON: each compressed answer would be told as a failure."""
    raw = {"request": {"decompress": False}}
    for said in ({"expect": {"json": True}}, {"paging": {"next": "jmespath:next"}}):
        assert any("decompress" in text for text in faults(**raw, **said).values())
        assert any("decompress" in text for text in faults(hosts={"a": raw}, **said).values())
    assert faults(**raw, expect={"content_type": ["image/*"]}, paging={"next": "link"}) == {}


def test_a_list_of_no_proxies_is_refused() -> None:
    """It would mean a direct way, which has a word of its own."""
    assert list(faults(connection={"proxy": []})) == [("connection", "proxy")]
