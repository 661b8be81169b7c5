"""Lists: limits, cursors through all pages while rows are inserted, filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grants.models import PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.clock import rfc3339
from keeptrusts_runners.evidence import signer
from keeptrusts_runners.identity.scopes import Role
from sessions.models import RunnerSession
from tests import factories
from tests.contract.calls import problem
from tests.people import Org


def _event(org: Org, made: dict[str, Any]) -> None:
    session = made.setdefault("session", None) or factories.running(org)
    made["session"] = session
    answer = org.runner.api.post(factories.path(session, "events"), {"kind": "log"})
    assert answer.status_code == 201, answer.content


def _artifact(org: Org, made: dict[str, Any]) -> None:
    session = made.setdefault("session", None) or factories.running(org)
    made["session"] = session
    path = f"{factories.path(session, 'artifacts')}?name=a"
    answer = org.runner.api.request("POST", path, raw=b"x", **{"Content-Type": "text/plain"})
    assert answer.status_code == 201, answer.content


def _grant(org: Org, made: dict[str, Any]) -> None:
    session = made.setdefault("session", None) or factories.running(org)
    made["session"] = session
    body = {"operation": "x", "reason": "r", "ttl_seconds": 60}
    answer = org.operator.api.post(factories.path(session, "permissions"), body)
    assert answer.status_code == 201, answer.content


def _request(org: Org, made: dict[str, Any]) -> None:
    session = made.setdefault("session", None) or factories.running(org)
    made["session"] = session
    body = {"operation": "x", "reason": "r", "ttl_seconds": 60}
    answer = org.runner.api.post(factories.path(session, "permissions"), body)
    assert answer.status_code == 201, answer.content


def _checkpoint(org: Org, made: dict[str, Any]) -> None:
    session = made.setdefault("session", None) or factories.running(org)
    made["session"] = session
    answer = org.runner.api.post(factories.path(session, "checkpoint"), {"data": {}})
    assert answer.status_code == 201, answer.content


def _harness(org: Org, made: dict[str, Any]) -> None:
    profile = made.setdefault("profile", None) or factories.profile(org)
    made["profile"] = profile
    path = f"/runners/profiles/{ids.encode('prof', profile.id)}/harnesses"
    body = {"version": ids.new().hex, "image_ref": "x"}
    assert org.operator.api.post(path, body).status_code == 201


def _batch(org: Org, made: dict[str, Any]) -> None:
    body = {"filter": {"task_id": "none"}, "reason": "r"}
    assert org.operator.api.post("/runners/sessions/bulk/cancel", body).status_code == 201


def _checkpoint_of_log(org: Org, made: dict[str, Any]) -> None:
    factories.pending(org)
    signer.anchor(org.id)


LISTS: dict[str, tuple[Callable[[Org, dict[str, Any]], Any], str, bool]] = {
    "profiles": (lambda org, made: factories.profile(org), "/runners/profiles", True),
    "harnesses": (_harness, "/runners/profiles/{profile}/harnesses", True),
    "sessions": (lambda org, made: factories.pending(org), "/runners/sessions", True),
    "queue": (lambda org, made: factories.pending(org), "/runners/sessions?view=queue", False),
    "batches": (_batch, "/runners/batches", True),
    "checkpoints": (_checkpoint, "/runners/sessions/{session}/checkpoints", True),
    "events": (_event, "/runners/sessions/{session}/events", False),
    "events backwards": (_event, "/runners/sessions/{session}/events?before_seq=1000", True),
    "artifacts": (_artifact, "/runners/sessions/{session}/artifacts", True),
    "grants": (_grant, "/runners/sessions/{session}/permissions", True),
    "all grants": (_grant, "/runners/permissions", True),
    "requests": (_request, "/runners/permissions?state=requested", False),
    "authority": (_grant, "/runners/authority", True),
    "log": (_checkpoint_of_log, "/runners/evidence/checkpoints", True),
    "leaves": (_checkpoint_of_log, "/runners/evidence/leaves", False),
    "members": (lambda org, made: org.person(Role.VIEWER), "/members", True),
    "service accounts": (lambda org, made: org.machine(), "/service-accounts", True),
}


def _path(name: str, made: dict[str, Any]) -> str:
    known = {}
    if session := made.get("session"):
        known["session"] = ids.encode("sess", session.id)
    if profile := made.get("profile"):
        known["profile"] = ids.encode("prof", profile.id)
    return LISTS[name][1].format(**known)


def _key(item: dict[str, Any]) -> Any:
    names = ("id", "user_id", "size", "index", "grant_id")
    return next(item[name] for name in names if name in item)


def _get(org: Org, path: str, **query: Any) -> Any:
    joint = "&" if "?" in path else "?"
    text = "&".join(f"{name}={value}" for name, value in query.items() if value is not None)
    answer = org.admin.api.get(f"{path}{joint}{text}" if text else path)
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.proves("api.pages")
@pytest.mark.parametrize("name", LISTS)
def test_every_row_is_seen_once_while_others_are_inserted(name: str) -> None:
    org, made = Org(), {}
    assert all((org.admin, org.operator, org.runner))
    make, _, newest_first = LISTS[name]
    for _ in range(7):
        make(org, made)
    path = _path(name, made)
    there = [_key(item) for item in _get(org, path, limit=200)["items"]]
    seen: list[Any] = []
    cursor = None
    for _ in range(200):
        page = _get(org, path, limit=2, cursor=cursor)
        assert len(page["items"]) <= 2
        seen += [_key(item) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 2
        if len(seen) < 8:
            make(org, made)
    assert len(seen) == len(set(seen))
    assert [key for key in seen if key in there] == there
    # What came in while reading stands before what was read, or after it: never in between.
    rest = [key for key in seen if key not in there]
    assert seen == (there if newest_first else there + rest)


@pytest.mark.parametrize("name", LISTS)
def test_the_last_page_says_so_exactly(name: str) -> None:
    org, made = Org(), {}
    make, _, _ = LISTS[name]
    for _ in range(2):
        make(org, made)
    path = _path(name, made)
    total = len(_get(org, path)["items"])
    page = _get(org, path, limit=total)
    assert (len(page["items"]), page["next_cursor"]) == (total, None)
    assert _get(org, path, limit=total - 1)["next_cursor"] is not None


@pytest.mark.parametrize("name", LISTS)
def test_hostile_parameters_of_a_list(name: str) -> None:
    org, made = Org(), {}
    LISTS[name][0](org, made)
    path = _path(name, made)
    joint = "&" if "?" in path else "?"
    for query, code in HOSTILE_QUERIES.items():
        answer = org.admin.api.get(f"{path}{joint}{query}")
        assert answer.status_code == 400, (query, answer.content)
        document = problem(answer, 400)
        assert document["code"] in code.split("|"), (query, document)


HOSTILE_QUERIES = {
    "limit=0": "invalid_parameter",
    "limit=-1": "invalid_parameter",
    "limit=201": "invalid_parameter",
    f"limit=1{'0' * 30}": "invalid_parameter",
    "limit=1e2": "invalid_parameter",
    "limit=%D9%A1": "invalid_parameter",
    "limit=1.0": "invalid_parameter",
    "limit=+1": "invalid_parameter",
    "limit=": "invalid_parameter",
    "limit=x": "invalid_parameter",
    "limit=1&limit=2": "unknown_parameter",
    "limit[]=1": "unknown_parameter",
    "cursor=": "invalid_parameter",
    "cursor=x": "invalid_cursor",
    "cursor=AAAAAAAAAAAAAAAAAAAAAAAA": "invalid_cursor",
    "cursor=eyJpZCI6MX0": "invalid_cursor",
    "cursor=%00": "invalid_parameter",
    "cursor=../../etc/passwd": "invalid_cursor",
    f"cursor={'A' * 2000}": "invalid_cursor",
    f"cursor={'A' * 5000}": "invalid_parameter",
    "cursor=a&cursor=b": "unknown_parameter",
    "page=2": "unknown_parameter",
    "offset=1": "unknown_parameter",
    "order=name": "unknown_parameter",
    "organization_id=org_00000000000000000000000000": "unknown_parameter",
    "id=1": "unknown_parameter",
    "id__gt=1": "unknown_parameter",
    "lease_account=x": "unknown_parameter",
    "organization__name__startswith=a": "unknown_parameter",
    "format=api": "unknown_parameter",
    "x%00y=1": "unknown_parameter",
    "%FF=1": "unknown_parameter",
    "'%20OR%201=1": "unknown_parameter",
    f"{'x' * 5000}=1": "unknown_parameter",
    "&".join(f"a{number}=1" for number in range(3000)): "unknown_parameter|malformed",
}


def test_a_cursor_leads_nowhere_else() -> None:
    org, other = Org(), Org()
    for each in (org, other):
        for _ in range(3):
            factories.pending(each)
    cursor = _get(org, "/runners/sessions", limit=1)["next_cursor"]
    assert _get(org, "/runners/sessions", limit=1, cursor=cursor)["items"]
    another = "B" if cursor[0] == "A" else "A"
    forged = [cursor[:-1], cursor + "A", cursor[::-1], cursor.swapcase(), another + cursor[1:]]
    for path, used in (
        *(("/runners/sessions", wrong) for wrong in forged),
        ("/runners/profiles", cursor),
        ("/runners/sessions?view=queue", cursor),
    ):
        joint = "&" if "?" in path else "?"
        answer = org.admin.api.get(f"{path}{joint}cursor={used}")
        problem(answer, 400, "invalid_cursor")
    problem(other.admin.api.get(f"/runners/sessions?cursor={cursor}"), 400, "invalid_cursor")


# --- filters ---------------------------------------------------------------------------------


def _ids(org: Org, query: str, path: str = "/runners/sessions") -> list[Any]:
    return [_key(item) for item in _get(org, f"{path}?{query}")["items"]]


def _name(session: RunnerSession) -> str:
    return ids.encode("sess", session.id)


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def sessions(org: Org) -> dict[str, RunnerSession]:
    one, two = factories.profile(org), factories.profile(org)
    found = {
        "pending": factories.pending(org, one, task_id="a", labels={"team": "blue", "n": "1"}),
        "urgent": factories.pending(org, two, task_id="b", labels={"team": "red"}, priority=5),
        "running": factories.running(org, factories.pending(org, two, labels={"team": "blue"})),
        "failed": factories.running(org, factories.pending(org, one)),
        "cancelled": factories.pending(org, one),
    }
    path = factories.path(found["failed"])
    failed = {"state": "failed", "error": {"code": "tests_failed"}}
    assert org.runner.api.patch(path, failed).status_code == 200
    path = factories.path(found["cancelled"])
    assert org.operator.api.post(f"{path}/cancel").status_code == 200
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=pending", {"pending", "urgent"}),
        ("state=running,failed", {"running", "failed"}),
        ("state=lost", set()),
        ("task_id=a", {"pending"}),
        ("task_id=A", set()),
        ("task_id=%27%20OR%201%3D1", set()),
        ("reason=tests_failed", {"failed"}),
        ("label=team:blue", {"pending", "running"}),
        ("label=team:blue&label=n:1", {"pending"}),
        ("label=team:", set()),
        ("view=queue", {"pending", "urgent"}),
        ("view=active", {"running"}),
        ("view=completed", {"failed", "cancelled"}),
        ("state=pending&label=team:red", {"urgent"}),
    ],
)
def test_sessions_by(
    org: Org, sessions: dict[str, RunnerSession], query: str, expected: set[str]
) -> None:
    assert set(_ids(org, query)) == {_name(sessions[name]) for name in expected}


def test_sessions_by_profile_and_time(org: Org, sessions: dict[str, RunnerSession]) -> None:
    profile = ids.encode("prof", sessions["urgent"].profile_id)
    assert set(_ids(org, f"profile_id={profile}")) == {
        _name(sessions["urgent"]), _name(sessions["running"]),
    }  # fmt: skip
    assert _ids(org, f"profile_id={ids.encode('prof', ids.new())}") == []
    at = sessions["urgent"].created_at
    before, after = (rfc3339(at + timedelta(microseconds=shift)) for shift in (-1, 1))
    between = _ids(org, f"created_after={before}&created_before={after}")
    assert between == [_name(sessions["urgent"])]
    zoned = str(after).replace("Z", "%2B00:00")
    assert _ids(org, f"created_after={before}&created_before={zoned}") == between
    ended = _ids(org, f"ended_after={before}")
    assert set(ended) == {_name(sessions["failed"]), _name(sessions["cancelled"])}
    assert _ids(org, "ended_before=1990-01-01T00:00:00Z") == []


def test_the_queue_is_in_the_order_of_claims(org: Org, sessions: dict[str, RunnerSession]) -> None:
    assert _ids(org, "view=queue") == [_name(sessions["urgent"]), _name(sessions["pending"])]


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize(
    "query",
    [
        "state=", "state=x", "state=pending,x", "state=pending,", "state=,", "state=PENDING",
        "state=pending&state=failed", "view=x", "view=queue,active", "profile_id=x",
        "profile_id=sess_00000000000000000000000000", "profile_id=prof_0",
        "profile_id=prof_zzzzzzzzzzzzzzzzzzzzzzzzzz", "harness_id=1", "label=x", "label=:x",
        "label=a:1&label=a:2", "label=", "created_after=yesterday", "created_after=2026-01-01",
        "created_after=2026-01-01T00:00:00", "created_after=2026-01-01T00:00:00+00:00",
        "created_after=0001-01-01T00:00:00Z", "created_after=9999-12-31T23:59:60Z",
        "created_before=99999-01-01T00:00:00Z", "ended_after=1", f"task_id={'x' * 201}",
        "task_id=%00", "task_id=a%0Ab", "reason=%1b[31m", "task_id=%ED%A0%80%00",
    ],
)  # fmt: skip
def test_hostile_filters_are_refused(org: Org, query: str) -> None:
    answer = org.viewer.api.get(f"/runners/sessions?{query}")
    assert answer.status_code == 400, answer.content
    document = problem(answer, 400)
    assert query.partition("=")[0] in document["detail"]


def test_profiles_and_harnesses_by(org: Org) -> None:
    one = factories.profile(org, labels={"zone": "eu"}, execution_target="metal")
    path = f"/runners/profiles/{ids.encode('prof', one.id)}"
    name = ids.encode("prof", one.id)
    assert _ids(org, "label=zone:eu", "/runners/profiles") == [name]
    assert _ids(org, f"name={one.name}", "/runners/profiles") == [name]
    assert _ids(org, "execution_target=metal", "/runners/profiles") == [name]
    assert org.operator.api.delete(path).status_code == 204
    assert _ids(org, "status=archived", "/runners/profiles") == [name]
    assert name not in _ids(org, "status=active,paused", "/runners/profiles")
    other = factories.profile(org)
    path = f"/runners/profiles/{ids.encode('prof', other.id)}/harnesses"
    made = org.operator.api.post(path, {"version": "1", "image_ref": "x"}).json()
    assert _ids(org, "status=active", path) == [made["id"]]
    assert _ids(org, "status=recalled,deprecated", path) == []


def test_events_by() -> None:
    org = Org()
    session = factories.running(org)
    path = factories.path(session, "events")
    items = [
        {"kind": "log", "message": "a", "step": "one"},
        {"kind": "warning", "message": "b", "step": "two"},
        {"kind": "failure", "message": "c"},
        {"kind": "x.custom", "level": "debug"},
    ]
    assert org.runner.api.post(path, {"events": items}).status_code == 200
    every = _get(org, path)["items"]
    first = every[-4]["seq"]

    def seqs(query: str) -> list[int]:
        return [item["seq"] - first for item in _get(org, f"{path}?{query}")["items"]]

    assert seqs(f"after_seq={first - 1}") == [0, 1, 2, 3]
    assert seqs(f"before_seq={first + 2}&limit=2") == [1, 0]
    assert seqs("kind=warning") == [1]
    assert seqs("level=error,debug") == [2, 3]
    assert seqs("step=one") == [0]
    assert seqs("lease_epoch=2") == []
    assert seqs(f"recorded_after={every[-4]['recorded_at']}&kind=log") == []
    assert seqs(f"recorded_before={every[-4]['recorded_at']}&kind=log") == []
    for query in (
        "after_seq=-1", "after_seq=x", "after_seq=9007199254740992", "after_seq=1e3",
        f"after_seq={10**30}", "level=loud", "kind=%00", "lease_epoch=", "before_seq=%D9%A1",
    ):  # fmt: skip
        problem(org.viewer.api.get(f"{path}?{query}"), 400, "invalid_parameter")


def test_artifacts_and_grants_by() -> None:
    org = Org()
    session = factories.running(org)
    path = factories.path(session, "artifacts")
    for name, kind in (("a", "log"), ("b", "bundle")):
        answer = org.runner.api.request(
            "POST", f"{path}?name={name}&kind={kind}", raw=b"x", **{"Content-Type": "text/plain"}
        )
        assert answer.status_code == 201
    assert [item["name"] for item in _get(org, f"{path}?kind=log")["items"]] == ["a"]
    assert [item["kind"] for item in _get(org, f"{path}?name=b")["items"]] == ["bundle"]
    path = factories.path(session, "permissions")
    body = {"operation": "one", "reason": "r", "ttl_seconds": 60}
    issued = org.operator.api.post(path, body).json()["id"]
    asked = org.runner.api.post(path, {**body, "operation": "two"}).json()["id"]
    assert _ids(org, "state=active", path) == [issued]
    assert _ids(org, "state=requested", "/runners/permissions") == [asked]
    assert _ids(org, "operation=two", "/runners/permissions") == [asked]
    assert _ids(org, f"session_id={_name(session)}", "/runners/permissions") == [asked, issued]
    problem(org.viewer.api.get(f"{path}?state=open"), 400, "invalid_parameter")


def test_a_grant_that_is_over_is_listed_as_over() -> None:
    """By the clock, whether or not anything has written its end down."""
    org = Org()
    session = factories.running(org)
    path = factories.path(session, "permissions")
    body = {"operation": "one", "reason": "r", "ttl_seconds": 60}
    issued = org.operator.api.post(path, body).json()["id"]
    asked = org.runner.api.post(path, body).json()["id"]
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    with org.scope():
        PermissionGrant.objects.update(expires_at=long_ago, request_lapses_at=long_ago)
    for state, expected in {
        "active": [], "requested": [], "expired": [issued], "lapsed": [asked],
        "active,expired": [issued], "lapsed,expired,requested": [asked, issued],
    }.items():  # fmt: skip
        found = _get(org, f"{path}?state={state}")["items"]
        assert [item["id"] for item in found] == expected, state
        assert all(item["state"] in state.split(",") for item in found)
