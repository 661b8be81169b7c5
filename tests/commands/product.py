"""The product as its users run it: real processes on a data directory of their own, real HTTP.

Nothing here sleeps for a time that was guessed: `eventually` looks until it is so, up to a
deadline that only a failure reaches. Processes are ended by their id, and only if started here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keeptrusts_runners.env import BASE_DIR

DEADLINE = 90.0
OURS = ("KEEPTRUSTS_", "DATABASE_", "SECRET_KEY", "DJANGO_", "PYTEST_")

T = TypeVar("T")


def eventually(
    look: Callable[[], T | None],
    what: str,
    seconds: float = DEADLINE,
    instead: Callable[[], object] = str,
) -> T:
    """What `look` answers, once that is something; fails with `what` when it never is, and with
    what is there `instead`."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, f"not within {seconds:g} s: {what}; {instead()}"
        threading.Event().wait(0.05)
    return found


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Running:
    """One started command, and what it has said so far."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=BASE_DIR,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_said(self, text: str, seconds: float = DEADLINE) -> str:
        """Everything it has said, as soon as `text` is in it."""

        def look() -> str | None:
            said = self.said()
            assert text in said or self._process.poll() is None, f"it ended and said: {said}"
            return said if text in said else None

        return eventually(look, f"it says {text!r}", seconds, self.said)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = DEADLINE) -> int:
        """The exit status."""
        return self._process.wait(seconds)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End it, politely first."""
        for number, seconds in (
            (signal.SIGCONT, 0.0),
            (signal.SIGTERM, 20.0),
            (signal.SIGKILL, 20),
        ):
            if not self.has_ended():
                self.signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)


class Product:
    """`manage.py` on its own data directory, with no setting but those that are given."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        temporary = data_dir / "tmp"
        temporary.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        # Temporary files inside, so that every process of ours names the directory somewhere.
        own = {"KEEPTRUSTS_DATA_DIR": str(data_dir), "TMPDIR": str(temporary)}
        self.environment = kept | own | settings
        self._started: list[Running] = []

    def run(
        self, *arguments: str, given: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            manage(*arguments),
            cwd=BASE_DIR,
            env=self.environment | settings,
            input=given,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        return subprocess.CompletedProcess(
            ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode()
        )

    def ask(self, *arguments: str, given: bytes = b"") -> Any:
        """The one JSON object that a command prints."""
        ended = self.run(*arguments, given=given)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def start(self, *arguments: str, **settings: str) -> Running:
        return self.start_command(manage(*arguments), **settings)

    def start_command(self, command: list[str], **settings: str) -> Running:
        log = self.data_dir / f"said-{len(self._started)}.log"
        running = Running(command, self.environment | settings, log)
        self._started.append(running)
        return running

    def processes(self) -> dict[int, str]:
        """Every process that this data directory is about, and its command line."""
        return processes_about(self.data_dir)

    def wait_until_gone(self, seconds: float = DEADLINE) -> None:
        eventually(lambda: not self.processes(), "no process is left", seconds, self.processes)

    def close(self) -> None:
        for running in reversed(self._started):
            running.close()


def manage(*arguments: str) -> list[str]:
    return [sys.executable, str(BASE_DIR / "manage.py"), *arguments]


def new_data_dir() -> Path:
    """Not pytest's tmp_path, which the account of PostgreSQL may not enter."""
    directory = Path(tempfile.mkdtemp(prefix="kt-"))
    directory.chmod(0o755)
    return directory


def remove_data_dir(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


def processes_about(directory: Path) -> dict[int, str]:
    """Processes whose command line, environment or working directory names the directory."""
    name = os.fsencode(directory)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            place = os.fsencode((entry / "cwd").readlink())
            if name in command or name in place or name in (entry / "environ").read_bytes():
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def parent_of(pid: int) -> int:
    """0 where there is no such process any more."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


# --- HTTP ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class Http:
    """A bearer's view of one server."""

    url: str
    token: str | None = None
    timeout: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        """Raises OSError when no answer comes."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, refused.read())

    def get(self, path: str) -> Any:
        return self._expect(self.request("GET", path))

    def post(self, path: str, body: Any = None) -> Any:
        return self._expect(self.request("POST", path, {} if body is None else body))

    def items(self, path: str) -> list[Any]:
        """A whole list, over all its pages."""
        found: list[Any] = []
        cursor = ""
        while True:
            page = self.get(f"{path}{'&' if '?' in path else '?'}limit=200{cursor}")
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def is_ready(self) -> bool:
        with suppress(OSError):
            return self.request("GET", "/readyz").status == 200
        return False

    def readiness(self) -> str:
        try:
            return self.request("GET", "/readyz").content.decode()
        except OSError as error:
            return str(error)

    @staticmethod
    def _expect(answer: Answer) -> Any:
        assert 200 <= answer.status < 300, (answer.status, answer.content)
        return answer.json()


def sign_in(url: str, client_id: str, client_secret: str) -> Http:
    """As a service account."""
    form = urllib.request.Request(
        f"{url}/v1/auth/token",
        f"grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}".encode(),
    )
    with urllib.request.urlopen(form, timeout=30) as answer:
        return Http(url, json.load(answer)["access_token"])
