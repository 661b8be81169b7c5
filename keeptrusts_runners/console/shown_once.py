"""A secret that is shown once, on the page that a form leads to.

Between the two requests it waits in the browser's session, sealed: whoever reads the database
holds nothing without the server's key.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.http import HttpRequest

_SESSION_KEY = "shown_once"
# A page that is not opened at once is not opened at all.
_WAITS_SECONDS = 600


def _box() -> Fernet:
    key = hashlib.sha256(b"kt.shown-once" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def keep(request: HttpRequest, of: str, secret: str) -> None:
    """For the next page about `of`, a TypeID. Only one secret waits at a time."""
    request.session[_SESSION_KEY] = [of, _box().encrypt(secret.encode()).decode()]


def take(request: HttpRequest, of: str) -> str | None:
    """The secret of `of`, this once."""
    waiting = request.session.get(_SESSION_KEY)
    if not waiting or waiting[0] != of:
        return None
    del request.session[_SESSION_KEY]
    try:
        return _box().decrypt(waiting[1].encode(), ttl=_WAITS_SECONDS).decode()
    except InvalidToken:
        return None
