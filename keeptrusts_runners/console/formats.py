"""How the console writes times, lengths of time, sizes and foreign text: pure functions.

The rules are the same on every page. Instants are in the page's zone and say which, `Z` for UTC and
`+05:30` for others; in what is for machines they are UTC. Durations read
`812 ms`, `9 s`, `4m 09s`, `1h 04m 09s`, `3d 01h 04m`; sizes are binary (`1.2 MiB`). `console.js`
repeats `duration` for what ticks in the browser.
"""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from keeptrusts_runners.plain_text import is_plain, pieces

_PRECISIONS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_HOUR = 3600
_DAY = 24 * _HOUR


def machine_instant(instant: datetime) -> str:
    """RFC 3339 in UTC with microseconds: the value of `<time datetime>`."""
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def instant(value: datetime, precision: str = "s") -> str:
    """`2026-05-01 09:30:00Z`; precision `s`, `ms` or `us`. Truncates, never rounds up."""
    at = timezone.localtime(value)
    # A page has a thousand of them, and this is a fifth of what strftime costs.
    text = at.replace(tzinfo=None).isoformat(" ", _PRECISIONS[precision])
    return f"{text}{zone_suffix(at)}"


def time_of_day(value: datetime) -> str:
    """`09:30:00Z`: where the day is told beside it."""
    at = timezone.localtime(value)
    return f"{at:%H:%M:%S}{zone_suffix(at)}"


def zone_suffix(at: datetime) -> str:
    """Of an instant in the page's zone."""
    return "Z" if at.tzname() == "UTC" else at.isoformat(timespec="seconds")[19:]


def seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def duration(value: timedelta | float) -> str:
    """A length of time in words; a negative one (a skewed clock) counts as none."""
    length = max(seconds(value), 0.0)
    if 0 < length < 1:
        return f"{int(length * 1000)} ms"
    whole = int(length)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    if whole < _HOUR:
        return f"{minutes}m {second:02d}s"
    hours, minute = divmod(minutes, 60)
    if whole < _DAY:
        return f"{hours}h {minute:02d}m {second:02d}s"
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02d}h {minute:02d}m"


def machine_duration(value: timedelta | float) -> str:
    """An HTML duration: the value of `<time datetime>` around a length of time."""
    return f"PT{max(seconds(value), 0.0):.3f}S"


def ago(value: datetime, now: datetime) -> str | None:
    """`4 s ago`, `14 min ago`; None beyond an hour, where only the instant itself will do."""
    age = max(seconds(now - value), 0.0)
    if age < 60:
        return f"{int(age)} s ago"
    return f"{int(age // 60)} min ago" if age < _HOUR else None


def until(value: datetime, now: datetime) -> str | None:
    """`in 4m 09s`; None when the instant has come."""
    left = seconds(value - now)
    return f"in {duration(max(left, 1.0))}" if left > 0 else None


def size(count: int) -> str:
    """`812 B`, `1.2 KiB`, `4.0 GiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1023.95 or unit == "TiB":
            break
    return f"{amount:.1f} {unit}"


def visible(text: str) -> SafeString:
    """Foreign text as inert HTML: terminal colours dropped, and every character that cannot be
    seen (controls, direction overrides, zero-width ones) spelled out as `\\u202e`."""
    if is_plain(text):
        return SafeString(html.escape(text))
    return mark_safe(  # noqa: S308  (every piece is escaped, or spelled in letters and digits)
        "".join(
            f'<span class="escape">{piece}</span>' if spelled else escape(piece)
            for piece, spelled in pieces(text)
        )
    )
