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

# As if a brake had just been over: what was silent until now is neither held back nor a cause.
_RELEASED = """
UPDATE runner_reaper_pulse SET pulse_at = now, brake_heard_since = now, brake_began_at = now,
                               brake_until = now
  FROM clock_timestamp() AS now
"""


def release_the_brake() -> None:
    """The next pass, whichever process makes it, settles all that is overdue by then."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_RELEASED)


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
    release_the_brake()
    while True:
        since = database_time()
        counts = reaper.run_once(batch=100_000)
        if counts.total() == counts["failed_to_settle"]:
            break
    assert not (left := stuck(since)), f"stuck after a pass ({dict(counts)}): {left[:10]}"
    assert liveness.figures()["overdue"] == {"": 0}
