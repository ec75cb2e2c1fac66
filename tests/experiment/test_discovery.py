"""Reading exhibits without running them: every flaw is named in words, and nothing makes it fall over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.experiment import discovery
from premortem.model import FailureMode

WHOLE = '''"""A title.

Cause:       c, over
             two lines.
Effect:      e
Fix:         f: with a colon
Prevention:  p
"""
NEEDS = ("postgres", "valkey")
PREDICTION = KeyError


def broken(x):
    return x


async def fixed(x): return 1


def scenario(subject, lab): ...
'''


def read(folder: Path, source: str | bytes, name: str = "my_failure.py") -> FailureMode | None:
    path = folder / name
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return discovery.read(path)


def flaw(folder: Path, source: str | bytes) -> str:
    mode = read(folder, source)
    assert mode
    return mode.flaw


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    (tmp_path / "gallery").mkdir()
    return tmp_path / "gallery"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


def test_a_whole_exhibit_is_read_in_full(gallery: Path) -> None:
    assert read(gallery, WHOLE) == FailureMode(
        gallery="gallery",
        slug="my-failure",
        path=str(gallery / "my_failure.py"),
        title="A title.",
        cause="c, over two lines.",
        effect="e",
        fix="f: with a colon",
        prevention="p",
        needs=("postgres", "valkey"),
        broken="def broken(x):\n    return x",
        fixed="async def fixed(x): return 1",
        digest=hashlib.sha256(WHOLE.encode()).hexdigest()[:16],
    )


def test_two_versions_of_an_exhibit_are_two_failures(gallery: Path) -> None:
    assert read(gallery, WHOLE) != read(gallery, f"{WHOLE}\n# another scenario\n")


@pytest.mark.parametrize("part", ["PREDICTION", "broken", "fixed", "scenario"])
def test_a_part_that_is_missing_is_named(gallery: Path, part: str) -> None:
    said = flaw(gallery, WHOLE.replace(f"{part}(", "other(").replace(f"{part} =", "OTHER ="))
    assert said.startswith(f"lacks {part}")


def test_everything_that_is_missing_is_named_at_once(gallery: Path) -> None:
    said = flaw(gallery, "def broken(): ...\nNEEDS = 5")
    for words in (
        "PREDICTION",
        "fixed(...)",
        "scenario(subject, lab)",
        "its first line is the title",
        "Cause",
        "NEEDS",
    ):
        assert words in said
    assert "broken(...)" not in said


@pytest.mark.parametrize("heading", discovery.HEADINGS)
def test_a_heading_that_is_missing_or_empty_is_named(gallery: Path, heading: str) -> None:
    assert f"lacks {heading}: ..." in flaw(gallery, WHOLE.replace(f"{heading}:", f"{heading} -"))
    assert "lacks Effect: ..." in flaw(gallery, WHOLE.replace("Effect:      e", "Effect:"))


def test_headings_go_in_one_order(gallery: Path) -> None:
    swapped = WHOLE.replace("Fix:         f: with a colon\nPrevention:  p", "Prevention:  p\nFix:  f")
    assert flaw(gallery, swapped) == "its docstring has to go in this order: Cause, Effect, Fix, Prevention"


@pytest.mark.parametrize(
    "needs",
    [
        "'postgres'",
        "['postgres']",
        "('mysql',)",
        "5",
        "None",
        "{[]: 1}",
        "names()",
        "([],)",
        "('postgres'",
        "*x",
        "...",
    ],
)
def test_nonsense_in_needs_is_one_clear_flaw(gallery: Path, needs: str) -> None:
    said = flaw(gallery, WHOLE.replace('("postgres", "valkey")', needs))
    assert "write NEEDS = ('postgres',)" in said or "cannot be read as Python" in said


def test_needs_may_be_annotated_or_left_out(gallery: Path) -> None:
    annotated = read(gallery, WHOLE.replace("NEEDS =", "NEEDS: tuple[str, ...] ="))
    assert annotated
    assert (annotated.needs, annotated.flaw) == (("postgres", "valkey"), "")
    without = read(gallery, WHOLE.replace('NEEDS = ("postgres", "valkey")\n', ""))
    assert without
    assert (without.needs, without.flaw) == ((), "")


@pytest.mark.parametrize("arguments", ["", "lab", "subject, lab, more"])
def test_a_scenario_takes_the_subject_and_the_lab(gallery: Path, arguments: str) -> None:
    said = flaw(gallery, WHOLE.replace("(subject, lab)", f"({arguments})"))
    assert "has to take two: scenario(subject, lab)" in said


def test_parts_may_be_imported_or_assigned(gallery: Path) -> None:
    source = WHOLE.replace("def broken(x):\n    return x\n", "from shop import load as broken\n")
    assert flaw(gallery, source.replace("async def fixed(x): return 1", "fixed = broken")) == ""


@pytest.mark.parametrize(
    "junk",
    [
        b"def broken(:",
        b"\xff\xfe\x00junk",
        b"def broken(): ...\0",
        b"-" * 200_000 + b"1",
        b"(" * 5000,
        b"# \xe9\nbroken = 1",
    ],
    ids=["syntax error", "binary", "null byte", "too deep", "too many brackets", "latin-1"],
)
def test_what_is_no_python_is_one_clear_flaw(gallery: Path, junk: bytes) -> None:
    assert flaw(gallery, junk).startswith("cannot be read as Python: ")


@pytest.mark.parametrize("source", ["", "x = 1", '"""Cause: x"""', "class Broken: ...", "if True:\n    broken = 1"])
def test_a_module_that_holds_no_part_is_no_exhibit(gallery: Path, source: str) -> None:
    assert read(gallery, source) is None
    with pytest.raises(ConfigurationError, match="holds no part of an exhibit"):
        discovery.find_at(gallery / "my_failure.py")
    with pytest.raises(ConfigurationError, match="premortem new"):
        discovery.find_at(gallery)


def test_what_is_not_there_is_said(gallery: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        discovery.find_at(gallery / "nothing")


def test_exhibits_are_found_in_order_and_private_files_are_passed_over(gallery: Path) -> None:
    for name in (
        "b/two.py",
        "a/one.py",
        "a/_private.py",
        "_a/x.py",
        ".venv/x.py",
        "a/conftest.py",
        "setup.py",
        "a/x.txt",
    ):
        path = gallery / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(WHOLE)
    assert [mode.name for mode in discovery.find_in(gallery)] == ["a/one", "b/two"]
    assert [mode.name for mode in discovery.find_at(gallery / "a" / "_private.py")] == ["a/-private"]


def test_nothing_is_imported(gallery: Path) -> None:
    assert flaw(gallery, WHOLE + "\nraise SystemExit('imported')\n") == ""


@given(junk=st.binary(max_size=300))
def test_any_bytes_are_read_or_named(shared: Path, junk: bytes) -> None:
    mode = read(shared, junk)
    assert mode is None or mode.flaw


@given(
    docstring=st.text(max_size=60),
    needs=st.text(max_size=10),
    parts=st.sets(
        st.sampled_from(["PREDICTION = 1", "def broken(): ...", "fixed = 2", "def scenario(a, b): ..."]), min_size=1
    ),
)
def test_any_docstring_and_any_needs_are_read_or_named(
    shared: Path, docstring: str, needs: str, parts: set[str]
) -> None:
    mode = read(shared, "\n".join([repr(docstring), f"NEEDS = {needs}", *sorted(parts)]).encode("utf-8", "replace"))
    assert mode is None or mode.flaw
