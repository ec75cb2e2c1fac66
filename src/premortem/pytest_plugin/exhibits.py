"""Exhibits as tests: every failure in a configured folder is an item that passes when it is proven.

One run serves all exhibits of a pytest process (a worker of xdist has its own): its servers start with the first
exhibit that needs them, and are gone with the session.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from premortem.errors import PremortemError

if TYPE_CHECKING:
    from premortem.experiment.runner import Runner
    from premortem.model import FailureMode, Proof

INI = "premortem_exhibits"
RUN = pytest.StashKey["SharedRun"]()


class NotProvenError(PremortemError):
    """An exhibit came to another verdict than PROVEN."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(proof)
        self.proof = proof


@dataclass
class SharedRun:
    """What the exhibits of one process are proven with; assembled when the first one runs."""

    seed: int
    _exit: ExitStack = field(default_factory=ExitStack)
    _runner: Runner | None = None

    def prove(self, mode: FailureMode) -> Proof:
        """Prove one failure."""
        if self._runner is None:
            from premortem.experiment.session import Plan, assembled  # noqa: PLC0415 - brings servers and psycopg

            plan = Plan(Path(), jobs=2, seed=self.seed)
            _, self._runner = self._exit.enter_context(assembled(plan, _Nobody()))
        (proof,) = self._runner.run([mode])
        return proof

    def close(self) -> None:
        """Stop what was started."""
        self._exit.close()


class ExhibitFile(pytest.File):
    """A file that may hold an exhibit."""

    def collect(self) -> Iterable[pytest.Item]:
        """Its one item; none where the file holds no part of an exhibit."""
        from premortem.experiment import discovery  # noqa: PLC0415 - read only where a folder is configured

        mode = discovery.read(self.path)
        if mode is not None:
            yield ExhibitItem.from_parent(self, name=mode.slug, mode=mode)


class ExhibitItem(pytest.Item):
    """One failure. It passes when it is PROVEN, is skipped when SKIPPED, and fails at any other verdict."""

    def __init__(self, *, mode: FailureMode, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type] # pytest's own arguments, as they came
        self.mode = mode

    def runtest(self) -> None:
        """Prove it."""
        proof = self.config.stash[RUN].prove(self.mode)
        if proof.verdict.name == "SKIPPED":
            pytest.skip(proof.reason)
        if proof.verdict.name != "PROVEN":
            raise NotProvenError(proof)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The verdict, what was predicted, what both sides did, and the command that makes it happen again."""
        if not isinstance(excinfo.value, NotProvenError):
            return str(super().repr_failure(excinfo, style))  # type: ignore[arg-type] # pytest's own, as it came
        proof = excinfo.value.proof
        lines = [f"{proof.verdict}: {proof.reason}", f"predicted: broken {proof.prediction or 'nothing'}"]
        for side in (proof.broken, proof.fixed):
            lines.append(f"{side.variant}: {side.failure or side.flaw or 'survived'}")
            lines += [f"  struck: {moment.detail}" for moment in side.strikes]
            lines += [f"  {line}" for line in side.output.splitlines()[-20:]]
        return "\n".join([*lines, f"reproduce: {proof.command}"])

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands, and its title."""
        return self.path, None, f"{self.mode.name}: {self.mode.title}"


class _Nobody:
    def started(self, name: str) -> None:
        """Nothing: pytest reports."""

    def proven(self, proof: Proof) -> None:
        """Nothing: as above."""


def collected(path: Path, parent: pytest.Collector) -> pytest.File | None:
    """The file as a collector, where it lies below a folder that `premortem_exhibits` names."""
    if path.suffix != ".py" or path.name.startswith((".", "_")) or path.name in ("conftest.py", "setup.py"):
        return None
    folders = [parent.config.rootpath / name for name in parent.config.getini(INI)]
    if any(path.is_relative_to(folder) for folder in folders):
        return ExhibitFile.from_parent(parent, path=path)
    return None
