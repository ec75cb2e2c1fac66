"""The file of dead letters by itself: what is thrown away when it is shortened, and what is not."""

from __future__ import annotations

from pathlib import Path

from premortem.durable import DeadLetters, FileLetters


def numbers(store: FileLetters) -> dict[str, int]:
    return {row.key: row.number for row in store.page("rows", state="dead", why=None, after=0, limit=10)}


def test_a_number_is_not_given_twice_though_the_file_was_shortened(tmp_path: Path) -> None:
    """A replay that pages by numbers would pass over a letter that has the number of one before it."""
    path = tmp_path / "rows.letters"
    store = FileLetters(path)
    letters = DeadLetters(store, name="rows")
    for key in ("a", "b"):
        letters.add({"row": key}, "bad", key=key)
    assert numbers(store) == {"a": 1, "b": 2}
    (newest,) = store.page("rows", state="dead", why=None, after=1, limit=1)
    assert store.remove("rows", [newest]) == 1
    sizes = [0, path.stat().st_size]
    while sizes[-1] >= sizes[-2]:  # each death of the same letter is a record, until the file is shortened
        letters.add({"row": "a"}, "bad", key="a")
        sizes.append(path.stat().st_size)
        assert len(sizes) < 5000
    store.close()
    again = FileLetters(path)
    DeadLetters(again, name="rows").add({"row": "c"}, "bad", key="c")
    assert numbers(again) == {"a": 1, "c": 3}
    again.close()
