"""With this directory on PYTHONPATH a process of the product can be killed at a named point.

A file in the directory that FAILPOINTS names, such as `worker.before-commit`, arms that point for
one process of that kind: the first to come by takes the file away and dies as by kill -9.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

_commit = BaseDatabaseWrapper._commit


def _kind() -> str:
    if multiprocessing.parent_process() is not None:
        return "worker"
    return "loop" if "maintain" in sys.argv[1:2] else "other"


def _point(name: str) -> None:
    try:
        (Path(os.environ["FAILPOINTS"]) / f"{_kind()}.{name}").unlink()
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _commit_with_points(self):
    _point("before-commit")
    answer = _commit(self)
    _point("after-commit")
    return answer


BaseDatabaseWrapper._commit = _commit_with_points


_fsync = os.fsync


def _fsync_with_point(descriptor):
    _point("before-fsync")
    _fsync(descriptor)
    _point("after-fsync")


os.fsync = _fsync_with_point


_replace = os.replace


def _replace_with_point(source, target, **where):
    _replace(source, target, **where)
    _point("after-replace")


os.replace = _replace_with_point
