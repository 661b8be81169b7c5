"""What people set for themselves, whichever organization they act in and browser they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from keeptrusts_runners.identity.models import User

UTC = "UTC"
THEMES = ("system", "light", "dark")


@dataclass(frozen=True, slots=True)
class Preferences:
    """How pages look and behave. `zone` is UTC, or the IANA name of the zone of all their times;
    `updates` says whether pages begin with keeping themselves fresh."""

    zone: str = UTC
    theme: str = THEMES[0]
    shortcuts: bool = True
    updates: bool = True

    @property
    def timezone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)


@cache
def zones() -> tuple[str, ...]:
    """Every name that a zone may be given by: UTC, and areas with their places."""
    places = {name for name in available_timezones() if name.partition("/")[0] in _AREAS}
    return (UTC, *sorted(places))


_AREAS = {"Africa", "America", "Antarctica", "Arctic", "Asia"}
_AREAS |= {"Atlantic", "Australia", "Europe", "Indian", "Pacific"}


def of(user: User) -> Preferences:
    """What is kept, and the defaults for what is not, or not any more."""
    return changed(Preferences(), user.preferences)


def changed(known: Preferences, given: Mapping[str, Any]) -> Preferences:
    """With those of the given values that a preference can have."""
    fitting = {name: value for name, value in given.items() if _fits(name, value)}
    return replace(known, **fitting)


def _fits(name: str, value: Any) -> bool:
    match name:
        case "zone":
            return value in zones()
        case "theme":
            return value in THEMES
        case "shortcuts" | "updates":
            return isinstance(value, bool)
    return False


def keep(user: User, preferences: Preferences) -> None:
    """Of a person alone, in all organizations: it needs no scope."""
    user.preferences = asdict(preferences)
    user.save(update_fields=["preferences"])
