"""/runners/me: what people set for themselves."""

from __future__ import annotations

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.preferences import remember_theme
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity import preferences
from keeptrusts_runners.identity.preferences import THEMES, Preferences, zones
from keeptrusts_runners.identity.scopes import Scope


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
