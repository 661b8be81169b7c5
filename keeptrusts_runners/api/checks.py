"""System checks: a route whose access nobody declared does not start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core import checks
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from keeptrusts_runners.api import views


def register_all() -> None:
    checks.register(every_action_is_declared, "api")


def every_action_is_declared(**_: Any) -> list[checks.CheckMessage]:
    """Every routed action of an ApiViewSet has its scope, and every other API view is public by
    being a PublicViewSet, so that leaving something out cannot open it."""
    return [message for callback in routed_views() for message in _check(callback)]


def routed_views(urlconf: str | None = None) -> Iterator[Any]:
    """The callbacks of all routes that are DRF views."""
    yield from _callbacks(get_resolver(urlconf).url_patterns)


def _callbacks(patterns: list[URLPattern | URLResolver]) -> Iterator[Any]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _callbacks(pattern.url_patterns)
        elif issubclass(getattr(pattern.callback, "cls", object), APIView):
            yield pattern.callback


def _check(callback: Any) -> Iterator[checks.CheckMessage]:
    view = callback.cls
    if not issubclass(view, views.DeclaredViewSet):
        yield checks.Error("is neither an ApiViewSet nor a PublicViewSet", obj=view, id="api.E001")
        return
    actions = set(callback.actions.values())
    for action in sorted(actions):
        if not callable(getattr(view, action, None)):
            yield checks.Error(f"has no action {action}", obj=view, id="api.E002")
    if not issubclass(view, views.ApiViewSet):
        return
    for action in sorted(actions - view.scopes.keys()):
        yield checks.Error(f"declares no scope for {action}", obj=view, id="api.E003")
    for action in sorted(view.session_token_actions - _all_methods(view)):
        yield checks.Error(f"opens {action}, which it has not", obj=view, id="api.E004")


def _all_methods(view: type) -> set[str]:
    return {name for name in dir(view) if callable(getattr(view, name, None))}
