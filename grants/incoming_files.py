"""What is left over of uploads: rows that nobody goes on with, and files that no row knows.

A row is there before its file, and a draft of a single request is held by the process that writes
it. So a file without either, that is not of this very minute, is left over from one that died.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from django.db import connections

from grants import direct, drafts, partials
from grants.partials import SUFFIX
from sessions.states import LEASED

# A process may have made a file and not yet locked it.
YOUNG_SECONDS = 60
MOST = 500

# Of a lease that is over, nobody can go on with it.
_ABANDONED = """
DELETE FROM runner_upload WHERE id IN (
       SELECT u.id FROM runner_upload u JOIN runner_session s ON s.id = u.session_id
        WHERE u.part_size_bytes IS NULL
          AND (u.expires_at < clock_timestamp() OR s.lease_epoch <> u.lease_epoch
               OR s.state <> ALL(%s))
        LIMIT %s)
RETURNING id
"""
_KNOWN = "SELECT id FROM runner_upload WHERE id = ANY(%s)"


def collect() -> Counter[str]:
    """Remove abandoned uploads and the files that no row knows; counts."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_ABANDONED, [sorted(LEASED), MOST])
        abandoned = [row[0] for row in cursor.fetchall()]
    for upload_id in abandoned:
        partials.discard(upload_id)
    files = sum(_remove_if_left_over(path) for path in _unknown(drafts.incoming().iterdir()))
    counts = Counter(uploads_removed=len(abandoned), files_removed=files)
    return counts + direct.collect()


def _unknown(paths: Iterable[Path]) -> list[Path]:
    """Those that are not of this minute and that no upload's row is for."""
    old = [path for path in paths if _is_old(path)]
    uploads = {path: _upload_of(path) for path in old}
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_KNOWN, [[each for each in uploads.values() if each is not None]])
        known = {row[0] for row in cursor.fetchall()}
    return [path for path in old if uploads[path] not in known]


def _is_old(path: Path) -> bool:
    try:
        return path.stat().st_mtime < time.time() - YOUNG_SECONDS
    except FileNotFoundError:
        return False


def _upload_of(path: Path) -> UUID | None:
    with suppress(ValueError):
        return UUID(path.name.removesuffix(SUFFIX)) if path.suffix == SUFFIX else None
    return None


def _remove_if_left_over(path: Path) -> bool:
    """Not while somebody holds it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
