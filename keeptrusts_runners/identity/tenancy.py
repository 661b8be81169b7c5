"""One organization at a time: the transaction in which its rows, and no others, exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection, transaction


@contextmanager
def organization_scope(organization_id: UUID, *, snapshot: bool = False) -> Iterator[None]:
    """A transaction that sees the rows of one organization only.

    With `snapshot` it reads only, and sees them all as they were at its first statement, however
    long it lasts.

    The setting is local to the transaction, and the row-level policies read it; without it every
    tenant table is empty. Durable, so that two scopes can never nest: an inner one would go on
    ruling the rest of the outer.
    """
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            if snapshot:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SELECT set_config('app.org_id', %s, true)", [str(organization_id)])
        yield
