"""The few answers a console view gives besides a page."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from django.contrib import messages
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

SIGN_IN = "/sign-in"


class SeeOther(HttpResponseRedirect):
    """After a POST: look there, with GET."""

    status_code = 303


def see_other(
    to: str, *, request: HttpRequest | None = None, flash: str = "", level: int = messages.SUCCESS
) -> SeeOther:
    """`flash` is shown once, on the next page; it needs the request."""
    if flash and request is not None:
        messages.add_message(request, level, flash)
    return SeeOther(to)


def local_path(request: HttpRequest, url: str | None) -> str | None:
    """`url` as path and query if it stays on this host, else None: no open redirects."""
    try:
        host = {request.get_host()}
    except DisallowedHost:
        return None
    if not url or not url_has_allowed_host_and_scheme(url, host, request.is_secure()):
        return None
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    # A path that begins with two slashes would name another host once the first is cut off.
    return path if path.startswith("/") and not path.startswith("//") else None


def came_from(request: HttpRequest) -> str | None:
    """The page that held the form, if it was one of ours."""
    return local_path(request, request.headers.get("Referer"))


def here(request: HttpRequest) -> str | None:
    """An address that GET can open: this page, or the one whose form was sent."""
    return request.get_full_path() if request.method in ("GET", "HEAD") else came_from(request)


def to_sign_in(request: HttpRequest, then: str | None) -> HttpResponse:
    to = f"{SIGN_IN}?{urlencode({'next': then})}" if then and then != "/" else SIGN_IN
    return SeeOther(to) if request.method == "POST" else HttpResponseRedirect(to)


def without_empty(request: HttpRequest) -> HttpResponse | None:
    """Where to go instead of `?state=&task_id=`, which is what a form with empty fields sends."""
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    kept = [(name, value) for name, value in pairs if value]
    if kept == pairs:
        return None
    return SeeOther(f"{request.path}?{urlencode(kept)}" if kept else request.path)


def is_fragment(request: HttpRequest) -> bool:
    """A page's own script asks, for a part of it or for its stream: changes how much is answered,
    never what may be done."""
    asks_for_stream = request.headers.get("Accept") == "text/event-stream"
    return asks_for_stream or request.headers.get("HX-Request") == "true"
