"""That nothing stays stuck, asked of the whole database: of every test that used it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connections

from sessions import liveness, reaper

# Said once more in other words than the product's, so that it cannot be wrong in the same way.
_STUCK = """
SELECT id, state, lease_expires_at, deadline_at FROM runner_session
 WHERE state NOT IN ('completed', 'failed', 'cancelled', 'timed_out', 'expired', 'lost')
   AND coalesce(least(lease_expires_at, deadline_at), '-infinity') <= %s
"""


def database_time() -> datetime:
    with connections["maintain"].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]  # type: ignore[no-any-return]


def stuck(since: datetime) -> list[Any]:
    """What is open and was overdue then already, whether or not a brake holds it back."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_STUCK, [since])
        return list(cursor.fetchall())


def assert_nothing_is_stuck() -> None:
    """Have the reaper settle whatever is overdue now; then nothing of it may still be open."""
    while True:
        since = database_time()
        counts = reaper.run_once(batch=100_000)
        if counts.total() == counts["failed_to_settle"] + counts["held_back"]:
            break
    assert not (left := stuck(since)), f"stuck after a pass ({dict(counts)}): {left[:10]}"
    assert liveness.figures()["overdue"] == {"": 0}
