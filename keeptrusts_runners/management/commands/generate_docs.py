"""`generate_docs [--check]`: writes the documents that are made from the code."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners.api import docs, schema
from keeptrusts_runners.env import BASE_DIR
from keeptrusts_runners.management import lifecycle_page

DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "docs/lifecycle.md": lambda: lifecycle_page.render().encode(),
    "docs/errors.md": lambda: docs.render_errors_markdown().encode(),
    "docs/openapi.yaml": lambda: schema.document_bytes("yaml"),
    # Only the tests know what they prove; nothing else of the product imports them.
    "docs/proofs.md": lambda: import_module("tests.proofs").render().encode(),
}


class Command(BaseCommand):
    help = "Write the documents that are generated from the code: " + ", ".join(DOCUMENTS) + "."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; exit 1 if one would change"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stale = {name: content for name, content in generated().items() if not _is(name, content)}
        if options["check"]:
            if stale:
                raise CommandError(f"Stale: {', '.join(stale)}. Run manage.py generate_docs.")
            return
        for name, content in stale.items():
            (BASE_DIR / name).write_bytes(content)
            self.stdout.write(f"wrote {name}")


def generated() -> dict[str, bytes]:
    """Every generated document as it should be."""
    return {name: make() for name, make in DOCUMENTS.items()}


def _is(name: str, content: bytes) -> bool:
    path: Path = BASE_DIR / name
    return path.exists() and path.read_bytes() == content
