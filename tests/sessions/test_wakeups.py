"""Signals: how they reach the database, and what becomes of the one who sends them."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection

from sessions import wakeups
from sessions.wakeups import Notifier


def test_signals_go_the_way_that_the_application_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "prepare_threshold": 5}
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", connection.settings_dict["OPTIONS"] | more
    )
    address = wakeups.address()
    assert address["dbname"] == connection.settings_dict["NAME"]
    assert (address["sslmode"], address["sslrootcert"]) == ("verify-full", "/etc/ca.pem")
    assert psycopg.conninfo.make_conninfo(**address)
    assert "prepare_threshold" not in address


def test_a_signal_that_could_not_be_sent_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[set[UUID]] = []
    told = threading.Event()
    errors = [psycopg.OperationalError("no server"), RuntimeError("anything")]

    def send(self: Notifier, due: set[UUID]) -> None:
        sent.append(due)
        told.set()
        if errors:
            raise errors.pop()

    monkeypatch.setattr(Notifier, "_send", send)
    notifier = Notifier()
    announced = [uuid4() for _ in range(3)]
    for organization_id in announced:
        told.clear()
        notifier.add(organization_id)
        assert told.wait(30)
    assert sent == [{organization_id} for organization_id in announced]
