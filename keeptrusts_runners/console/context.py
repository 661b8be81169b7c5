"""What base.html needs on every page. Never asks the database: error pages use it too."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from keeptrusts_runners.console import navigation, preferences
from keeptrusts_runners.console.responses import here
from keeptrusts_runners.identity.preferences import THEMES


def now(request: HttpRequest | None) -> datetime:
    """The database's clock as the page read it, else this process's."""
    return getattr(request, "now", None) or timezone.now()


def _links(request: Any) -> list[navigation.Link]:
    return navigation.links(request.principal, request.path, getattr(request, "waiting", {}))


def console(request: HttpRequest) -> dict[str, Any]:
    """The context processor."""
    principal = getattr(request, "principal", None)
    return {
        "principal": principal,
        "organization_name": getattr(request, "organization_name", ""),
        "navigation": _links(request) if principal else [],
        "home": navigation.home(),
        "here": here(request) or navigation.home(),
        "preferences": preferences.of(request),
        "themes": THEMES,
        "zone": timezone.get_current_timezone_name(),
        "cost": getattr(request, "cost", None),
        "product_version": settings.VERSION,
        "request_id": getattr(request, "request_id", ""),
        "server_now": now(request),
    }
