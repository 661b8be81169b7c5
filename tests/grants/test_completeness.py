"""What a runner numbered itself: what has arrived and what has not, epoch by epoch, exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grants import completeness, ledger
from grants.ledger import Record
from tests import factories
from tests.factories import path, session_api
from tests.people import Org

_NUMBERS = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 400)), max_size=25)


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def model(arrived: list[int], declared: int | None) -> dict[str, Any]:
    """Number by number: a missing range is a longest run of numbers that did not arrive."""
    there, missing = set(arrived), []
    for number in range(1, max([*there, declared or 0], default=0) + 1):
        if number in there:
            continue
        if missing and missing[-1][1] == number - 1:
            missing[-1][1] = number
        else:
            missing.append([number, number])
    return {"declared": declared, "received": len(there), "missing": missing}


@pytest.mark.proves("events.completeness")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epochs=st.lists(_NUMBERS, min_size=1, max_size=3),
    declared=st.none() | st.integers(0, 420),
)
def test_received_and_missing_are_those_of_a_model(
    org: Org, epochs: list[list[int]], declared: int | None
) -> None:
    session = factories.claimed(org)
    with org.scope():
        for epoch, arrived in enumerate(epochs, start=1):
            if arrived:
                numbered = [Record("log", "system", epoch, client_seq=n) for n in arrived]
                ledger.append({session.id: numbered})
    ending: dict[str, Any] = {"state": "completed"}
    if declared is not None:
        ending["event_count"] = declared
    answer = session_api(org, session).patch(path(session), ending)
    assert answer.status_code == 200, answer.content
    found = answer.json()["completeness"]
    # One claim, one epoch that the session has; the others are told to the function itself.
    assert found == [{"epoch": 1, **model(epochs[0], declared)}]
    session.lease_epoch = len(epochs)
    with org.scope():
        told = completeness.completeness(session)
    assert told == [
        {"epoch": epoch, **model(arrived, declared if epoch == 1 else None)}
        for epoch, arrived in enumerate(epochs, start=1)
    ]


def test_ranges_beyond_what_an_answer_holds_are_left_out_but_never_the_last(org: Org) -> None:
    session = factories.running(org)
    events = [{"kind": "log", "client_seq": number} for number in range(2, 260, 2)]
    token = session_api(org, session)
    assert token.post(path(session, "events"), {"events": events}).status_code == 200
    answer = token.patch(path(session), {"state": "completed", "event_count": 300}).json()
    (entry,) = answer["completeness"]
    assert entry["received"] == 129
    assert entry["missing"][:2] == [[1, 1], [3, 3]]
    assert len(entry["missing"]) == completeness.MAX_RANGES + 1
    assert entry["missing"][-1] == [259, 300]
