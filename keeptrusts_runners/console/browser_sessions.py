"""Browser sessions that begin and end by the database's clock: all servers agree on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession

from keeptrusts_runners import clock
from keeptrusts_runners.clock import DatabaseNow


class SessionStore(db.SessionStore):
    """Django's, with another clock."""

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        running = self.model.objects.filter(expire_date__gt=DatabaseNow())
        found = running.filter(session_key=self.session_key).first()
        if found is None:
            self._session_key = None
        return found

    def get_expiry_date(self, **given: Any) -> datetime:
        return super().get_expiry_date(**({"modification": clock.now()} | given))
