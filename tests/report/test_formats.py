from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.model import Run
from premortem.report import FORMATS, render, renderer

HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1bc",
    "a\x00b\x08c\x7fd\x9be",
    "long " * 20_000,
    "x" * 100_000,
    "\ud800 lone \udfff",
    "\u202eright to left\u2066 مرحبا שלום \u2069",
    "]]> & ]] --> <!-- ``` | \\ ' \" </pre></details>",
    "line\r\nline\rline\u2028line\u0085line",
    "[bold]rich[/bold] [/] {{ jinja }} {% raw %}",
    "\ufffe\uffff\ufeff",
    "",
)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_shows_every_exhibit_of_a_run(form: str, run: Run) -> None:
    text = render(run, form)
    assert all(proof.mode.slug in text for proof in run.proofs)
    assert all(verdict.value in text for verdict, _ in run.counts)


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_without_proofs_is_no_success(form: str, empty: Run) -> None:
    assert any(
        word in render(empty, form).replace("&#160;", " ")
        for word in ("No failure was put to the proof", "INCONCLUSIVE")
    )


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "json"])
def test_an_interrupted_run_says_what_cut_it_off(form: str, interrupted: Run) -> None:
    text = render(interrupted, form).replace("\u00a0", " ").replace("&#160;", " ")
    assert "did not complete" in text
    assert "SIGINT" in text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_can_be_encoded_and_steers_nothing(form: str, text: str, saying: Callable[[str], Run]) -> None:
    shown = render(saying(text), form)
    shown.encode("utf-8")
    assert not set(shown) & set("\x00\x08\x1b\x7f\x9b\u202e\u2066\ufffe\r")


def test_an_unknown_format_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"pdf.*html"):
        renderer("pdf")


def test_a_missing_library_is_answered_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "premortem.report.html", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingRequirementError, match=r"jinja2 is not available.*pip install 'premortem\[lab\]'"):
        renderer("html")


def test_importing_the_package_imports_neither_rich_nor_jinja() -> None:
    code = "import sys, premortem.report; print([name for name in ('rich', 'jinja2', 'xml') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
