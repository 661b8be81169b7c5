"""What the product's commands share: refusals as one line, answers as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import ids
from keeptrusts_runners.errors import DomainError

P = ParamSpec("P")
R = TypeVar("R")


def told_plainly(handle: Callable[P, R]) -> Callable[P, R]:
    """A refusal ends the command with one line for each field, and no traceback."""

    @wraps(handle)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handle(*args, **kwargs)
        except DomainError as error:
            fields = [f"--{each.pointer.strip('/')}: {each.detail}" for each in error.errors]
            raise CommandError("\n".join(fields) or error.detail) from None

    return run


def require_connection(alias: str) -> None:
    """Raises CommandError where a server of one's own has no address for this role."""
    if variable := settings.ENVIRONMENT.lacks_address(alias):
        raise CommandError(
            f"{variable} is not set. With a server of your own, give each role its address; "
            "keeptrusts_runners/sql/roles.sql makes the roles."
        )


def organization_id(text: str) -> UUID:
    """The value of an `--org` option. Raises CommandError."""
    try:
        return ids.decode("org", text)
    except ValueError:
        raise CommandError("--org takes an organization's id, org_…") from None


def tell(command: BaseCommand, answer: Mapping[str, Any], *, as_json: bool) -> None:
    """One JSON object on a line, or a line for each member."""
    if as_json:
        command.stdout.write(json.dumps(answer))
        return
    width = max(map(len, answer))
    for name, value in answer.items():
        command.stdout.write(f"{name:<{width}}  {value}")
