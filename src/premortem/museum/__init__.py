"""The museum: runnable failures, one per file, in galleries that are folders."""

from pathlib import Path

EXHIBITS = Path(__file__).parent / "exhibits"
SKELETON = Path(__file__).parent / "skeleton.txt"
