"""Whom a server becomes when we are root, and what that account can reach.

Laws: PostgreSQL refuses to run as root, so a server drops to `postgres` or `nobody`. A folder that we did not
make keeps its mode; where the account cannot come through, we say so or go elsewhere (pgserver's answer,
go+rx on every parent, opened the home of the superuser). Reach is found out by trying, not by reading modes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError, MissingRequirementError

ACCOUNTS = ("postgres", "nobody")
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


def require_posix() -> None:
    """Raise `MissingRequirementError` on Windows."""
    if sys.platform == "win32":
        raise MissingRequirementError(
            "an embedded server", "it does not run on Windows", "use Linux, macOS or WSL, or name servers by URL"
        )


def unprivileged() -> Account | None:
    """The account to drop to: None unless we are root."""
    require_posix()
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - not on Windows

    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise MissingRequirementError(
        "an unprivileged account",
        f"a server must not run as root, and none of {', '.join(ACCOUNTS)} exists",
        "run as another user, or add one of them",
    )


def reaches(account: Account | None, path: Path) -> bool:
    """Whether the account may enter (a folder) or execute (a file) `path`."""
    if account is None:
        return os.access(path, os.X_OK)
    tried = subprocess.run(
        ["/bin/sh", "-c", '[ -x "$1" ]', "sh", str(path)],
        user=account.uid, group=account.gid, extra_groups=[], cwd="/", check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return tried.returncode == 0


def make_folder(folder: Path, account: Account | None, *, kept: bool = False) -> Path:
    """Make the folder of a server: ours alone, but the account may come through; its parents stay as they are.

    One that is `kept` may exist already. Raises `ConfigurationError` when the account cannot reach it.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - a link stays a link
    if kept and folder.is_dir():
        if not reaches(account, folder):
            raise _out_of_reach(folder, account)
        return folder
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: a server's folder must be a new one in a folder of yours ({error.strerror}); name another"
        ) from None
    return _admit(folder, account)


def make_temporary_folder(account: Account | None) -> Path:
    """A new folder that the account can reach, in the first of TMPDIR, /tmp and /var/tmp where that is so."""
    refused: ConfigurationError | None = None
    for parent in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108 - mkdtemp is safe there
        if Path(parent).is_dir():
            try:
                return _admit(Path(tempfile.mkdtemp(prefix="premortem-", dir=parent)), account)
            except ConfigurationError as error:
                refused = error
    raise refused or ConfigurationError("TMPDIR: no folder for temporary files exists; set it to one")


def _admit(folder: Path, account: Account | None) -> Path:
    if account is None:
        return folder
    os.chown(folder, -1, account.gid)
    folder.chmod(0o710)
    if reaches(account, folder):
        return folder
    folder.rmdir()
    raise _out_of_reach(folder, account)


def _out_of_reach(folder: Path, account: Account | None) -> ConfigurationError:
    way = [*reversed(folder.parents), folder]
    closed = next((parent for parent in way if not reaches(account, parent)), folder)
    name = account.name if account else "this user"
    return ConfigurationError(
        f"{folder}: a server runs as {name!r} here, which cannot pass {closed}; name a folder whose parents are "
        "open to it (such as one in /tmp), or do not run as root"
    )


def plain_environment(home: Path) -> dict[str, str]:
    """The little that a server needs, so that it behaves alike on every machine and speaks English."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}
