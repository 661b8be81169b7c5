"""What a process and its children take of the machine, as /proc tells it (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> list[int]:
    """The process and all that come of it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Of processor time, until now, by the process and those of its family that live."""
    return sum(_used(one) for one in family(pid))


def _used(pid: int) -> float:
    # After the name in brackets, which may hold anything, the third field is the state.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11], fields[12]
    return (int(user) + int(system)) / _TICKS


def memory_mib(pid: int) -> float:
    """Resident, of the whole family; pages that they share count more than once."""
    pages = (int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return sum(pages) * _PAGE / 2**20
