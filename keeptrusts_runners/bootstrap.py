"""A fresh machine's first minute: the virtual environment with exactly the locked packages.

Uses the standard library alone. `ensure` returns only in a process that can import everything.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
BASE_PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
RUNTIME = ROOT / "requirements.txt"
TESTS = ROOT / "tests" / "requirements.txt"
TOOLS = ROOT / "tests" / "requirements-dev.txt"


def ensure(arguments: list[str]) -> None:
    """Make and enter the environment, unless another active one has Django already.

    `arguments` is sys.argv: `test` needs the packages of the tests too, `bootstrap --dev` also the
    tools. The environment is brought up to date whenever a lock file has changed. Ends the process
    with one line when that fails.
    """
    inside = Path(sys.prefix) == ENVIRONMENT
    if not inside and sys.prefix != sys.base_prefix and importlib.util.find_spec("django"):
        return
    locks = _needed(arguments[1:])
    if not all(_is_installed(lock) for lock in locks):
        _set_up(locks)
    _keep_compiled()
    if not inside:
        os.execv(PYTHON, [str(PYTHON), *arguments])


def _keep_compiled() -> None:
    """Where compiled modules are not to be written beside their sources, as container images say,
    keep them in the environment: compiling a thousand modules anew takes each start two seconds."""
    if not sys.dont_write_bytecode:
        return
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(ENVIRONMENT / "compiled")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


def _needed(arguments: list[str]) -> list[Path]:
    if arguments[:2] == ["bootstrap", "--dev"]:
        return [RUNTIME, TESTS, TOOLS]
    return [RUNTIME, TESTS] if arguments[:1] == ["test"] else [RUNTIME]


def _set_up(locks: list[Path]) -> None:
    try:
        with _alone():
            if not _python_version():
                _make_environment()
            for lock in locks:
                if not _is_installed(lock):
                    _install(lock)
    except OSError as error:
        _fail(
            f"cannot write to {ENVIRONMENT}: {error.strerror}. Use a checkout that this account "
            "may write, or activate an environment that has requirements.txt installed."
        )


@contextmanager
def _alone() -> Iterator[None]:
    """One installation at a time; the others wait and find it done."""
    ENVIRONMENT.mkdir(exist_ok=True)
    with open(ENVIRONMENT / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_environment() -> None:
    _say(f"making {ENVIRONMENT.relative_to(ROOT)} with Python {sys.version.split()[0]}")
    # Neither uv nor a pip outside needs one inside, and making that takes longer than the rest.
    inside = _uv() is None and not _output(str(BASE_PYTHON), "-m", "pip", "--version")
    try:
        venv.create(ENVIRONMENT, symlinks=True, with_pip=inside)
    except subprocess.CalledProcessError:
        _fail("this Python can install nothing: add pip (on Debian, the package python3-pip).")
    _python_version.cache_clear()


def _is_installed(lock: Path) -> bool:
    stamp = _stamp(lock)
    return stamp.exists() and stamp.read_text() == _wanted(lock)


def _stamp(lock: Path) -> Path:
    return ENVIRONMENT / f".installed-{lock.relative_to(ROOT).as_posix().replace('/', '-')}"


def _wanted(lock: Path) -> str:
    """What the stamp says when the lock is installed for the environment's Python."""
    return hashlib.sha256(lock.read_bytes() + _python_version().encode()).hexdigest()


@cache
def _python_version() -> str:
    """Of the environment; empty when it has no Python that runs."""
    return _output(str(PYTHON), "-c", "import sys; print(sys.version)")


def _install(lock: Path) -> None:
    started = time.monotonic()
    _say(f"installing {_count(lock)} packages of {lock.relative_to(ROOT)} (only when it changes)")
    failures: list[str] = []
    for installer in _installers():
        ended, output = _follow([*installer, "--no-deps", "--require-hashes", "-r", str(lock)])
        if ended == 0:
            _stamp(lock).write_text(_wanted(lock))
            _say(f"installed in {time.monotonic() - started:.0f} s")
            return
        failures += output
    errors = [line for line in failures if line.lower().lstrip().startswith("error")]
    reason = (errors or failures or ["no pip was found"])[0]
    _fail(
        f"the packages could not be installed ({reason.strip()[:300]}). "
        "Check that a package index can be reached, then run this again."
    )


def _installers() -> Iterator[list[str]]:
    """uv where there is one, pip as the other road: the two read different configurations."""
    if uv := _uv():
        yield [uv, "pip", "install", "--python", str(PYTHON)]
    for python in (str(BASE_PYTHON), str(PYTHON)):
        if _output(python, "-m", "pip", "--version"):
            # Compiled when first imported: most modules never are.
            yield [python, "-m", "pip", "--python", str(PYTHON), "install", "--no-compile"]


def _follow(command: list[str]) -> tuple[int, list[str]]:
    """Run an installer and say now and then how far it is. Returns its exit code and output."""
    output: list[str] = []
    collected = 0
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=_installer_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            collected += line.startswith("Collecting ")
            if line.startswith("Collecting ") and collected % 10 == 0:
                _say(f"fetched {collected} packages")
    return process.returncode, output


def _installer_environment() -> dict[str, str]:
    environment = os.environ | {
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
    }
    if not os.access(os.environ.get("HOME", "/nonexistent"), os.W_OK):
        # Accounts without a home have no place for a cache.
        environment |= {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
    return environment


def _uv() -> str | None:
    return shutil.which("uv")


def _count(lock: Path) -> int:
    return sum("==" in line for line in lock.read_text().splitlines())


def _output(*command: str) -> str:
    """What a command prints; empty when it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _say(text: str) -> None:
    print(f"keeptrusts: {text}", file=sys.stderr, flush=True)


def _fail(text: str) -> NoReturn:
    sys.exit(f"keeptrusts: {text}")
