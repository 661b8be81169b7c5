"""What a person sets for their own browser: the theme, kept in a cookie so that the server
already knows it when it paints the first byte."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.refusals import answers_errors
from keeptrusts_runners.console.responses import local_path, see_other
from keeptrusts_runners.errors import field_error

THEMES = ("system", "light", "dark")
THEME_COOKIE = "theme"
_YEAR = 365 * 24 * 3600


def theme_of(request: HttpRequest) -> str:
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "system"


@answers_errors("POST")
def theme(request: HttpRequest) -> HttpResponse:
    """`POST /preferences/theme` with `theme` and `next`."""
    chosen = request.POST.get("theme", "")
    if chosen not in THEMES:
        raise field_error("/theme", "invalid_choice", f"Choose one of {', '.join(THEMES)}.")
    response = see_other(local_path(request, request.POST.get("next")) or navigation.home())
    response.set_cookie(
        THEME_COOKIE,
        chosen,
        max_age=_YEAR,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
    return response
