"""The short version of each campaign: a few points of the sweeps, judged as in the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from premortem.faults import syscalls

CAMPAIGNS = Path(__file__).parents[2] / "campaigns"


@pytest.mark.skipif(bool(syscalls.why_not()), reason=f"system calls: {syscalls.why_not()}")
def test_the_ingest_loses_and_doubles_nothing(tmp_path: Path) -> None:
    campaign = [sys.executable, str(CAMPAIGNS / "retail_ingest.py"), "run", "--budget", "5", "--folder", str(tmp_path)]
    ran = subprocess.run(campaign, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("nothing wrong under") == 2, ran.stdout
    assert {page.name for page in tmp_path.glob("*.html")} == {"messages.html", "system-calls.html"}
