"""What the product's commands share: refusals as one line, answers as text or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DataError

from keeptrusts_runners import ids
from keeptrusts_runners.errors import DomainError

P = ParamSpec("P")
R = TypeVar("R")


# Where an option's name is not that of the field it fills.
_OPTIONS = {"password": "password-stdin", "owner_user_id": "owner"}


def told_plainly(handle: Callable[P, R]) -> Callable[P, R]:
    """A refusal ends the command with a line for each option that is wrong, and no traceback."""

    @wraps(handle)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handle(*args, **kwargs)
        except DomainError as error:
            raise CommandError("\n".join(_told(error)) or error.detail) from None
        except DataError:
            raise CommandError("A value is too long, or cannot be stored as it is.") from None

    return run


def _told(error: DomainError) -> list[str]:
    wrong: dict[str, list[str]] = {}
    for each in error.errors:
        name = each.pointer.strip("/")
        wrong.setdefault(_OPTIONS.get(name, name), []).append(each.detail)
    return [f"--{option}: {' '.join(details)}" for option, details in wrong.items()]


def text(value: str) -> str:
    """The type of an option that is stored and shown: one line of text."""
    if not value.isprintable():
        raise argparse.ArgumentTypeError(f"{value!r} is not one line of printable text")
    return value


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
