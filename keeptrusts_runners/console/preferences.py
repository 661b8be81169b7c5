"""What people set for themselves: kept with the account, and the theme in a cookie besides, so that
pages without an account have it too."""

from __future__ import annotations

from django import forms
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.refusals import answers_errors
from keeptrusts_runners.console.responses import local_path, see_other
from keeptrusts_runners.errors import field_error
from keeptrusts_runners.identity import preferences
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.preferences import THEMES, Preferences, zones
from keeptrusts_runners.identity.scopes import Scope

THEME_COOKIE = "theme"
_YEAR = 365 * 24 * 3600


def of(request: HttpRequest) -> Preferences:
    """Those of who is signed in; of anybody else the theme alone is known."""
    known: Preferences | None = getattr(request, "preferences", None)
    theme = {"theme": request.COOKIES.get(THEME_COOKIE)}
    return known or preferences.changed(Preferences(), theme)


class PreferencesForm(forms.Form):
    """The whole of them, as they stand or as they were sent."""

    zone = forms.ChoiceField(
        label="Zone of all times",
        choices=lambda: [(name, name.replace("_", " ")) for name in zones()],
        help_text="Of every time on the console's pages. Audit records, addresses, exports and "
        "the API are in UTC whatever is chosen.",
    )
    theme = forms.ChoiceField(
        label="Theme",
        choices=[(name, name.capitalize()) for name in THEMES],
        widget=forms.RadioSelect,
    )
    shortcuts = forms.BooleanField(
        label="Single keys act: j and k, / and ? and the others that ? lists", required=False
    )
    updates = forms.BooleanField(label="Pages keep themselves fresh when opened", required=False)


@page(Scope.READ, methods=("GET", "POST"))
def me(request: Page) -> HttpResponse:
    """`GET, POST /runners/me`."""
    initial = {name: getattr(request.preferences, name) for name in PreferencesForm.base_fields}
    form = PreferencesForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        chosen = Preferences(**form.cleaned_data)
        preferences.keep(request.person, chosen)
        response = see_other(reverse("me"), request=request, flash="Preferences saved.")
        return remember_theme(response, chosen.theme)
    status = 422 if form.errors else 200
    return render(request, "runners/me.html", {"form": form}, status=status)


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
