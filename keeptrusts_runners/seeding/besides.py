"""What happens besides in a session: checkpoints, artifacts, permission grants."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from grants import access, approvals, artifacts, ledger, policy
from grants.ledger import Record
from grants.models import Artifact, Decision, GrantState, PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal
from sessions.models import Checkpoint
from sessions.states import FINAL, State, Verb

if TYPE_CHECKING:
    from keeptrusts_runners.seeding.story import Story, Told

_DAY = 86400


def of_note(story: Story) -> Told:
    chance = story.rng.random()
    if chance < 0.3:
        yield from _checkpoint(story)
    if chance < 0.5:
        yield from _artifact(story)
    if story.session.grant_policy and chance < 0.7:
        yield from _grant(story)


def _checkpoint(story: Story) -> Told:
    session = story.session
    data = {"done": story.said // 2}
    made = Checkpoint(
        id=story.id_at(story.at),
        organization_id=session.organization_id,
        session_id=session.id,
        number=session.checkpoints_recorded + 1,
        lease_epoch=session.lease_epoch,
        data=data,
        digest="sha256:" + hashlib.sha256(ledger.serialise(data)).hexdigest(),
        created_at=story.at,
    )
    story.checkpoints.append(made)
    record = {
        "checkpoint_id": ids.encode("ckpt", made.id),
        "number": made.number,
        "label": "",
        "digest": made.digest,
    }
    yield from story.step(
        Verb.CHECKPOINT, State.RUNNING, story.executing(), kind="checkpoint.recorded",
        data=record, checkpoints_recorded=made.number,
    )  # fmt: skip


def _artifact(story: Story) -> Told:
    content, session = story.rng.choice(story.cast.contents), story.session
    made = Artifact(
        id=story.id_at(story.at),
        organization_id=session.organization_id,
        session=session,
        name=content.name,
        kind=content.kind,
        media_type=content.media_type,
        size_bytes=content.blob.size_bytes,
        sha256=content.blob.sha256,
        lease_epoch=session.lease_epoch,
        created_by=story.executing().actor,
        created_at=story.at,
    )
    story.artifacts.append(made)
    yield artifacts.record_of(made, session, story.executing()), story.at


def _grant(story: Story) -> Told:
    """Asked for, and approved and used, or denied."""
    yield from requested(story)
    story.wait(2)
    yield from _decided(story, story.grants[-1], story.rng.choice(story.cast.approvers))


def requested(story: Story) -> Told:
    """Asked for by the executing code."""
    session, by = story.session, story.executing()
    operation = story.rng.choice(("release.publish", "database.write"))
    fields = {
        "operation": operation,
        "resource": f"system-{story.plan.number % 7}",
        "reason": "Needed to publish the result.",
        "ttl_seconds": 900 if operation == "database.write" else 6 * _DAY,
    }
    rule = policy.rule_for(session.grant_policy, operation)
    grant = PermissionGrant(
        id=story.id_at(story.at),
        organization_id=session.organization_id,
        session=session,
        **fields,
        state=GrantState.REQUESTED,
        operation_digest=access.operation_digest(session, fields),
        rule=rule,
        policy_version=session.grant_policy_version,
        approvals_required=1,
        single_use=bool((rule or {}).get("single_use")),
        lease_epoch=session.lease_epoch,
        requested_by=by.actor,
        requested_at=story.at,
        request_lapses_at=story.at + access.REQUEST_LAPSES_AFTER,
    )
    story.grants.append(grant)
    terms = access.terms_of(grant)
    yield access.record_of(grant, "grant.requested", by, session, terms), story.at


def _decided(story: Story, grant: PermissionGrant, approver: Principal) -> Told:
    word = "approve" if story.rng.random() < 0.8 else "deny"
    comment = "As agreed." if word == "approve" else "Not before the review."
    assert approver.id is not None
    decision = Decision(
        id=story.id_at(story.at),
        organization_id=grant.organization_id,
        grant=grant,
        by_id=approver.id,
        decision=word,
        operation_digest=grant.operation_digest,
        comment=comment,
        at=story.at,
    )
    story.decisions.append(decision)
    if word == "deny":
        yield _end(story, grant, GrantState.DENIED, "denied", approver, comment=comment), story.at
        return
    record = access.record_of(grant, "grant.approved", approver, story.session)
    record.data |= approvals.decision_data(decision, comment)
    grant.version += 1
    yield record, story.at
    yield access.activate(grant, story.session, approver, story.at), story.at
    yield from _used(story, grant)


def _used(story: Story, grant: PermissionGrant) -> Told:
    story.wait(2)
    by, grant.uses = story.executing(), grant.uses + 1
    data = {"target": grant.resource, "use": grant.uses}
    yield access.record_of(grant, "grant.used", by, story.session, data), story.at
    if grant.single_use:
        yield _end(story, grant, GrantState.CONSUMED, "consumed", by), story.at


def _end(
    story: Story, grant: PermissionGrant, state: GrantState, reason: str, by: Principal, **data: Any
) -> Record:
    record = access.end(grant, state, reason, by, story.session, story.at)
    record.data |= data
    return record


def grants_end(story: Story, target: State, by: Principal) -> Told:
    for grant in story.grants:
        if grant.state == GrantState.ACTIVE:
            ended = "session_ended" if target in FINAL else f"session_{target.value}"
            reason = "lease_ended" if target is State.PENDING else ended
            yield _end(story, grant, GrantState.ENDED, reason, by), story.at
