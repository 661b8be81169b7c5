"""What people set for themselves: kept with the account, and the theme in a cookie besides, so that
pages without an account have it too."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse

from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.refusals import answers_errors
from keeptrusts_runners.console.responses import local_path, see_other
from keeptrusts_runners.errors import field_error
from keeptrusts_runners.identity import preferences
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.preferences import THEMES, Preferences

THEME_COOKIE = "theme"
_YEAR = 365 * 24 * 3600


def of(request: HttpRequest) -> Preferences:
    """Those of who is signed in; of anybody else the theme alone is known."""
    known: Preferences | None = getattr(request, "preferences", None)
    theme = {"theme": request.COOKIES.get(THEME_COOKIE)}
    return known or preferences.changed(Preferences(), theme)


@answers_errors("POST")
def theme(request: HttpRequest) -> HttpResponse:
    """`POST /preferences/theme` with `theme` and `next`: the header's switch, for everybody."""
    chosen = request.POST.get("theme", "")
    if chosen not in THEMES:
        raise field_error("/theme", "invalid_choice", f"Choose one of {', '.join(THEMES)}.")
    user = get_user(request)
    if isinstance(user, User):
        kept = preferences.changed(preferences.of(user), {"theme": chosen})
        preferences.keep(user, kept)
    to = local_path(request, request.POST.get("next")) or navigation.home()
    return remember_theme(see_other(to), chosen)


def remember_theme(response: HttpResponse, theme: str) -> HttpResponse:
    response.set_cookie(
        THEME_COOKIE,
        theme,
        max_age=_YEAR,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
    return response
