"""/llms.txt: what a program that reads prose needs to use the API."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from keeptrusts_runners.api.schema import document_bytes
from keeptrusts_runners.identity.scopes import ROLE_SCOPES


class Operation(NamedTuple):
    method: str
    path: str
    access: str
    summary: str


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The same for everybody: what may be called with which scope, and what goes wrong."""
    context = {"url": settings.PUBLIC_URL, "roles": list(_roles()), "groups": list(_groups())}
    return render(request, "llms.txt", context, content_type="text/plain; charset=utf-8")


def _roles() -> Iterator[tuple[str, str]]:
    for role, scopes in ROLE_SCOPES.items():
        yield role.value, " ".join(sorted(scopes))


def _groups() -> Iterator[tuple[str, list[Operation]]]:
    groups: dict[str, list[Operation]] = defaultdict(list)
    for path, methods in json.loads(document_bytes("json"))["paths"].items():
        for method, described in methods.items():
            operation = Operation(method.upper(), path, _access(described), described["summary"])
            groups[described["tags"][0]].append(operation)
    yield from groups.items()


def _access(described: Any) -> str:
    """The scopes that open it, as the schema lists them."""
    ways = described["security"]
    scopes = [scope for way in ways for scope in way["bearer"]]
    return " or ".join(scopes) or ("any token" if ways else "no token")
