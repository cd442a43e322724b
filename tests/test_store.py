"""The content store: each body once, and never one that is not what its name promises."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from crawler.store import ContentStore

DATA = b"a body"
NAME = sha256(DATA).hexdigest()


def taken(folder: Path) -> ContentStore:
    store = ContentStore(folder / "store")
    part = folder / "x.part"
    part.write_bytes(DATA)
    touched: set[str] = set()
    store.take(str(part), NAME, touched)
    assert str(Path(store.path(NAME)).parent) in touched
    return store


def test_what_was_taken_is_held(tmp_path: Path) -> None:
    """By this process and by the next one; the part went."""
    assert taken(tmp_path).holds(NAME, len(DATA))
    assert ContentStore(tmp_path / "store").holds(NAME, len(DATA))
    assert not (tmp_path / "x.part").exists()
    assert Path(ContentStore(tmp_path / "store").path(NAME)).read_bytes() == DATA


def test_an_empty_store_makes_no_folder(tmp_path: Path) -> None:
    """A job that keeps no files leaves no store."""
    assert not ContentStore(tmp_path / "store").holds(NAME, len(DATA))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", [b"A body", b"a bod", b"a body!"])
def test_what_breaks_its_promise_is_given_up(tmp_path: Path, damage: bytes) -> None:
    """Of the same length or another: it is not linked again, and the content can be taken anew."""
    path = Path(taken(tmp_path).path(NAME))
    other = tmp_path / "other name"
    other.hardlink_to(path)
    path.write_bytes(damage)
    store = ContentStore(tmp_path / "store")
    assert not store.holds(NAME, len(DATA))
    assert not path.exists()
    assert other.read_bytes() == damage
    assert taken(tmp_path).holds(NAME, len(DATA))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """What somebody planted there is no content of ours."""
    path = Path(taken(tmp_path).path(NAME))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not ContentStore(tmp_path / "store").holds(NAME, len(DATA))
    assert (tmp_path / "elsewhere").read_bytes() == DATA


def test_what_was_written_is_held(tmp_path: Path) -> None:
    """A content from memory stands there whole, its folders count as touched; it is not written over another file."""
    store = ContentStore(tmp_path / "store")
    touched: set[str] = set()
    store.write(DATA, NAME, touched)
    assert touched == {store.folder, str(Path(store.path(NAME)).parent)}
    assert ContentStore(tmp_path / "store").holds(NAME, len(DATA))
    with pytest.raises(FileExistsError):
        ContentStore(tmp_path / "store").write(b"other", NAME, touched)
    assert Path(store.path(NAME)).read_bytes() == DATA


def test_a_name_leads_from_the_folder_to_the_content(tmp_path: Path) -> None:
    """It is what a list of names to come has, so it must be the same place."""
    store = ContentStore(tmp_path / "store")
    assert f"{store.folder}/{store.name(NAME)}" == store.path(NAME)
