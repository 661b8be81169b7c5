"""Which connections the session's permission grants allow, as the control plane says it."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.egress_request import Refused
from keeptrusts_runners.runner.egress_target import OPERATION, BadTarget, Target
from keeptrusts_runners.runner.lease import Lease
from keeptrusts_runners.runner.session import LeaseLost, SessionClient
from keeptrusts_runners.runner.transport import Unreachable

CACHE_SECONDS = 2.0
ASKED_LIMIT = 20
# So that a harness that tries in a tight loop costs the control plane a few requests a second.
_LISTING_SPACING = 0.2
# A request is not made again over the head of a person who has said no.
_STANDING = "requested,approved,denied,revoked"

Grant = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """One connection is allowed: under which grant, and until when by the lease's clock.

    A grant for a single use is over once used; its connection lives to the grant's own end.
    """

    grant_id: str
    ends_at: float
    single_use: bool


class Grants:
    """The grants of one session under one epoch; threads may share it.

    Every method asks the control plane and raises Refused where it does not allow, or does not
    answer.
    """

    def __init__(
        self, session: SessionClient, lease: Lease, epoch: int, request_seconds: int | None
    ) -> None:
        self._session = session
        self._lease = lease
        self._epoch = epoch
        self._request_seconds = request_seconds
        self._listing = threading.Lock()
        self._listed: list[Grant] | Refused = []
        self._listed_at = float("-inf")
        self._requesting = threading.Lock()
        self._requested: set[Target] = set()

    def require(self, target: Target) -> None:
        """Make sure that there is an active grant, without using it: requested, if need be."""
        arrived = time.monotonic()
        if self._for(target, arrived - CACHE_SECONDS) or self._for(target, arrived):
            return
        if self._request_seconds is None:
            message = f"{target.operation} is not granted to this session: request that operation"
            raise Refused(403, "not_granted", f"{message} (POST …/permissions) and try again")
        grant = self._standing_or_requested(target)
        if grant["state"] != "active":
            raise Refused(403, f"grant_{grant['state']}", _told(target, grant))

    def use(self, target: Target) -> Pass:
        """Record a use, for one connection that is made now."""
        arrived = time.monotonic()
        tried = set()
        for since in (arrived - CACHE_SECONDS, arrived):
            for grant in self._for(target, since):
                if grant["id"] not in tried and (allowed := self._use(grant, target)):
                    return allowed
                tried.add(grant["id"])
        raise Refused(403, "not_granted", f"the grant of {target.operation} has just ended")

    def active(self) -> dict[str, float]:
        """The grants that are active now, by id, and when each ends; a renewed one ends later."""
        found = self._since(time.monotonic())
        return {str(grant["id"]): self._end_of(grant) for grant in found}

    def _for(self, target: Target, since: float) -> list[Grant]:
        """The grants of this target as of `since` or later, those for many uses first."""
        found = [grant for grant in self._since(since) if _names(grant, target)]
        usable = [grant for grant in found if not grant.get("constraints")]
        if found and not usable:
            message = f"{target.operation} is granted with constraints that this proxy cannot keep"
            raise Refused(403, "constrained", message)
        return sorted(usable, key=lambda grant: bool(grant.get("single_use")))

    def _since(self, since: float) -> list[Grant]:
        """The active grants, listed at `since` or later; one listing serves all who wait for it."""
        called = time.monotonic()
        with self._listing:
            # A failure is shared with those who waited meanwhile, and kept for nobody else.
            if self._listed_at < (called if isinstance(self._listed, Refused) else since):
                self._lease.wait_closed(self._listed_at + _LISTING_SPACING - time.monotonic())
                self._listed_at = time.monotonic()
                self._listed = self._list()
            if isinstance(self._listed, Refused):
                raise self._listed
            return self._listed

    def _list(self) -> list[Grant] | Refused:
        try:
            found = self._session.grants(state="active")
        except (ApiError, Unreachable, LeaseLost) as error:
            return self._unavailable(error)
        return [grant for grant in found if grant.get("lease_epoch") == self._epoch]

    def _use(self, grant: Grant, target: Target) -> Pass | None:
        try:
            answer = self._session.use_grant(str(grant["id"]), str(target))
        except (ApiError, Unreachable, LeaseLost) as error:
            raise self._unavailable(error) from error
        if answer.get("allowed") is not True:
            return None
        return Pass(str(grant["id"]), self._end_of(answer), bool(grant.get("single_use")))

    def _end_of(self, grant: Grant) -> float:
        return self._lease.local_time(str(grant.get("expires_at") or ""))

    def _standing_or_requested(self, target: Target) -> Grant:
        with self._requesting:
            try:
                standing = self._session.grants(state=_STANDING, operation=target.operation)
                return standing[0] if standing else self._request(target)
            except (Unreachable, LeaseLost) as error:
                raise self._unavailable(error) from error
            except ApiError as error:
                message = f"{target.operation} is not granted, and its request was refused: {error}"
                raise Refused(403, "not_granted", message) from error

    def _request(self, target: Target) -> Grant:
        if len(self._requested | {target}) > ASKED_LIMIT:
            message = f"{target.operation} is not granted; no more than {ASKED_LIMIT} are requested"
            raise Refused(403, "not_granted", message)
        self._requested.add(target)
        wanted = {"operation": target.operation, "ttl_seconds": self._request_seconds}
        return self._session.request_grant({**wanted, "reason": f"Connect to {target}"})

    def _unavailable(self, error: Exception) -> Refused:
        if isinstance(error, LeaseLost):
            self._lease.lose(str(error))
        return Refused(503, "unavailable", f"the control plane did not decide: {error}")


def _names(grant: Grant, target: Target) -> bool:
    """Whether the grant is of this target, in whatever spelling it was requested."""
    operation = str(grant.get("operation"))
    if not operation.startswith(OPERATION):
        return False
    try:
        return Target.of(operation.removeprefix(OPERATION)) == target
    except BadTarget:
        return False


def _told(target: Target, grant: Grant) -> str:
    if grant["state"] in ("requested", "approved"):
        return f"{target.operation} waits for its approval as {grant['id']}: try again then"
    return f"{target.operation} was {grant['state']} by a person, and is not requested again"
