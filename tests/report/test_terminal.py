from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from premortem.model import Proof, Run, Verdict
from premortem.ports import ManualClock
from premortem.report.progress import live
from premortem.report.terminal import coloured_diff, console, render, show
from premortem.report.wording import SYMBOLS


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize("width", [30, 40, 60, 71, 72, 80, 100, 110, 140, 220])
def test_no_width_loses_a_verdict_or_overflows(width: int, run: Run) -> None:
    text = render(run, width)
    lines = text.splitlines()
    for proof in run.proofs:
        badge = f"{SYMBOLS[proof.verdict]} {proof.verdict.value}"
        assert any(line.startswith(badge) and proof.mode.slug[:8] in line for line in lines) or width < 60
        assert badge in text
    if width >= 72:
        assert max(map(len, lines)) <= width


def test_every_verdict_but_proven_has_a_block_with_a_command(run: Run) -> None:
    text = render(run, 120)
    assert "predicted that broken raises json.decoder.JSONDecodeError, and it did not come back within 2 s" in text
    assert "where      t.py:61 in scenario" in text
    assert "premortem prove src/premortem/museum/exhibits/reliability/charged-twice.py --seed 20260101" in text
    assert "charging 4711" in text
    assert "- SKIPPED  2: postgres is not available" in text
    assert "exit code 1: a proof failed" in text
    assert "seed 20260101" in text


def test_what_is_proven_is_one_line_each(all_proven: Run) -> None:
    text = render(all_proven)
    assert "Traceback" not in text
    assert "reproduce" not in text
    assert "2 of 2 failures proven" in text
    assert "exit code 0" in text


def test_colours_on_a_terminal_alone_and_never_with_no_color(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(stream: io.StringIO) -> str:
        show(run, console(stream))
        return stream.getvalue()

    assert "\x1b[32m" in shown(Terminal())
    assert "\x1b" not in shown(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in shown(Terminal())


def test_a_stream_without_unicode_gets_a_question_mark_and_no_error(run: Run) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    show(run, console(stream))
    assert b"? PROVEN" in raw.getvalue()


def test_a_diff_keeps_its_text_under_the_colours() -> None:
    text = coloured_diff("--- broken\n+++ fixed\n@@ -1 +1 @@\n-a\n+[b]\n c\n")
    assert text.plain == "--- broken\n+++ fixed\n@@ -1 +1 @@\n-a\n+[b]\n c\n"
    assert {str(span.style) for span in text.spans} == {"bold", "cyan", "red", "green"}


def test_a_log_gets_one_plain_line_for_each_proof(proofs: Callable[[Verdict], Proof]) -> None:
    stream = io.StringIO()
    with live(console(stream), 10) as progress:
        progress.started("reliability/torn-checkpoint")
        progress.proven(proofs(Verdict.PROVEN))
        progress.proven(proofs(Verdict.GUARD_FAILED))
    first, second = stream.getvalue().splitlines()
    assert first == "[ 1/10] ✓ PROVEN         reliability/torn-checkpoint (0.67 s)"
    assert second.startswith("[ 2/10] ✗ GUARD_FAILED   reliability/torn-checkpoint (0.67 s): fixed violated")


def test_a_terminal_shows_what_runs_and_what_is_done_and_leaves_nothing(proofs: Callable[[Verdict], Proof]) -> None:
    stream, clock = Terminal(), ManualClock()
    screen = Console(file=stream, force_terminal=True, width=80, color_system=None)
    with live(screen, 12, clock) as progress:
        for number in range(9):
            progress.started(f"ingest/number-{number}")
        clock.advance(4.5)
        progress.proven(proofs(Verdict.MISPREDICTED))
        drawn = _drawn(progress)
    for said in ("1 of 12", "4.50 s", "≠ MISPREDICTED", "ingest/number-0", "and 3 more"):
        assert said in drawn
    assert stream.getvalue().endswith("\x1b[2K") or "\x1b[1A" in stream.getvalue()


def test_a_live_region_of_nothing_is_drawn_too() -> None:
    with live(Console(file=Terminal(), force_terminal=True, width=80), 0, ManualClock()) as progress:
        assert "0 of 0" in _drawn(progress)


def _drawn(progress: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(progress.draw())  # type: ignore[attr-defined]
    return stream.getvalue()
