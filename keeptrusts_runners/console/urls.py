"""The console's own addresses: everything that belongs to a browser rather than to the domain."""

from django.urls import path

from keeptrusts_runners.console import go, me, preferences, sign_in

urlpatterns = [
    path("sign-in", sign_in.sign_in, name="sign_in"),
    path("sign-out", sign_in.sign_out, name="sign_out"),
    path("choose-organization", sign_in.choose_organization, name="choose_organization"),
    path("preferences/theme", preferences.theme, name="theme"),
    path("runners/me", me.me, name="me"),
    path("runners/go", go.go, name="go"),
]
