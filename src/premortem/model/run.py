"""The record of one run: everything a report is rendered from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from premortem.model.proof import Proof
from premortem.model.verdict import Verdict, worst


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing worth knowing about where a run took place: "python" is "3.13.0"."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Run:
    """Proofs made together. `started` is ISO 8601 in UTC; `ended` says how the run ended, empty if it was cut off."""

    id: str
    started: str
    seed: int
    jobs: int
    facts: tuple[Fact, ...] = ()
    proofs: tuple[Proof, ...] = ()
    elapsed_s: float = 0.0
    ended: str = ""

    @property
    def verdict(self) -> Verdict:
        """The worst of its verdicts; a run that was cut off cannot be better than INCONCLUSIVE."""
        verdicts = [proof.verdict for proof in self.proofs]
        if self.ended != "complete":
            verdicts.append(Verdict.INCONCLUSIVE)
        return worst(verdicts)

    @property
    def counts(self) -> tuple[tuple[Verdict, int], ...]:
        """How many proofs came to each verdict, best first, without the zeros."""
        counted = Counter(proof.verdict for proof in self.proofs)
        return tuple((verdict, counted[verdict]) for verdict in Verdict if counted[verdict])

    @property
    def exit_code(self) -> int:
        """What a shell is told: 0 all proven, 1 a proof failed, 3 inconclusive or skipped only."""
        if self.verdict is Verdict.PROVEN:
            return 0
        return 3 if self.verdict in (Verdict.SKIPPED, Verdict.INCONCLUSIVE) else 1
