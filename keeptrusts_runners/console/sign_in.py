"""Signing in and out, and saying in which organization to act.

One generic refusal whatever was wrong, and one wait for whoever tries too often, so that nobody
learns which addresses have an account; the session key is new after signing in (`login` rotates
it) and worthless after signing out.
"""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.preferences import remember_theme
from keeptrusts_runners.console.refusals import answers_errors
from keeptrusts_runners.console.responses import SIGN_IN, local_path, see_other
from keeptrusts_runners.console.typed import FIELD, keep
from keeptrusts_runners.errors import TooManyRequests
from keeptrusts_runners.identity import browser, passwords, preferences

REFUSED = "This e-mail address and password do not fit together. Check both, then try again."


class SignInForm(forms.Form):
    """The e-mail address is not checked for its form: that too would be a second answer."""

    email = forms.CharField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(
            attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    # Long pass phrases are welcome; hashing megabytes is not.
    password = forms.CharField(
        label="Password",
        max_length=1024,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


def _then(request: HttpRequest) -> str:
    wanted = request.POST.get("next") or request.GET.get("next")
    return local_path(request, wanted) or navigation.home()


@never_cache
@sensitive_post_parameters("password")
@answers_errors("GET", "POST")
def sign_in(request: HttpRequest) -> HttpResponse:
    """`GET, POST /sign-in?next=`."""
    if request.method != "POST":
        if get_user(request).is_authenticated:
            return see_other(_then(request))
        return ask(request, SignInForm())
    form = SignInForm(request.POST)
    if not form.is_valid():
        return ask(request, form, status=422)
    try:
        user = passwords.verify(**form.cleaned_data, request=request)
    except TooManyRequests as error:
        form.add_error(None, error.detail)
        response = ask(request, form, status=error.status)
        response["Retry-After"] = str(error.retry_after)
        return response
    if user is None:
        form.add_error(None, REFUSED)
        return ask(request, form, status=422)
    login(request, user)
    keep(request)
    return remember_theme(see_other(_then(request)), preferences.of(user).theme)


def ask(
    request: HttpRequest,
    form: SignInForm,
    *,
    then: str | None = None,
    typed: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page with the form; `typed` is what another form held that was not sent."""
    context = {
        "form": form,
        "next": then or _then(request),
        "typed": typed or request.POST.get(FIELD, ""),
        "action": SIGN_IN,
    }
    return render(request, "console/sign_in.html", context, status=status)


@never_cache
@answers_errors("POST")
def sign_out(request: HttpRequest) -> HttpResponse:
    """`POST /sign-out`. A GET does nothing: an image on another site must not sign anyone out."""
    logout(request)
    return see_other(SIGN_IN, request=request, flash="You are signed out.")


@never_cache
@answers_errors("GET", "POST")
def choose_organization(request: HttpRequest) -> HttpResponse:
    """`GET, POST /choose-organization?next=`: for people with several memberships, or none."""
    user = get_user(request)
    if not user.is_authenticated:
        return see_other(SIGN_IN)
    memberships = browser.memberships(user)
    if request.method == "POST":
        wanted = request.POST.get("organization", "")
        for membership in memberships:
            if str(membership.organization_id) == wanted:
                browser.choose_organization(request, membership.organization_id)
                return see_other(_then(request))
        messages.error(request, "Choose one of your organizations.")
        return see_other(request.get_full_path())
    context = {
        "memberships": memberships,
        "chosen": request.session.get(browser.SESSION_KEY),
        "next": _then(request),
        "email": user.email,
    }
    return render(request, "console/choose_organization.html", context)
