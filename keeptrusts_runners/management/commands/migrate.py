"""`migrate` as the role that may: everything it makes belongs to the owner."""

from typing import Any

from django.core.management.base import CommandParser
from django.core.management.commands import migrate

from keeptrusts_runners.management.conversation import require_connection


class Command(migrate.Command):
    """Django's command, on the `migrate` connection unless another is named."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="migrate")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["database"] == "migrate":
            require_connection("migrate")
        super().handle(*args, **options)
