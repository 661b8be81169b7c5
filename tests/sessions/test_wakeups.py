"""Signals: how they reach the database, and what becomes of the one who sends them."""

from __future__ import annotations

import queue
import threading
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from sessions import wakeups
from sessions.wakeups import CLAIMABLE, LOST, Due, Notifier


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
    monkeypatch.setattr(wakeups, "LATER_SECONDS", 0.01)
    sent: queue.SimpleQueue[Due] = queue.SimpleQueue()
    errors = [psycopg.OperationalError("no server"), RuntimeError("anything")]

    def send(self: Notifier, due: Due) -> None:
        sent.put(due)
        if errors:
            raise errors.pop()

    monkeypatch.setattr(Notifier, "_send", send)
    notifier = Notifier()
    first, second = uuid4(), uuid4()
    notifier.add(first)
    assert sent.get(timeout=30).keys() == {(CLAIMABLE, str(first))}
    # That something was not told is told as soon as it can be.
    assert [sent.get(timeout=30) for _ in range(2)] == [LOST, LOST]
    notifier.add(second)
    assert sent.get(timeout=30).keys() == {(CLAIMABLE, str(second))}


def test_of_a_ledger_the_newest_head_is_told_once() -> None:
    organization_id, session_id = uuid4(), uuid4()
    notifier = Notifier()
    notifier._thread = threading.current_thread()
    for seq in (1, 2, 7):
        notifier.add_grown(organization_id, {session_id: seq})
    assert list(notifier._take().values()) == [f"{organization_id} {session_id} 7"]
    assert notifier._take(timeout=0) == {}


def test_a_burst_is_told_in_few_notifications_that_lose_none_of_it() -> None:
    organization_id, notifier = uuid4(), Notifier()
    notifier._thread = threading.current_thread()
    notifier.add(organization_id)
    notifier.add_grown(organization_id, {uuid4(): 2**53 for _ in range(1000)})
    due = notifier._take()
    told = list(wakeups._notifications(due))
    assert len(told) < 20
    assert max(len(payload) for _, payload in told) < 8000
    words = [word for _, payload in told for word in payload.split("\n")]
    assert sorted(words) == sorted(due.values())
