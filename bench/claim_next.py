"""Claim next: the first pending session under a new lease, from a short queue and from a long."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http, Refused
from bench.load import Operation, Side, interleave
from bench.reference import Reference

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

PATH = "/v1/runners/sessions/claim"
# In one turn at most this part of a queue is claimed; before the next it is filled again.
PART = 5

_EXECUTOR = """
SELECT id FROM runner_executor WHERE organization_id = %s AND account = %s FOR KEY SHARE
"""
_SESSION = """
SELECT s.*, p.*, h.* FROM runner_session s
  JOIN runner_profile p ON p.id = s.profile_id LEFT JOIN runner_harness h ON h.id = s.harness_id
 WHERE s.id = %s
"""
_LEASE = """
UPDATE runner_session
   SET state = 'dispatched', version = version + 1, updated_at = %(now)s,
       lease_epoch = lease_epoch + 1, lease_account = %(account)s, lease_ttl_seconds = 900,
       lease_expires_at = %(now)s + interval '15 minutes', heartbeat_interval_seconds = 15,
       dispatched_at = %(now)s, deadline_at = NULL
 WHERE id = %(session)s AND state = 'pending' RETURNING lease_epoch
"""
_GRANTS = """
SELECT * FROM runner_grant
 WHERE session_id = %s AND state IN ('requested', 'approved', 'active') ORDER BY id FOR UPDATE
"""


def product(given: Mapping[str, Any], number: int) -> Operation:
    http = Http(given["url"], given["token"])
    body = {"executor": {"name": f"bench-{number}"}}

    def operation() -> None:
        if http.post(PATH, body) is None:
            raise Refused("the queue is empty")

    return operation


def reference(given: Mapping[str, Any], number: int) -> Operation:
    """`take` is the product's own statement: what finds the next session is the same."""
    own = Reference(given)
    take, wanted = given["take"], given["wanted"]

    def operation() -> None:
        own.begin()
        own.execute(_EXECUTOR, [own.organization, own.account])
        session = own.one(take, wanted)[0]
        own.one(_SESSION, [session])
        lease = {"now": own.now(), "account": own.account, "session": session}
        epoch = own.one(_LEASE, lease)[0]
        own.execute(_GRANTS, [session])
        own.transition(
            session, epoch, "claim", "pending", "dispatched", ["state.dispatched", "lease.granted"]
        )
        own.commit()

    return operation


def sides(stage: Stage, name: str, organization: Organization, depth: int) -> list[Side]:
    """The product and R on an organization's queue, kept this deep."""
    from sessions import queue

    profile = organization.profile()
    organization.pend(profile, depth)
    wanted = {
        "organization": organization.id, "labels": "{}", "profiles": None, "seen": [],
        "full_profiles": [], "full_keys": [], "most": 1, "head": queue.HEAD + 1,
    }  # fmt: skip
    machine, before = organization.runner, partial(organization.fill, profile, depth)
    most = max(1, depth // PART)
    by_psycopg = stage.reference(machine) | {"take": queue._TAKE_FROM_HEAD, "wanted": wanted}
    return [
        Side(f"product {name}", product, stage.product(machine), most, before),
        Side(f"reference {name}", reference, by_psycopg, most, before),
    ]


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    few = sides(stage, "few", Organization("Short queue"), size.few)
    many = sides(stage, "many", Organization("Long queue"), size.many)
    stage.settle()
    turns = interleave(size.connections, [*few, *many], size.rounds, size.seconds)
    rates = {name: [turn.rate for turn in of_side] for name, of_side in turns.items()}
    rate = partial(figure, unit="1/s")
    of_few, of_many = f"of {size.few:,} pending", f"of {size.many:,} pending"
    target = Target(least=0.30)
    return [
        rate(f"claims {of_few}", values=rates["product few"], reference=rates["reference few"],
             target=target),
        rate(f"claims {of_many}", values=rates["product many"], reference=rates["reference many"],
             target=target),
        rate(f"claims {of_many}", values=rates["product many"], reference=rates["product few"],
             against=of_few, target=Target(least=0.6)),
        figure("one claim", "ms", [1000 * turn.median for turn in turns["product few"]]),
    ]  # fmt: skip


BENCHMARK = Benchmark("claim_next", "The next session under a new lease.", measure)
