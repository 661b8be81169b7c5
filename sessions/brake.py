"""The reaper's pulse, and its brake: when the silence of many proves nothing about each.

A lease is ended because its runner has gone silent. Where the road of heartbeats was cut, by a
partition, a bad release or our own absence, that takes the work of runners that are well. So when
very many leases would end at once, or the reaper itself was away for as long as a lease can be
silent, what was not heard of since is held back for one lease, and then settled like any other.

All of it is one row, `runner_reaper_pulse`. What a brake holds back follows from it by comparison
(kt_sessions_due): nothing has to be written for a brake to be over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import connections

from keeptrusts_runners import clock

log = structlog.get_logger(__name__)

MIN_LEASES, MAX_SHARE = 10, 0.3
ABSENCE, MASS_EXPIRY = "absence", "mass_expiry"

# Served by runner_session_held, which holds the live leases only. Heard of: executing, and with
# a sign of life since the last brake began. What that brake held back cannot cause another one.
_LOOK = """
SELECT statement_timestamp(), p.pulse_at, p.brake_reason, p.brake_began_at, p.brake_until, l.*
  FROM runner_reaper_pulse p
 CROSS JOIN LATERAL (
       SELECT count(*),
              count(*) FILTER (WHERE executing AND NOT heard),
              count(*) FILTER (WHERE heard AND ends_at <= statement_timestamp()),
              count(*) FILTER (WHERE heard AND ends_at <= statement_timestamp() + beat),
              min(lease - beat) FILTER (WHERE heard),
              max(lease) FILTER (WHERE heard)
         FROM (SELECT ends_at, lease, beat, executing,
                      executing AND (p.brake_began_at IS NULL
                                     OR ends_at - lease >= p.brake_began_at) AS heard
                 FROM (SELECT lease_expires_at AS ends_at,
                              make_interval(secs => lease_ttl_seconds) AS lease,
                              make_interval(secs => heartbeat_interval_seconds) AS beat,
                              state <> 'cancelling' AS executing
                         FROM runner_session
                        WHERE state IN ('cancelling', 'dispatched', 'running')) leased) told) l
"""

# Guarded by the pulse that was seen. Who comes second changes nothing: another pass has looked at
# the same moment, and its decision stands.
_BEAT = """
UPDATE runner_reaper_pulse
   SET pulse_at = %(now)s,
       brake_reason = coalesce(%(cause)s, brake_reason),
       brake_heard_since = CASE WHEN %(cause)s::text IS NULL THEN brake_heard_since
                                ELSE coalesce(brake_began_at, '-infinity') END,
       brake_began_at = CASE WHEN %(cause)s::text IS NULL THEN brake_began_at ELSE %(now)s END,
       brake_until = CASE WHEN %(cause)s::text IS NULL THEN brake_until ELSE %(until)s END
 WHERE pulse_at = %(seen)s
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What a pass sees before it does anything.

    Of the `live` leases, `silent` have given no sign since the last brake began. Of those that
    have, `expired` are over and `expiring` will be unless they give one within a heartbeat.
    `reserve` is the least of what their leases have left when a heartbeat is missed, `longest` the
    longest lease; None without any.
    """

    now: datetime
    pulse_at: datetime
    reason: str
    began_at: datetime | None
    until: datetime | None
    live: int
    silent: int
    expired: int
    expiring: int
    reserve: timedelta | None
    longest: timedelta | None

    @property
    def absent(self) -> timedelta:
        return self.now - self.pulse_at

    @property
    def braked(self) -> bool:
        """Was a brake in force when the pass before looked?"""
        return self.until is not None and self.pulse_at < self.until

    @property
    def braking(self) -> bool:
        """Is that brake still in force?"""
        return self.until is not None and self.now < self.until


def cause(seen: Look) -> str | None:
    """Why a brake must begin now, or None.

    Heartbeats are spread over their interval, so that of a road that was cut only a few leases end
    in each pass. Those that are about to follow are therefore counted with them.
    """
    if seen.reserve is not None and seen.absent > seen.reserve:
        return ABSENCE
    many = seen.expiring >= MIN_LEASES and seen.expiring > MAX_SHARE * seen.live
    return MASS_EXPIRY if seen.expired and many else None


def beat() -> tuple[Look, bool]:
    """Write down that a pass looks now, and begin a brake where there is cause.

    Returns what it saw, and whether a brake is in force. Raises what the database raises: a pass
    that does not know whether to brake must not go on.
    """
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_LOOK)
        seen = Look(*cursor.fetchone())
        why = cause(seen)
        until = seen.now + (seen.longest or timedelta()) if why else None
        given = {"now": seen.now, "cause": why, "until": until, "seen": seen.pulse_at}
        cursor.execute(_BEAT, given)
        if cursor.rowcount:
            _tell(seen, why, until)
    return seen, bool(why) or seen.braking


def _tell(seen: Look, why: str | None, until: datetime | None) -> None:
    if seen.braked and (why or not seen.braking):
        log.info(
            "reaper.brake_ended", reason=seen.reason, live=seen.live, silent=seen.silent,
            began_at=clock.rfc3339(seen.began_at),
        )  # fmt: skip
    if why:
        log.warning(
            "reaper.brake_began", reason=why, live=seen.live, expired=seen.expired,
            expiring=seen.expiring, absent_seconds=round(seen.absent.total_seconds(), 1),
            until=clock.rfc3339(until),
        )  # fmt: skip
