"""The command line: what it says, and what it tells the shell."""

import json
from pathlib import Path

import pytest

from premortem.cli.app import COMMANDS, run

COMPLETE = '''"""A cache that is gone is rebuilt.

Cause: a clean-up job. Effect: an error.
Effect: FileNotFoundError.
Fix: build it anew.
Prevention: delete it in a test.
"""
PREDICTION = FileNotFoundError
def broken(cache):
    return cache.read_text()
def fixed(cache):
    return cache.read_text() if cache.exists() else "anew"
def scenario(look_up, lab):
    cache = lab.folder / "cache"
    cache.write_text("x")
    look_up(cache)
    with lab.files.removed(cache):
        look_up(cache)
'''


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "lost_cache.py").write_text(COMPLETE)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage: premortem" in said
    assert f"premortem {command}" in said or command == "retail"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {command} " in said for command in COMMANDS)


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prov"]) == 2
    assert "prov" in capsys.readouterr().err


def test_an_unknown_target_says_value_rule_and_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", "missing-flie"]) == 2
    said = capsys.readouterr().err
    assert "missing-flie: is no slug, no gallery and no path; did you mean missing-file" in said


def test_a_folder_without_exhibits_is_an_error_and_never_a_pass(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "empty").mkdir()
    assert run(["prove", "empty"]) == 2
    assert "holds no exhibit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ["--jobs", "0"],
        ["--jobs", "100000"],
        ["--seed", "-1"],
        ["--time-limit", "0"],
        ["--time-limit", "nan"],
        ["--memory-limit", "1"],
    ],
)
def test_a_nonsensical_option_is_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", "failures", *option]) == 2
    assert "has to be from" in capsys.readouterr().err


def test_list_names_the_exhibits_of_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "failures"]) == 0
    assert "lost-cache  A cache that is gone is rebuilt." in capsys.readouterr().out


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--json"]) == 0
    assert {record["name"] for record in json.loads(capsys.readouterr().out)} >= {"ingest/missing-file"}


def test_prove_writes_every_report_and_report_reads_the_record(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["prove", "failures", "--junit", "j.xml", "--markdown", "m.md", "--html", "h.html", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["exit_code"] == 0
    for name in ("j.xml", "m.md", "h.html"):
        assert "lost-cache" in (project / name).read_text()
    assert run(["report", "last", "--format", "text"]) == 0
    assert "PROVEN" in capsys.readouterr().out
    assert run(["report", "--list"]) == 0
    assert len(capsys.readouterr().out.split()) == 1


def test_a_seed_replays(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prove", "failures", "--seed", "42", "--json"]) == 0
    assert "--seed 42" in capsys.readouterr().out


def test_report_without_a_run_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report"]) == 2
    assert "`premortem prove` makes one" in capsys.readouterr().err


def test_explain_proves_what_was_not_proven_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "failures/lost_cache.py"]) == 0
    said = capsys.readouterr().out
    for part in ("Cause", "Prevention", "expected", "actual", "correct", "FileNotFoundError", "PROVEN"):
        assert part in said


def test_show_is_the_diff(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "failures/lost_cache.py"]) == 0
    said = capsys.readouterr().out
    assert "-    return cache.read_text()" in said
    assert "+    return cache.read_text() if cache.exists()" in said


def test_new_writes_a_skeleton_that_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "mine/double-charge"]) == 0
    assert (project / "mine" / "double_charge.py").exists()
    assert run(["prove", "mine"]) == 3
    assert "no fault struck" in capsys.readouterr().out
    assert run(["new", "mine/double-charge"]) == 2
    assert "is not written over" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Loud", "mine/", "mine/Ünder", "mine/1st", "slug", "mine/a b"])
def test_new_refuses_a_name_that_is_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", name]) == 2
    assert "has to be GALLERY/SLUG" in capsys.readouterr().err


def test_doctor_tries_everything(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert code == (0 if all(finding["works"] or finding["instead"] for finding in findings) else 3)
    assert {"python", "server: postgres", "server: valkey", "fault: processes"} <= {one["name"] for one in findings}
