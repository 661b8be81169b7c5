"""The API's denials, on the audit log."""

from __future__ import annotations

from django.http import HttpRequest

from keeptrusts_runners.api import refusals
from keeptrusts_runners.errors import DomainError
from keeptrusts_runners.evidence import denials
from keeptrusts_runners.identity.principal import Principal


@refusals.register
def record(principal: Principal | None, request: HttpRequest, error: DomainError) -> None:
    """By the route and not the address: ids in it would make each denial one of its own."""
    match = request.resolver_match
    if match is not None:
        denials.keep(principal, request.method or "", match.route, error)
