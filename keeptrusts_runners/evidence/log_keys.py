"""The keys that sign checkpoints: their files, which only the signer reads, and their register.

The register is in the database: public halves, and since and until when each signs. While a key is
being replaced both sign, so that a reader who trusts either can go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import connections, transaction

from keeptrusts_runners.evidence.log_models import LogKey
from keeptrusts_runners.keys import SigningKey, load, load_or_create

# A handful of rows, one for each key that there ever was.
_REGISTERED = "SELECT kid, until, until <= clock_timestamp() FROM evidence_log_key"
_REGISTER = """
INSERT INTO evidence_log_key (kid, public_key) VALUES (%s, %s) ON CONFLICT (kid) DO NOTHING
"""
_RETIRE = """
UPDATE evidence_log_key SET until = clock_timestamp() + make_interval(secs => %s)
 WHERE until IS NULL AND kid <> %s
"""


class UnknownLogKey(Exception):  # noqa: N818 - says what the key is
    """The key file holds another key than the one that the log is signed with."""


class KeyIsBeingReplaced(Exception):  # noqa: N818 - says why another one cannot be now
    """The last replacement is not over."""


class _Until(NamedTuple):
    at: datetime | None
    over: bool


def signing_keys() -> list[SigningKey]:
    """The keys that sign now, the lasting one first. The very first is made and registered.

    Raises UnknownLogKey where a key would be replaced without anybody having said so, and
    KeyFileRefused or OSError for a file that cannot be used.
    """
    registered = _registered()
    path = settings.LOG_KEY_FILE
    if not registered:
        _register(load_or_create(path))
        registered = _registered()
    current = _current(path, registered)
    retiring = _retiring_file(path)
    keys = [current]
    if retiring.exists():
        key = load(retiring)
        until = registered.get(key.kid)
        if key != current and until is not None and not until.over:
            keys.append(key)
    return keys


def rotate(overlap: timedelta) -> str:
    """Replace the key: a new one signs from now on, and the old one beside it for `overlap`.

    Answers the new key's id. A key whose file is lost cannot sign beside the new one, but is
    retired all the same. Stopped anywhere, it can be run again. Raises KeyIsBeingReplaced while
    the one before last still signs.
    """
    path = settings.LOG_KEY_FILE
    draft = path.with_name(f"{path.stem}.next{path.suffix}")
    if not draft.exists():
        _require_no_overlap(path)
    new = load_or_create(draft)
    with transaction.atomic(using="signer"), connections["signer"].cursor() as cursor:
        cursor.execute(_REGISTER, [new.kid, new.public_raw])
        cursor.execute(_RETIRE, [overlap.total_seconds(), new.kid])
    # The register first: until the files have changed places the old key signs, as before.
    if path.exists():
        path.replace(_retiring_file(path))
    draft.replace(path)
    return new.kid


def _require_no_overlap(path: Path) -> None:
    retiring = _retiring_file(path)
    if retiring.exists():
        until = _registered().get(load(retiring).kid)
        if until is not None and not until.over:
            raise KeyIsBeingReplaced(f"The key before signs until {until.at:%Y-%m-%d %H:%M} UTC.")


def registered_keys(using: str = "default") -> list[LogKey]:
    """All keys that sign or have signed, the oldest first, for those who verify."""
    return list(LogKey.objects.using(using).order_by("since"))


def _current(path: Path, registered: Mapping[str, _Until]) -> SigningKey:
    key = load(path)
    until = registered.get(key.kid)
    if until is None or until.over:
        raise UnknownLogKey(
            f"{path} holds the key {key.kid}, which the log is not signed with. Restore the "
            "right file, or replace the key: manage.py evidence_log rotate-key."
        )
    return key


def _registered() -> dict[str, _Until]:
    with connections["signer"].cursor() as cursor:
        cursor.execute(_REGISTERED)
        return {kid: _Until(at, bool(over)) for kid, at, over in cursor.fetchall()}


def _register(key: SigningKey) -> None:
    with connections["signer"].cursor() as cursor:
        cursor.execute(_REGISTER, [key.kid, key.public_raw])


def _retiring_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}.retiring{path.suffix}")
