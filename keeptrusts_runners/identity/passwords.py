"""Checking a person's password, whoever asks: the console's sign-in and the token route.

Tries are counted by account and by source address, in the database, so that all processes share
them. Each is counted before the password is looked at, so that no number of them at once gets past
the count; a success takes its own count back. Whether there is such an account makes no
difference to any answer.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any

from django.contrib import auth
from django.db import connection
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import TooManyRequests
from keeptrusts_runners.identity.models import PasswordTries, User

# How many tries have no wait before them. Behind one address may be many people.
FREE_BY_ACCOUNT, FREE_BY_ADDRESS = 5, 50
# The wait doubles from a second with each further try, up to this.
LONGEST_WAIT = timedelta(minutes=5)
# After so long without a try the count begins anew.
FORGOTTEN_AFTER = timedelta(hours=1)


def verify(email: str, password: str, request: HttpRequest) -> User | None:
    """The person whose e-mail address and password these are. Raises TooManyRequests, which says
    for how long; the password was not looked at then, right or wrong.

    Call outside any transaction: the count stays, whatever becomes of the request.
    """
    email = email.strip().lower()
    account, address = _key("account", email), _source(request)
    keys = {account: FREE_BY_ACCOUNT} | ({address: FREE_BY_ADDRESS} if address else {})
    _count(keys)
    user = auth.authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        return None
    _forgive(account, address)
    return user


def _key(kind: str, text: str) -> str:
    """Keyed, so that the table tells nobody which addresses were tried."""
    return salted_hmac(f"keeptrusts.tries.{kind}", text, algorithm="sha256").hexdigest()


def _source(request: HttpRequest) -> str | None:
    """None for this host itself: that is its operator, or a proxy that does not say for whom it
    asks, and then everybody would wait for one."""
    text = request.META.get("REMOTE_ADDR", "")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if address.is_loopback:
        return None
    # Whoever has an address of IPv6 has 2^64 of them.
    if address.version == 6:
        address = ipaddress.ip_network((address, 64), strict=False).network_address
    return _key("address", str(address))


# How long after its last try a key admits the next.
_WAIT = """
CASE WHEN t.last_at <= clock_timestamp() - %(forgotten)s OR t.tries < t.free THEN interval '0'
     ELSE least(%(longest)s, interval '1 second' * 2 ^ least(t.tries - t.free, 20)) END
"""
# Losing the race to another try is seeing its count: the condition is read under the row's lock.
_TRY = f"""
INSERT INTO identity_password_tries AS t (key, free, tries, last_at)
SELECT key, free, 1, clock_timestamp() FROM unnest(%(keys)s::text[], %(free)s::int[])
       AS new (key, free) ORDER BY key
    ON CONFLICT (key) DO UPDATE
   SET tries = CASE WHEN t.last_at <= clock_timestamp() - %(forgotten)s THEN 1
                    ELSE t.tries + 1 END,
       free = EXCLUDED.free, last_at = clock_timestamp()
 WHERE t.last_at + {_WAIT} <= clock_timestamp()
RETURNING key
"""
_LEFT = f"""
SELECT ceil(extract(epoch FROM max(t.last_at + {_WAIT} - clock_timestamp())))::int
  FROM identity_password_tries t WHERE key = ANY (%(keys)s)
"""


def _count(keys: dict[str, int]) -> None:
    """Raises TooManyRequests if one of them has to wait."""
    given: dict[str, Any] = {
        "keys": list(keys),
        "free": list(keys.values()),
        "longest": LONGEST_WAIT,
        "forgotten": FORGOTTEN_AFTER,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TRY, given)
        if len(cursor.fetchall()) == len(keys):
            return
        cursor.execute(_LEFT, given)
        seconds = max(1, cursor.fetchone()[0] or 0)
    raise TooManyRequests(f"Too many tries. Wait {spoken(seconds)}.", retry_after=seconds)


def spoken(seconds: int) -> str:
    """`1 second`, `40 seconds`, `2 minutes`: never less than it is."""
    number, unit = (seconds, "second") if seconds < 120 else (-(-seconds // 60), "minute")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _forgive(account: str, address: str | None) -> None:
    """What was right begins the account's count anew, and counts for nothing at the address."""
    PasswordTries.objects.filter(key=account).delete()
    if address:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE identity_password_tries SET tries = greatest(tries - 1, 0) WHERE key = %s",
                [address],
            )


def clean_up(using: str = "maintain") -> int:
    """Forget what no longer counts; how many."""
    old = PasswordTries.objects.using(using).filter(last_at__lt=DatabaseNow() - FORGOTTEN_AFTER)
    return old.delete()[0]
