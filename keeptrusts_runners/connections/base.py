"""A lasting connection that was closed from the other side shows it without being asked.

Django asks `SELECT 1` before it uses a lasting connection for the next request: one of about eight
times that a heartbeat waits for the database.
"""

from __future__ import annotations

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """Nothing to read means nothing has happened: a server that ends, or ends the connection,
        closes it. Where there is something, the question decides what it means."""
        if self.connection is None or self.connection.closed:
            return False
        look = select.poll()
        look.register(self.connection.fileno(), select.POLLIN)
        return not look.poll(0) or super().is_usable()
