"""What a fault may need: by name, tried for real, and loaded only when it is asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from premortem.errors import FaultError, MissingRequirementError
from premortem.experiment import capabilities
from premortem.faults import namespaces, needs
from premortem.faults.namespaces import Namespaces
from premortem.faults.needs import Need


@pytest.mark.parametrize("name", needs.NEEDS)
def test_every_need_is_tried_and_says_why_not(name: str) -> None:
    reason = needs.why_not(name)
    assert reason == capabilities.why_not(name)
    if not reason:
        needs.require(name)
        return
    assert len(reason) > 10
    with pytest.raises(MissingRequirementError) as caught:
        needs.require(name)
    assert (caught.value.name, caught.value.reason) == (name, reason)


def test_a_need_that_is_none_is_refused() -> None:
    with pytest.raises(FaultError, match="choose one of processes"):
        needs.why_not("magic")


def test_a_need_whose_module_is_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "NEEDS", {"magic": Need("magic works", "magic")})
    assert needs.why_not.__wrapped__("magic") == "No module named 'premortem.faults.magic'"


def test_the_names_alone_load_no_fault() -> None:
    code = "import sys; from premortem.faults.needs import NEEDS; print(*[m for m in sys.modules if 'premortem.' in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {"premortem.errors", "premortem.faults", "premortem.faults.needs"}


def test_every_need_names_a_function_that_is_there() -> None:
    root = Path(needs.__file__).parent
    for need in needs.NEEDS.values():
        place = root / need.module.replace(".", "/")
        path = place.with_suffix(".py")
        source = (path if path.exists() else place / "__init__.py").read_text(encoding="utf-8")
        names = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.name for alias in node.names}
        assert need.function in names, need


def test_namespaces_leave_no_descriptor_and_no_mount() -> None:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    before = set(Path("/dev/fd").iterdir())
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8")
    with Namespaces(network=True) as inside:
        assert inside.run(["cat", "/proc/net/dev"]).output.count(":") == 1
    assert Path("/proc/self/mounts").read_text(encoding="utf-8") == mounts
    assert len(set(Path("/dev/fd").iterdir()) - before) <= 1  # the look itself


def test_who_runs_in_a_namespace_may_not_change_it() -> None:
    if reason := namespaces.why_not():
        pytest.skip(reason)

    def remount(place: str) -> None:
        namespaces.mount("tmpfs", Path(place), "tmpfs")

    with Namespaces() as inside:
        if inside.run(["id", "-u"]).output == "0\n":
            pytest.skip("root may mount anywhere")
        with pytest.raises(PermissionError):
            inside.run(remount, "/tmp")


def test_trials_leave_no_descriptor() -> None:
    def opened() -> set[Path]:
        return set(Path("/dev/fd").iterdir())

    for name in needs.NEEDS:
        needs.why_not(name)
    before = opened()
    for name in needs.NEEDS:
        needs.why_not.__wrapped__(name)
    assert len(opened()) <= len(before)


def test_doctor_goes_through_all_of_it() -> None:
    findings = list(capabilities.tried())
    names = [finding.name for finding in findings]
    assert {f"fault: {name}" for name in needs.NEEDS} < set(names)
    assert len(names) == len(set(names))
    groups = [finding.group for finding in findings]
    assert list(dict.fromkeys(groups)) == ["here", "libraries", "isolation", "servers", "faults"]
    assert groups == sorted(groups, key=["here", "libraries", "isolation", "servers", "faults"].index)
    assert all(finding.detail for finding in findings)
