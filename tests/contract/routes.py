"""Every operation of the API: who may call it, with what, and what it then answers.

Written out by hand from the contract, so that what the code declares is compared with something
that it did not produce. `test_access.py` fails for a route that has no row here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import signer
from sessions import batch_work
from sessions.states import State
from tests import factories
from tests.people import Machine, Org, Person
from tests.sessions import roads

PUBLIC = "public"
ANY_TOKEN = ""
READ, WRITE, DISPATCH = "runners:read", "runners:write", "runners:dispatch"
CLAIM, APPROVE, AUDIT = "runners:claim", "runners:approve", "runners:audit"
INTROSPECT = "runners:introspect"
MEMBERS = "members:admin"

SCOPES_OF_ROLE = {
    "viewer": {READ},
    "operator": {READ, WRITE, DISPATCH},
    "approver": {READ, APPROVE},
    "auditor": {READ, AUDIT},
    "runner": {READ, WRITE, CLAIM},
    "enforcer": {INTROSPECT},
    "admin": {READ, WRITE, DISPATCH, CLAIM, APPROVE, AUDIT, MEMBERS, INTROSPECT},
}


@dataclass
class Objects:
    """What one call needs to be there: made anew for each call that may change something."""

    org: Org
    path: dict[str, str] = field(default_factory=dict)
    body: Any = None
    holder: Machine | None = None


Prepare = Callable[[Org], Objects]


@dataclass(frozen=True)
class Route:
    """One operation. `template` names its path parameters as urls.py does; `succeeds` is the
    status of a good request. `executes` are writes under a lease: a runner's account needs to
    hold it. `configures` are those that no machine but an admin's may make, `operates` those that
    a runner's account may not."""

    method: str
    template: str
    scope: str
    prepare: Prepare
    succeeds: int = 200
    session_token: bool = False
    executes: bool = False
    # Whether a person's call is a write under the lease too, and so names its epoch.
    fences_people: bool = True
    configures: bool = False
    operates: bool = False
    decides: bool = False
    # Where nobody else's id stands in the path, the verdict for an outsider.
    outsider: int = 404
    # A scope that opens it as well.
    or_scope: str = ""
    creates: bool = False
    tagged: bool = False
    query: str = ""
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def opened_by(self) -> list[str]:
        return [scope for scope in (self.scope, self.or_scope) if scope]

    @property
    def name(self) -> str:
        return f"{self.method} {self.template}"

    def address(self, objects: Objects) -> str:
        """The path below /v1, with the query."""
        path = self.template.format(**objects.path)
        return path.removeprefix("/v1") + self.query


# --- what the calls need ---------------------------------------------------------------------


def nothing(org: Org) -> Objects:
    return Objects(org)


def _sess(session: Any) -> dict[str, str]:
    return {"session_id": ids.encode("sess", session.id)}


def profile(org: Org) -> Objects:
    return Objects(org, {"profile_id": ids.encode("prof", factories.profile(org).id)})


def paused_profile(org: Org) -> Objects:
    made = profile(org)
    answer = org.operator.api.post(f"/runners/profiles/{made.path['profile_id']}/pause")
    assert answer.status_code == 200, answer.content
    return made


def new_profile(org: Org) -> Objects:
    name = f"profile {ids.new().hex}"
    return Objects(org, body={"name": name, "description": "", "execution_target": "runner"})


def replacement(org: Org) -> Objects:
    found = profile(org)
    found.body = new_profile(org).body
    return found


def harness(org: Org) -> Objects:
    made = profile(org)
    body = {"version": ids.new().hex, "image_ref": f"registry.test/harness:{ids.new().hex}"}
    answer = org.operator.api.post(f"/runners/profiles/{made.path['profile_id']}/harnesses", body)
    assert answer.status_code == 201, answer.content
    return made


def one_harness(org: Org) -> Objects:
    made = harness(org)
    latest = org.viewer.api.get(f"/runners/profiles/{made.path['profile_id']}/harnesses/latest")
    made.path["harness_id"] = latest.json()["id"]
    return made


def recall(org: Org) -> Objects:
    made = one_harness(org)
    made.body = {"reason": "it is broken"}
    return made


def new_harness(org: Org) -> Objects:
    made = profile(org)
    made.body = {"version": "2026.05.01", "image_ref": "registry.test/harness:2026.05.01"}
    return made


def dispatch(org: Org) -> Objects:
    body = {"profile_id": profile(org).path["profile_id"], "task_id": "t", "input": {"job": "x"}}
    return Objects(org, body=body)


def pending(org: Org) -> Objects:
    return Objects(org, _sess(factories.pending(org)))


def queued(org: Org) -> Objects:
    factories.pending(org)
    return Objects(org)


def running(org: Org) -> Objects:
    return Objects(org, _sess(factories.running(org)), holder=org.runner)


def anchored(org: Org) -> Objects:
    made = running(org)
    signer.anchor(org.id)
    size = org.auditor.api.get("/runners/evidence/checkpoints").json()["items"][0]["size"]
    made.path["size"] = str(size)
    return made


def log(org: Org) -> Objects:
    """Addresses without anybody's id."""
    anchored(org)
    return Objects(org)


def running_with(body: Any) -> Prepare:
    def prepare(org: Org) -> Objects:
        made = running(org)
        made.body = body
        return made

    return prepare


def cancelled(org: Org) -> Objects:
    made = pending(org)
    answer = org.operator.api.post(f"/runners/sessions/{made.path['session_id']}/cancel")
    assert answer.status_code == 200, answer.content
    return made


def lost(org: Org) -> Objects:
    return Objects(
        org,
        _sess(roads.reach(org, State.LOST)),
        {"decision": "accept", "comment": "it is in the books"},
    )


def paused(org: Org) -> Objects:
    made = pending(org)
    answer = org.operator.api.post(f"/runners/sessions/{made.path['session_id']}/pause")
    assert answer.status_code == 200, answer.content
    return made


def bulk(org: Org) -> Objects:
    """A filter that finds nothing: such a batch is done at once, however many there are."""
    filter_ = {"profile_id": profile(org).path["profile_id"], "state": ["paused", "lost"]}
    return Objects(org, body={"filter": filter_, "reason": "it was wrong"})


def batch(org: Org) -> Objects:
    batch_work.run_once()  # An organization has few at work at once.
    session = factories.pending(org)
    filter_ = {"profile_id": ids.encode("prof", session.profile_id)}
    body = {"filter": filter_, "reason": "it was wrong"}
    answer = org.operator.api.post("/runners/sessions/bulk/cancel", body)
    assert answer.status_code == 201, answer.content
    return Objects(org, {"batch_id": answer.json()["id"]})


def artifact(org: Org) -> Objects:
    made = running(org)
    answer = org.runner.api.request(
        "POST",
        f"/runners/sessions/{made.path['session_id']}/artifacts?name=a.txt",
        raw=b"content",
        **{"Content-Type": "text/plain"},
    )
    assert answer.status_code == 201, answer.content
    made.path["artifact_id"] = answer.json()["id"]
    return made


def uploading(org: Org) -> Objects:
    made = running(org)
    answer = org.runner.api.request(
        "POST",
        f"/runners/sessions/{made.path['session_id']}/artifacts?name=a.txt",
        **{"Upload-Complete": "?0"},
    )
    assert answer.status_code == 201, answer.content
    made.path["artifact_id"] = answer.json()["id"]
    return made


def large(org: Org) -> Objects:
    return running_with({"name": "a.bin", "size_bytes": 1, "sha256": "0" * 64})(org)


_PARTIAL = {
    "Content-Type": "application/partial-upload", "Upload-Offset": "0", "Upload-Complete": "?1",
}  # fmt: skip
GRANT = {"operation": "network.egress:a.test:443", "reason": "to fetch", "ttl_seconds": 60}


def requested(org: Org) -> Objects:
    made = running(org)
    made.body = _grant(org.runner, made)
    return made


def denial(org: Org) -> Objects:
    made = requested(org)
    made.body = {"comment": "no"}
    return made


def _grant(by: Person | Machine, made: Objects) -> dict[str, str]:
    answer = by.api.post(f"/runners/sessions/{made.path['session_id']}/permissions", GRANT)
    assert answer.status_code == 201, answer.content
    made.path["grant_id"] = answer.json()["id"]
    return {"operation_digest": answer.json()["operation_digest"]}


def active(org: Org) -> Objects:
    made = running(org)
    _grant(org.operator, made)
    return made


def renewal(org: Org) -> Objects:
    made = active(org)
    made.body = {"ttl_seconds": 120}
    return made


def signing(org: Org) -> Objects:
    """A grant whose rule lets it be signed."""
    rule = {"operation": "*", "auto": True, "offline": True}
    on = factories.profile(org, grant_policy=[rule])
    session = factories.running(org, factories.pending(org, on))
    made = Objects(org, _sess(session), holder=org.runner)
    _grant(org.operator, made)
    made.body = {"audience": "proxy.test"}
    return made


def introspection(org: Org) -> Objects:
    made = active(org)
    return Objects(org, body={"grant_id": made.path["grant_id"]})


def revocation(org: Org) -> Objects:
    active(org)
    return Objects(org, body={"operation": "network.egress*", "reason": "it leaks"})


def granted(org: Org) -> Objects:
    active(org)
    return Objects(org)


def member(org: Org) -> Objects:
    return Objects(org, {"user_id": ids.encode("user", _someone(org).user.id)})


def member_with_role(org: Org) -> Objects:
    made = member(org)
    made.body = {"role": "auditor"}
    return made


def _someone(org: Org) -> Person:
    from keeptrusts_runners.identity.scopes import Role

    return org.person(Role.VIEWER)


def new_member(org: Org) -> Objects:
    return Objects(org, body={"email": _someone(Org()).user.email, "role": "viewer"})


def machine(org: Org) -> Objects:
    return Objects(org, {"service_account_id": ids.encode("sa", org.machine().account.id)})


def refused(org: Org) -> Objects:
    session = factories.claimed(org)
    assert org.runner.api.post(factories.path(session, "claim")).status_code == 409
    return Objects(org, _sess(session))


def executor(org: Org) -> Objects:
    return Objects(
        org, {"executor_id": ids.encode("exec", factories.asking(org, ids.new().hex).id)}
    )


def eviction(org: Org) -> Objects:
    found = executor(org)
    found.body = {"reason": "disk errors"}
    return found


def event(org: Org) -> Objects:
    made = running(org)
    body = {"kind": "log", "message": "m"}
    answer = org.runner.api.post(f"/runners/sessions/{made.path['session_id']}/events", body)
    assert answer.status_code == 201, answer.content
    made.path["event_id"] = answer.json()["id"]
    made.body = {"reason": "it was a secret"}
    return made


def held(org: Org) -> Objects:
    made = pending(org)
    hold = {"reason": "a law suit"}
    path = f"/runners/sessions/{made.path['session_id']}/hold"
    assert org.auditor.api.put(path, hold).status_code == 200
    made.body = None
    return made


def to_hold(org: Org) -> Objects:
    made = pending(org)
    made.body = {"reason": "a law suit"}
    return made


def to_annotate(org: Org) -> Objects:
    made = pending(org)
    made.body = {"message": "asked the vendor"}
    return made


def audited(org: Org) -> Objects:
    pending(org)
    newest = org.auditor.api.get("/runners/audit?limit=1").json()["items"][0]
    return Objects(org, {"audit_id": newest["id"]})


def new_machine(org: Org) -> Objects:
    return Objects(org, body={"name": f"machine {ids.new().hex}", "role": "runner"})


# --- the table -------------------------------------------------------------------------------

_PROFILES = "/v1/runners/profiles"
_PROFILE = f"{_PROFILES}/{{profile_id}}"
_HARNESS = f"{_PROFILE}/harnesses/{{harness_id}}"
_SESSIONS = "/v1/runners/sessions"
_SESSION = f"{_SESSIONS}/{{session_id}}"
_EXECUTORS = "/v1/runners/executors"
_EXECUTOR = f"{_EXECUTORS}/{{executor_id}}"
_BATCHES = "/v1/runners/batches"
_ARTIFACT = f"{_SESSION}/artifacts/{{artifact_id}}"
_GRANT_PATH = f"{_SESSION}/permissions/{{grant_id}}"
_MEMBER = "/v1/members/{user_id}"
_ACCOUNT = "/v1/service-accounts/{service_account_id}"
_EVIDENCE = "/v1/runners/evidence"
_OWN = {"session_token": True}
_EXECUTES = {"session_token": True, "executes": True}
_CONFIGURES = {"configures": True}
_PEOPLE = {"decides": True}

TABLE = (
    Route("GET", _PROFILES, READ, profile, outsider=200),
    Route("POST", _PROFILES, WRITE, new_profile, 201, outsider=201, creates=True, **_CONFIGURES),
    Route("GET", _PROFILE, READ, profile, tagged=True),
    Route("PUT", _PROFILE, WRITE, replacement, tagged=True, **_CONFIGURES),
    Route("DELETE", _PROFILE, WRITE, profile, 204, tagged=True, **_CONFIGURES),
    Route("POST", f"{_PROFILE}/pause", WRITE, profile, **_CONFIGURES),
    Route("POST", f"{_PROFILE}/unpause", WRITE, paused_profile, **_CONFIGURES),
    Route("GET", f"{_PROFILE}/harnesses", READ, harness),
    Route("POST", f"{_PROFILE}/harnesses", WRITE, new_harness, 201, creates=True, **_CONFIGURES),
    Route("GET", f"{_PROFILE}/harnesses/latest", READ, harness, tagged=True),
    Route("POST", f"{_HARNESS}/deprecate", WRITE, one_harness, **_CONFIGURES),
    Route("POST", f"{_HARNESS}/recall", WRITE, recall, **_CONFIGURES),
    Route("GET", _SESSIONS, READ, pending, outsider=200),
    Route("POST", _SESSIONS, DISPATCH, dispatch, 201, outsider=422, creates=True),
    Route("POST", f"{_SESSIONS}/claim", CLAIM, queued, outsider=204),
    Route("GET", _SESSION, READ, pending, tagged=True, **_OWN),
    Route(
        "PATCH", _SESSION, WRITE, running_with({"progress": {"current": 1}}), tagged=True,
        **_EXECUTES,
    ),
    Route("POST", f"{_SESSION}/claim", CLAIM, pending),
    Route("POST", f"{_SESSION}/heartbeat", WRITE, running, **_EXECUTES),
    Route(
        "POST", f"{_SESSION}/checkpoint", WRITE, running_with({"data": {"at": 1}}), 201,
        creates=True, **_EXECUTES,
    ),
    Route("GET", f"{_SESSION}/checkpoints", READ, running, **_OWN),
    Route("GET", f"{_SESSION}/transitions", READ, running, **_OWN),
    Route("GET", f"{_SESSION}/attempts", READ, running, **_OWN),
    Route("POST", f"{_SESSION}/pause", WRITE, running, executes=True),
    Route("POST", f"{_SESSION}/resume", WRITE, paused, executes=True),
    Route("POST", f"{_SESSION}/cancel", WRITE, running, executes=True),
    Route("GET", _EXECUTORS, READ, executor, outsider=200),
    Route("GET", _EXECUTOR, READ, executor, tagged=True),
    Route("POST", f"{_EXECUTOR}/drain", WRITE, executor, operates=True),
    Route("POST", f"{_EXECUTOR}/undrain", WRITE, executor, operates=True),
    Route("POST", f"{_EXECUTOR}/evict", WRITE, eviction, operates=True),
    Route(
        "POST", f"{_SESSIONS}/bulk/cancel", WRITE, bulk, 201, outsider=422, creates=True,
        operates=True,
    ),
    Route(
        "POST", f"{_SESSIONS}/bulk/retry", WRITE, bulk, 201, outsider=422, creates=True,
        operates=True,
    ),
    Route("GET", _BATCHES, READ, batch, outsider=200),
    Route("GET", f"{_BATCHES}/{{batch_id}}", READ, batch, tagged=True),
    Route("GET", f"{_BATCHES}/{{batch_id}}/items", READ, batch),
    Route("POST", f"{_BATCHES}/{{batch_id}}/stop", WRITE, batch, operates=True),
    Route("GET", "/v1/runners/stats", READ, pending, outsider=200),
    Route("GET", "/v1/runners/usage", READ, artifact, outsider=200),
    Route("GET", f"{_SESSIONS}/summary", READ, lost, outsider=200),
    Route("GET", f"{_SESSION}/explain", READ, pending),
    Route("GET", f"{_SESSION}/refusals", READ, refused),
    Route("POST", f"{_SESSION}/retry", WRITE, cancelled, 201, creates=True, executes=True),
    Route("POST", f"{_SESSION}/disposition", WRITE, lost, executes=True),
    Route("GET", f"{_SESSION}/events", READ, running, **_OWN),
    Route(
        "POST", f"{_SESSION}/events", WRITE, running_with({"kind": "log", "message": "m"}), 201,
        creates=True, **_EXECUTES,
    ),
    Route("GET", f"{_SESSION}/events/stream", READ, running, **_OWN),
    Route("GET", "/v1/runners/events/stream", READ, pending, outsider=200),
    Route("GET", f"{_SESSION}/events/histogram", READ, running, **_OWN),
    Route("GET", f"{_SESSION}/events/facets", READ, running, **_OWN),
    Route("GET", f"{_SESSION}/artifacts", READ, running, **_OWN),
    Route(
        "POST", f"{_SESSION}/artifacts", WRITE, running, 201, query="?name=a.txt", raw=b"content",
        creates=True, **_EXECUTES,
    ),
    Route("GET", _ARTIFACT, READ, artifact, tagged=True, **_OWN),
    Route("DELETE", _ARTIFACT, WRITE, artifact, 204, tagged=True, query="?reason=wrong", **_PEOPLE),
    Route("GET", f"{_ARTIFACT}/content", READ, artifact, tagged=True, **_OWN),
    Route("GET", f"{_SESSION}/artifacts/manifest", READ, artifact, tagged=True, **_OWN),
    Route(
        "PATCH", f"{_ARTIFACT}/content", WRITE, uploading, raw=b"content", headers=_PARTIAL,
        **_EXECUTES,
    ),
    Route("DELETE", f"{_ARTIFACT}/content", WRITE, uploading, 204, **_EXECUTES),
    # Nothing of these succeeds with files; with a store that takes them: test_direct_uploads.
    Route("POST", f"{_SESSION}/artifacts/direct", WRITE, large, 409, **_EXECUTES),
    Route("POST", f"{_ARTIFACT}/parts", WRITE, artifact, 409, **_EXECUTES),
    Route("POST", f"{_ARTIFACT}/complete", WRITE, artifact, 409, **_EXECUTES),
    Route("POST", f"{_ARTIFACT}/verification", AUDIT, artifact),
    Route("GET", f"{_SESSION}/permissions", READ, active, **_OWN),
    Route(
        "POST", f"{_SESSION}/permissions", WRITE, running_with(GRANT), 201, creates=True,
        fences_people=False, **_EXECUTES,
    ),
    Route("GET", _GRANT_PATH, READ, active, tagged=True, **_OWN),
    Route("DELETE", _GRANT_PATH, WRITE, active, 204, tagged=True, executes=True),
    Route("POST", f"{_GRANT_PATH}/approve", APPROVE, requested, decides=True),
    Route("POST", f"{_GRANT_PATH}/deny", APPROVE, denial, decides=True),
    Route("POST", f"{_GRANT_PATH}/use", WRITE, active, **_EXECUTES),
    Route("POST", f"{_GRANT_PATH}/renew", WRITE, renewal, **_EXECUTES),
    Route("POST", f"{_GRANT_PATH}/token", WRITE, signing, **_EXECUTES),
    Route("GET", "/v1/runners/permissions", READ, active, outsider=200),
    Route(
        "POST", "/v1/runners/permissions/introspect", INTROSPECT, introspection, outsider=200,
        or_scope=READ,
    ),
    Route("POST", "/v1/runners/permissions/revoke", WRITE, revocation, outsider=200, **_PEOPLE),
    Route("GET", "/v1/runners/authority", AUDIT, granted, outsider=200),
    Route(
        "POST", f"{_SESSION}/notes", WRITE, to_annotate, 201, creates=True, **_PEOPLE
    ),
    Route("GET", f"{_SESSION}/hold", READ, held),
    Route("PUT", f"{_SESSION}/hold", AUDIT, to_hold, **_PEOPLE),
    Route("DELETE", f"{_SESSION}/hold", AUDIT, held, 204, **_PEOPLE),
    Route("POST", f"{_SESSION}/events/{{event_id}}/redact", AUDIT, event, **_PEOPLE),
    Route("GET", f"{_SESSION}/evidence", AUDIT, running),
    Route("GET", f"{_SESSION}/evidence/verification", AUDIT, running),
    Route("POST", f"{_SESSION}/evidence/verification", AUDIT, running),
    Route("GET", "/v1/runners/audit", AUDIT, audited, outsider=200),
    Route("GET", "/v1/runners/audit/{audit_id}", AUDIT, audited, tagged=True),
    Route("GET", f"{_SESSION}/evidence/inclusion", AUDIT, anchored),
    Route("GET", f"{_EVIDENCE}/checkpoints", AUDIT, log, outsider=200),
    Route("GET", f"{_EVIDENCE}/checkpoints/{{size}}", AUDIT, anchored, tagged=True),
    Route(
        "GET", f"{_EVIDENCE}/consistency", AUDIT, log, query="?from=1&to=1", outsider=400
    ),
    Route("GET", f"{_EVIDENCE}/leaves", AUDIT, log, outsider=200),
    Route("GET", "/v1/auth/whoami", ANY_TOKEN, nothing, outsider=200),
    Route("GET", "/v1/members", MEMBERS, nothing, outsider=200),
    Route("POST", "/v1/members", MEMBERS, new_member, 201, outsider=201, creates=True),
    Route("GET", _MEMBER, MEMBERS, member, tagged=True),
    Route("PATCH", _MEMBER, MEMBERS, member_with_role, tagged=True),
    Route("DELETE", _MEMBER, MEMBERS, member, 204, tagged=True),
    Route("GET", "/v1/service-accounts", MEMBERS, nothing, outsider=200),
    Route("POST", "/v1/service-accounts", MEMBERS, new_machine, 201, outsider=201, creates=True),
    Route("GET", _ACCOUNT, MEMBERS, machine, tagged=True),
    Route("DELETE", _ACCOUNT, MEMBERS, machine, 204, tagged=True),
    Route("POST", f"{_ACCOUNT}/secrets", MEMBERS, machine, 201, creates=True),
)  # fmt: skip

# Open to everybody: what they take and answer is tested by name, in test_oauth.py and tests/api.
PUBLIC_OPERATIONS = frozenset(
    {
        "POST /v1/auth/token",
        "POST /v1/auth/revoke",
        "GET /.well-known/jwks.json",
        "GET /v1/runners/evidence/keys",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }
)
# Documents about the API, for people; not part of it.
PAGES = frozenset(
    {
        "/v1/schema",
        "/v1/docs",
        "/v1/docs/redoc",
        "/v1/docs/errors",
        "/v1/docs/errors/{code}",
    }
)


def by_name(name: str) -> Route:
    return next(route for route in TABLE if route.name == name)


# --- what is routed --------------------------------------------------------------------------


_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def routed() -> dict[str, Any]:
    """`/v1/…/{name}` → callback, of every route that is not a page of console or admin."""
    found = {}
    for pattern, callback in _walk(get_resolver().url_patterns):
        path = "/" + _PARAMETER.sub(r"{\1}", pattern)
        if path.startswith(("/v1", "/.well-known", "/healthz", "/readyz", "/metrics")):
            found[path] = callback
    return found


def _walk(patterns: Any, prefix: str = "") -> Any:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback
