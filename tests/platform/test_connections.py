"""Lasting connections: used again without a question, and made anew when they were closed."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import close_old_connections, connection
from django.db.backends.postgresql import base

from keeptrusts_runners import scratch


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the database answered whenever it was asked whether a connection is usable."""
    answers: list[bool] = []
    ask = base.DatabaseWrapper.is_usable

    def ask_and_note(self: Any) -> bool:
        answers.append(ask(self))
        return answers[-1]

    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", ask_and_note)
    return answers


def backend() -> int:
    """As a request does: the process at the other end, after the look at the connection."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def end(pid: int) -> None:
    with psycopg.connect(scratch.database_url("default"), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])


def test_a_connection_is_used_again_without_a_question(questions: list[bool]) -> None:
    assert backend() == backend()
    assert questions == []


def test_one_that_the_server_has_closed_is_made_anew(questions: list[bool]) -> None:
    first = backend()
    end(first)
    assert backend() != first
    assert questions == [False]


def test_one_that_has_something_to_tell_is_asked_and_kept(questions: list[bool]) -> None:
    first = backend()
    with connection.cursor() as cursor:
        cursor.execute("LISTEN kt_test")
    with psycopg.connect(scratch.database_url("default"), autocommit=True) as other:
        other.execute("NOTIFY kt_test")
    told = threading.Event()
    while not told.wait(0.01) and not questions:
        assert backend() == first
    assert questions == [True]


def test_one_that_was_closed_on_this_side_is_not_usable() -> None:
    backend()
    connection.connection.close()
    assert not connection.is_usable()
    close_old_connections()
    connection.close()
    assert backend()
