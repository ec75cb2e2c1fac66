"""JUnit XML, the form that continuous integration reads: a suite for each gallery, a case for each exhibit.

Follows the dialect that Jenkins, GitLab and GitHub's readers share (testsuites, testsuite, testcase, failure, error,
skipped, system-out). What a run lacks is an error too: an empty or interrupted run never shows as all green.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from premortem.model import Observation, Proof, Run, Verdict
from premortem.report.legible import legible, one_line
from premortem.report.wording import cut_short, outcome, prediction, to_blame

_ELEMENTS = {
    Verdict.SKIPPED: "skipped",
    Verdict.INCONCLUSIVE: "error",
    Verdict.NOT_REPRODUCED: "failure",
    Verdict.MISPREDICTED: "failure",
    Verdict.GUARD_FAILED: "failure",
}


def render(run: Run) -> str:
    """The document; times in seconds."""
    root = ET.Element("testsuites", name="premortem")
    by_gallery = sorted(run.proofs, key=lambda proof: proof.mode.gallery)
    for gallery, proofs in groupby(by_gallery, key=lambda proof: proof.mode.gallery):
        _suite(root, run, gallery, list(proofs))
    if lack := cut_short(run) or ("" if run.proofs else "No failure was put to the proof."):
        _lacking(root, run, lack)
    _total(root, list(root))
    root.set("time", f"{run.elapsed_s:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, run: Run, gallery: str, proofs: Sequence[Proof]) -> None:
    suite = _new(root, "testsuite", name=gallery, timestamp=run.started)
    properties = _new(suite, "properties")
    facts = [("run", run.id), ("seed", str(run.seed)), *((fact.name, fact.value) for fact in run.facts)]
    for name, value in facts:
        _new(properties, "property", name=name, value=value)
    for proof in proofs:
        _case(suite, proof)
    kinds = [_ELEMENTS.get(proof.verdict, "") for proof in proofs]
    suite.set("tests", str(len(proofs)))
    suite.set("failures", str(kinds.count("failure")))
    suite.set("errors", str(kinds.count("error")))
    suite.set("skipped", str(kinds.count("skipped")))
    suite.set("time", f"{sum(proof.elapsed_s for proof in proofs):.3f}")


def _case(suite: ET.Element, proof: Proof) -> None:
    mode = proof.mode
    time = f"{proof.elapsed_s:.3f}"
    case = _new(suite, "testcase", classname=f"premortem.{mode.gallery}", name=mode.slug, file=mode.path, time=time)
    if element := _ELEMENTS.get(proof.verdict):
        found = _new(case, element, message=proof.reason)
        if element != "skipped":
            found.set("type", proof.verdict.value)
            found.text = legible(_details(proof))
    _new(case, "system-out").text = legible(_story(proof))


def _details(proof: Proof) -> str:
    told = [f"predicted: {prediction(proof)}"]
    told += [f"{side.variant}: {outcome(side)}" for side in (proof.broken, proof.fixed)]
    told += [f"reproduce: {proof.command}"]
    seen = to_blame(proof)
    if seen is not None and seen.output:
        told += [f"output of {seen.variant}:", seen.output]
    return "\n".join(told)


def _story(proof: Proof) -> str:
    return "\n".join(
        [proof.mode.title, f"{proof.verdict}: {proof.reason}", *map(_timeline, (proof.broken, proof.fixed))]
    )


def _timeline(seen: Observation) -> str:
    moments = [f"  {moment.at_s:9.4f} s  {moment.name}  {moment.detail}".rstrip() for moment in seen.timeline]
    return "\n".join([f"{seen.variant}:", *moments])


def _lacking(root: ET.Element, run: Run, lack: str) -> None:
    suite = _new(root, "testsuite", name="premortem", timestamp=run.started)
    for name, value in (("tests", "1"), ("failures", "0"), ("errors", "1"), ("skipped", "0"), ("time", "0.000")):
        suite.set(name, value)
    case = _new(suite, "testcase", classname="premortem", name="the run itself", time="0.000")
    _new(case, "error", message=lack, type=Verdict.INCONCLUSIVE.value)


def _total(root: ET.Element, suites: Sequence[ET.Element]) -> None:
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))


def _new(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {name: one_line(value, 2000) for name, value in attributes.items()})
