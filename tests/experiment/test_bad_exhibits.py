"""Every kind of bad exhibit in one folder: each has its verdict, nothing of it is left, the good ones are proven."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from premortem.model import Proof, Run, Verdict
from premortem.model.journal import read
from premortem.museum import EXHIBITS

if TYPE_CHECKING:
    from tests.experiment.conftest import Place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TIME_S = 5.0
PROVEN, INCONCLUSIVE, MISPREDICTED = Verdict.PROVEN, Verdict.INCONCLUSIVE, Verdict.MISPREDICTED
SPAWN = "import subprocess; subprocess.Popen(['sleep', '62'], start_new_session=True)"


def broken(deed: str) -> dict[str, str]:
    """The broken variant does its job, and something else once the file is gone."""
    lines = "".join(f"    {line}\n" for line in deed.splitlines())
    return {"broken": f"import os, signal, sys, time\ndef broken(path):\n    if path.exists(): return 'x'\n{lines}"}


def scenario(deed: str) -> dict[str, str]:
    """The scenario does something that no scenario should, before the strike."""
    lines = "".join(f"    {line}\n" for line in deed.splitlines())
    story = (
        "    path = lab.folder / 'input'\n    path.write_text('x')\n    read(path)\n"
        f"{lines}"
        "    with lab.files.removed(path):\n        lab.check('empty', read(path) == '')\n"
    )
    return {"scenario": f"import os, shutil, signal, sys, time\ndef scenario(read, lab):\n{story}"}


# What is wrong with it; its verdict; words of its reason.
BAD: dict[str, tuple[dict[str, str], Verdict, str]] = {
    "raises_on_import": ({"top": "1 / 0"}, INCONCLUSIVE, "raised when it was imported: ZeroDivisionError"),
    "exits_on_import": ({"top": "raise SystemExit(0)"}, INCONCLUSIVE, "raised when it was imported: SystemExit: 0"),
    "leaves_on_import": ({"top": "import os; os._exit(0)"}, INCONCLUSIVE, "did not get past its import: exit status 0"),
    "hangs_on_import": ({"top": "import time; time.sleep(60)"}, INCONCLUSIVE, "did not get past its import: ended for"),
    "misses_a_module": ({"top": "import no_such_module"}, INCONCLUSIVE, "ModuleNotFoundError"),
    "predicts_nonsense": ({"PREDICTION": "PREDICTION = 5"}, INCONCLUSIVE, "PREDICTION = 5: has to say how broken()"),
    "is_no_function": ({"fixed": "fixed = 5"}, INCONCLUSIVE, "fixed has to be a function"),
    "hangs_in_the_judge": (scenario("time.sleep(60)"), INCONCLUSIVE, "the judge did not come back within"),
    "exits_in_the_judge": (scenario("sys.exit()"), INCONCLUSIVE, "the judge raised SystemExit"),
    "kills_itself": (broken("os.kill(os.getpid(), 9)"), MISPREDICTED, "it died: killed by SIGKILL"),
    "kills_its_warden": (broken("os.kill(os.getppid(), 9); time.sleep(60)"), MISPREDICTED, "its warden was killed"),
    "exhausts_memory": (broken("held = [b'x']\nwhile True: held *= 9"), MISPREDICTED, "ran out of memory"),
    "forks_a_family": (broken("while True: os.fork() or time.sleep(60)"), MISPREDICTED, "ran out of processes"),
    "forks_in_passing": (scenario("os.fork() or os._exit(0)"), PROVEN, "broken raised"),
    "leaves_a_child": (scenario(SPAWN), INCONCLUSIVE, "left 1 process(es) behind, which were killed: "),
    "prints_megabytes": (scenario("for _ in range(3000): print('x' * 1000)"), PROVEN, "broken raised"),
    "removes_its_scratch": (scenario("shutil.rmtree(lab.folder)"), INCONCLUSIVE, "no such file to strike"),
    "removes_its_story": (scenario("shutil.rmtree(lab.folder.parent)"), INCONCLUSIVE, "its story cannot be read"),
    "writes_into_its_story": (
        scenario("with open('../story.jsonl', 'a') as it: it.write('Dear diary\\n')"), INCONCLUSIVE, "its story cannot",
    ),
    "writes_beside_its_story": (scenario("os.mkdir('../more'); open('../more/notes', 'w')"), PROVEN, "broken raised"),
    "writes_a_strange_stack": (
        scenario("with open('../stack.txt', 'wb') as file: file.write(b'\\xff' * 100)"), PROVEN, "broken raised",
    ),
    "changes_signal_handlers": (
        scenario("for n in (1, 2, 15, 17): signal.signal(n, signal.SIG_IGN)"), PROVEN, "broken raised",
    ),
    "closes_its_files": (scenario("os.closerange(0, 200)"), INCONCLUSIVE, "the judge died: exit status 1"),
    "closes_its_streams": (scenario("sys.stdout.close(); sys.stderr.close()"), PROVEN, "broken raised"),
    "locks_its_folder": (scenario("os.mkdir('locked'); os.chmod('locked', 0)"), PROVEN, "broken raised"),
    "changes_its_folder": (scenario("os.chdir('/')"), PROVEN, "broken raised"),
    "stops_itself": (broken("os.kill(os.getpid(), signal.SIGSTOP)"), MISPREDICTED, "did not come back within"),
}  # fmt: skip
BAD_AS_TEXT = {
    "lacks_a_part": ("def broken(): ...", "lacks PREDICTION"),
    "is_no_python": ("def broken(:", "cannot be read as Python"),
}
GOOD = ("a_good_one", "m_good_one", "z_good_one")
LEAVES = """

def scenario(read, lab):
    import os, pathlib, time
    server = lab.own_postgres()
    with open("{pids}", "a") as file:
        print(server.server.pid, file=file)
    path = lab.folder / "input"
    path.write_text("x")
    read(path)
    with lab.files.removed(path):
        {deed}
"""


@pytest.fixture(scope="module")
def run(exhibition: Place, module_mark: str) -> Run:
    assert module_mark
    for name, (changes, _, _) in BAD.items():
        exhibition.write(**{name: exhibition.sabotaged(exhibition.plain, **changes)})
    exhibition.write(**{name: source for name, (source, _) in BAD_AS_TEXT.items()})
    exhibition.write(**dict.fromkeys(GOOD, exhibition.plain))
    exhibition.write(good_with_a_server=(EXHIBITS / "ingest" / "missing_file.py").read_text())
    return exhibition.carry_out(time_s=TIME_S, memory_mib=256)


def proof_of(run: Run, name: str) -> Proof:
    (proof,) = [proof for proof in run.proofs if Path(proof.mode.path).stem == name]
    return proof


@pytest.mark.parametrize("name", BAD)
def test_a_bad_exhibit_has_its_verdict_and_a_reason_in_words(run: Run, name: str) -> None:
    _, verdict, words = BAD[name]
    proof = proof_of(run, name)
    assert (proof.verdict, words in proof.reason) == (verdict, True), proof.reason


@pytest.mark.parametrize("name", BAD_AS_TEXT)
def test_what_is_no_exhibit_is_never_played(run: Run, name: str) -> None:
    proof = proof_of(run, name)
    assert proof.verdict is INCONCLUSIVE
    assert BAD_AS_TEXT[name][1] in proof.reason
    assert proof.elapsed_s == 0


@pytest.mark.parametrize("name", [*GOOD, "good_with_a_server"])
def test_the_good_ones_beside_them_are_proven(run: Run, name: str) -> None:
    assert proof_of(run, name).verdict is PROVEN


def test_the_run_is_whole_and_its_record_tells_the_same(run: Run, exhibition: Place) -> None:
    assert (run.ended, run.exit_code) == ("complete", 1)
    assert len(run.proofs) == len(BAD) + len(BAD_AS_TEXT) + len(GOOD) + 1
    assert read(exhibition.folder / "records" / run.id / "journal.jsonl") == run


def test_nothing_of_them_is_left(
    run: Run, exhibition: Place, module_mark: str, find: Callable[[str], dict[int, str]]
) -> None:
    assert run.proofs
    assert exhibition.left() == []
    assert find(module_mark) == {}
    assert find(str(exhibition.temporary)) == {}
    assert sorted(path.name for path in exhibition.folder.iterdir()) == ["gallery", "records", "t"]


@pytest.mark.parametrize(
    ("deed", "verdict"),
    [("time.sleep(60)", INCONCLUSIVE), ("os.kill(os.getpid(), 9)", INCONCLUSIVE), ("read(path)", PROVEN)],
    ids=["hangs", "kills itself", "ends well"],
)
def test_a_server_of_its_own_goes_with_its_exhibit(
    place: Place, deed: str, verdict: Verdict, find: Callable[[str], dict[int, str]], eventually: Callable[..., None]
) -> None:
    source = place.plain + 'NEEDS = ("own_postgres",)' + LEAVES.format(deed=deed, pids=place.folder / "pids")
    place.write(own=source.replace("PREDICTION = FileNotFoundError", "PREDICTION = OSError"))
    run = place.carry_out(time_s=4.0 if "sleep" in deed else 15.0)  # a server starts slowly on a busy machine
    assert run.proofs[0].verdict is verdict, run.proofs[0].reason
    assert place.left() == []
    eventually(lambda: find(str(place.temporary)), {})
    servers = {int(pid) for pid in (place.folder / "pids").read_text().split()}
    assert servers
    eventually(lambda: servers & makers_of_shared_memory(), set())


def makers_of_shared_memory() -> set[int]:
    """Who made the System V segments that are there: every PostgreSQL has one."""
    return {int(line.split()[4]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_the_working_folder_and_the_environment_of_the_owner_stay_as_they_were(run: Run, exhibition: Place) -> None:
    assert run.proofs
    assert Path.cwd() != exhibition.temporary
    assert "SHOP_URL" not in os.environ
