"""What was typed into a form whose sender was signed out by then: nothing of it is sent, and it
stands in the form again after the sign-in.

On the way it is carried by the sign-in form, signed, so that strangers make the server keep
nothing; only once somebody has signed in does it wait in their session for the page it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.contrib import messages
from django.core import signing
from django.http import HttpRequest

FIELD = "typed"
MOST_CHARACTERS = 400_000
_SALT, _SESSION_KEY = "kt.typed", "typed"
_WAITS_SECONDS = 3600
_NEVER = frozenset({"csrfmiddlewaretoken", "password", "next", FIELD})


def sealed(request: HttpRequest, then: str | None) -> str:
    """What the POST holds, for the form at `then`; "" if there is nothing to keep, or too much."""
    fields = {name: value for name, value in request.POST.items() if name not in _NEVER and value}
    if not fields or then is None or sum(map(len, fields.values())) > MOST_CHARACTERS:
        return ""
    return signing.dumps([urlsplit(then).path, fields], salt=_SALT, compress=True)


def keep(request: HttpRequest) -> None:
    """After a sign-in: what its form carried waits for its page. What is not ours is ignored."""
    try:
        carried = request.POST.get(FIELD, "")
        request.session[_SESSION_KEY] = signing.loads(carried, salt=_SALT, max_age=_WAITS_SECONDS)
    except signing.BadSignature:
        return


def over(request: HttpRequest, initial: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a form begins with: `initial`, and over it what was typed here before, once."""
    begun = dict(initial or {})
    path, fields = request.session.get(_SESSION_KEY, (None, {}))
    if path != request.path or request.method == "POST":
        return begun
    del request.session[_SESSION_KEY]
    messages.info(request, "What you typed is back in the form. Nothing of it has been sent.")
    return {**begun, **fields}
