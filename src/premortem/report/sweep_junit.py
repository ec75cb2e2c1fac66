"""A sweep as JUnit XML: a case for each class of outcomes, and an error for what it lacks: never green by chance."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from premortem.model.sweep import Outcome, OutcomeClass, Sweep
from premortem.report.legible import legible, one_line
from premortem.report.sweep import headline, what_happened


def render(sweep: Sweep) -> str:
    """The document; times in seconds."""
    root = ET.Element("testsuites", name="premortem sweep")
    suite = _new(root, "testsuite", name=f"premortem sweep {sweep.id}", timestamp=sweep.started)
    properties = _new(suite, "properties")
    for name, value in (("seed", str(sweep.seed)), *((fact.name, fact.value) for fact in sweep.facts)):
        _new(properties, "property", name=name, value=value)
    for one in sweep.classes:
        _case(suite, sweep, one)
    if sweep.inconclusive or not sweep.trials:
        lacking = _new(suite, "testcase", classname="premortem.sweep", name="the sweep itself", time="0.000")
        _new(lacking, "error", message=sweep.inconclusive or headline(sweep), type="INCONCLUSIVE")
    for element in (suite, root):
        element.set("tests", str(len(suite.findall("testcase"))))
        element.set("failures", str(len(suite.findall("testcase/failure"))))
        element.set("errors", str(len(suite.findall("testcase/error"))))
        element.set("skipped", str(len(suite.findall("testcase/skipped"))))
        element.set("time", f"{sweep.elapsed_s:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, sweep: Sweep, one: OutcomeClass) -> None:

    name = f"{one.name} ({one.outcome.value}, {one.count} x)"
    case = _new(suite, "testcase", classname="premortem.sweep", name=name, time=f"{one.first.elapsed_s:.3f}")
    if element := _element(sweep, one):
        found = _new(case, element, message=what_happened(one), type=one.outcome.value)
        found.text = legible(_details(sweep, one))
    _new(case, "system-out").text = legible(_details(sweep, one))


def _element(sweep: Sweep, one: OutcomeClass) -> str:
    """The element that says what came of it; empty for a pass."""
    if one.outcome in sweep.wrong:
        return "failure"
    return {Outcome.UNJUDGED: "error", Outcome.UNSTRUCK: "skipped"}.get(one.outcome, "")


def _details(sweep: Sweep, one: OutcomeClass) -> str:
    told = [
        f"first: {one.first.recipes}",
        f"command: {one.first.ended}",
        f"reproduce: {sweep.reproduction(one.first)}",
    ]
    told += [f"evidence: {one.first.evidence}"] if one.first.evidence else []
    told += [f"output: {one.first.output}"] if one.first.output else []
    return "\n".join(told)


def _new(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {name: one_line(value, 2000) for name, value in attributes.items()})
