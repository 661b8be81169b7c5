"""A small process between the runner and a harness: no harness outlives its runner.

Executed as ``python -I -S -c <this file> CONTROL STATUS COMMAND…``, never imported. The runner
holds the other end of CONTROL; the kernel closes it however the runner dies, and the end of that
pipe is the order to kill everything. The obvious alternative, PR_SET_PDEATHSIG set by the runner
before exec, fires when the *thread* that started the harness ends, and reaches no grandchildren.

Orders on CONTROL: ``T`` = SIGTERM to the process group, ``K`` = SIGKILL to all. Reports on
STATUS, one JSON object a line: ``{"pid"}``, then ``{"exit"}``, ``{"signal"}`` or ``{"error"}``.
"""

import json
import os
import select
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IGNORED_BY_GUARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def prctl(option: int, value: int) -> bool:
    """Whether the kernel took it; systems other than Linux have no such call."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def tell(status: int, **report: object) -> None:
    with suppress(OSError):
        os.write(status, json.dumps(report).encode() + b"\n")


def become_harness(command: list[str], status: int, guard: int) -> None:
    """In the forked child: its own session and group, default signals, then the command."""
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (*IGNORED_BY_GUARD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == guard:
            os.execvp(command[0], command)
    except OSError as error:
        tell(status, error=f"{command[0]}: {error.strerror}")
    finally:
        os._exit(127)


def let_go_of_output() -> None:
    """Else the pipes of the harness would stay open after it."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def parent_of(process: str) -> int | None:
    """The parent's id from /proc/ID; None when the process has gone meanwhile."""
    try:
        with open(f"{process}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def children_of(pid: int) -> list[int]:
    """The live children of a process, from /proc; [] where there is none."""
    try:
        processes = [entry for entry in os.scandir("/proc") if entry.name.isdigit()]
    except OSError:
        return []
    return [int(entry.name) for entry in processes if parent_of(entry.path) == pid]


def signal_harness(pid: int, number: int) -> None:
    """To its group; to it alone in the moment before it has made its group. Not yet reaped."""
    with suppress(PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)


def kill_all(group: int, subreaper: bool) -> None:
    """Kill what is left of the group, and what left it: orphans become a subreaper's children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    while subreaper and (orphans := [pid for pid in children_of(os.getpid()) if pid != group]):
        for pid in orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def ended(harness: int) -> dict[str, int] | None:
    """How the harness ended, or None while it runs; reaps the orphans it left us, too."""
    report = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == harness:
                code = os.waitstatus_to_exitcode(status)
                report = {"exit": code} if code >= 0 else {"signal": -code}
    return report


def watch(pid: int, control: int, wake: int, subreaper: bool) -> dict[str, int]:
    """Obey orders until the harness has ended and nothing of it is left."""
    sources = [control, wake]
    while (report := ended(pid)) is None:
        readable, _, _ = select.select(sources, [], [])
        if wake in readable:
            os.read(wake, 512)
        if control in readable:
            order = os.read(control, 64)
            if not order:
                sources.remove(control)
            if not order or b"K" in order:
                signal_harness(pid, signal.SIGKILL)
            elif b"T" in order:
                signal_harness(pid, signal.SIGTERM)
    kill_all(pid, subreaper)
    return report


def main(control: int, status: int, command: list[str]) -> None:
    for descriptor in (control, status):
        os.set_inheritable(descriptor, False)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in IGNORED_BY_GUARD:
        signal.signal(number, signal.SIG_IGN)
    subreaper = prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        become_harness(command, status, guard)
    let_go_of_output()
    tell(status, pid=pid)
    tell(status, **watch(pid, control, wake, subreaper))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
