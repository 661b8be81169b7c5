"""What a list of sessions is asked for: the search box and the address, as parameters of the API.

The box's terms map one to one to the API's filters, so that a list can be had by curl, and be
frozen for a batch. Parameters of the API may stand in the address beside the box, as links of
other pages have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from keeptrusts_runners import clock, ids
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.console.access import Page
from keeptrusts_runners.console.formats import duration, instant
from profiles.models import ProfileStatus, RunnerProfile
from sessions import search
from sessions.search import STATES, Problem, Search, Term

BOX = "q"
# Of a page, and not of what is looked for.
AROUND = frozenset({BOX, "cursor", "limit"})

Parameter = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in words, and the query of the page without it."""

    label: str
    value: str
    remove: str


@dataclass(frozen=True, slots=True)
class Asked:
    """`parameters` are the API's. With `problems` nothing is listed."""

    text: str
    terms: tuple[Term, ...]
    problems: tuple[Problem, ...]
    parameters: QueryDict

    @property
    def filters(self) -> QueryDict:
        """Without what chooses the tab."""
        given = self.parameters.copy()
        given.pop("view", None)
        return given


def asked(request: Page) -> Asked:
    """Read the request's query. At most one look-up, of a profile's name."""
    text = request.GET.get(BOX, "").strip()
    found = search.parse(text)
    given = QueryDict(mutable=True)
    for name, values in request.GET.lists():
        if name not in AROUND:
            given.setlist(name, values)
    problems = [*found.problems, *_translated(found, given, request)]
    return Asked(text, found.terms, tuple(problems), given)


def without(request: Page, *names: str, **changes: str) -> str:
    """The query of this page, with other values for these of its parameters."""
    query = request.GET.copy()
    for name in ("cursor", *names):
        query.pop(name, None)
    for name, value in changes.items():
        query[name] = value
    return f"?{query.urlencode()}"


# --- terms as parameters ---------------------------------------------------------------------


def _translated(found: Search, given: QueryDict, request: Page) -> Iterator[Problem]:
    """Add what the terms mean to the parameters; what cannot be is told."""
    yield from _narrowed_to_states(found, given)
    for term in found.terms:
        if term.field == "state":
            continue
        meant = _meant(term, request)
        if isinstance(meant, Problem):
            yield meant
        elif meant[0] in given and meant[0] != "label":
            yield Problem(term.start + 1, f"“{term}” narrows what is narrowed already.")
        else:
            given.appendlist(*meant)


def _narrowed_to_states(found: Search, given: QueryDict) -> Iterator[Problem]:
    states = _states(found.terms)
    if states is None:
        return
    if already := given.get("state"):
        states = [state for state in already.split(",") if state in states]
    given["state"] = ",".join(states)
    if not states:
        yield Problem(1, "No state is left: what is asked for excludes itself.")


def _states(terms: tuple[Term, ...]) -> list[str] | None:
    """Those that are wanted less those that are not, in the order of the lifecycle."""
    named = [term for term in terms if term.field == "state"]
    if not named:
        return None
    wanted = {value for term in named if not term.excluded for value in term.values}
    unwanted = {value for term in named if term.excluded for value in term.values}
    return [state for state in STATES if (state in wanted or not wanted) and state not in unwanted]


_IDS = {"prof": "profile_id", "harn": "harness_id", "exec": "executor_id", "sess": "session_id"}
_PLAIN = {"reason": "reason", "error": "error"}
_OLDER = {"created": "created_before", "ended": "ended_before"}
_NEWER = {"created": "created_after", "ended": "ended_after"}


def _meant(term: Term, request: Page) -> Parameter | Problem:
    if term.field in search.WORDS:
        return term.field, ",".join(term.values)
    (value,) = term.values
    match term.field:
        case "" | "profile" | "harness" | "executor":
            return _named(term, value, request)
        case "task":
            return _beginning("task_id", "task_prefix", value)
        case "label":
            return "label", value.replace("=", ":", 1)
        case "duration":
            return _lasting(term.sign, value)
        case "created" | "ended":
            return _at(term, value, request.now)
    return _PLAIN[term.field], value


def _named(term: Term, value: str, request: Page) -> Parameter | Problem:
    prefix = ids.prefix_of(value)
    if prefix in _IDS and _is_id(prefix, value):
        expected = {"profile": "prof", "harness": "harn", "executor": "exec"}.get(term.field)
        if expected in (None, prefix):
            return _IDS[prefix], value
    match term.field:
        case "profile":
            return _profile(term, value, request)
        case "harness":
            return "harness_version", value
        case "executor":
            return Problem(term.start + 1, "“executor” takes the id of an executor, exec_….")
    return "task_prefix", value


def _is_id(prefix: str, value: str) -> bool:
    try:
        return bool(ids.decode(prefix, value))
    except ValueError:
        return False


def _profile(term: Term, name: str, request: Page) -> Parameter | Problem:
    """By its name, which is one profile's alone, but for archived ones."""
    ours = RunnerProfile.objects.in_organization(request.principal.organization_id)
    called = ours.filter(name=name).values_list("id", "status")[:3]
    found = {key: status == ProfileStatus.ARCHIVED for key, status in called}
    if in_use := [key for key, archived in found.items() if not archived] or list(found):
        if len(in_use) > 1:
            detail = f"Several archived profiles are called “{name}”: give the id."
            return Problem(term.start + 1, detail)
        return "profile_id", ids.encode("prof", in_use[0])
    return Problem(term.start + 1, f"No profile is called “{name}”.")


def _beginning(exact: str, prefix: str, value: str) -> Parameter:
    return (prefix, value[:-1]) if value.endswith("*") and len(value) > 1 else (exact, value)


def _lasting(sign: str, value: str) -> Parameter:
    seconds = search.length(value)
    assert seconds is not None  # the parser has seen to it
    name = "longer_than_seconds" if sign == ">" else "shorter_than_seconds"
    return name, str(int(seconds.total_seconds()))


def _at(term: Term, value: str, now: datetime) -> Parameter:
    """An age above is a time before."""
    age = search.length(value)
    at = now.replace(microsecond=0) - age if age is not None else search.instant(value)
    after = term.sign == ("<" if age is not None else ">")
    return (_NEWER if after else _OLDER)[term.field], clock.rfc3339(at) or ""


# --- in words --------------------------------------------------------------------------------

_LABELS = {
    "state": "State",
    "health": "Health",
    "attention": "Attention",
    "past_queue_target": "Past its queue target",
    "profile_id": "Profile",
    "harness_id": "Harness",
    "harness_version": "Harness",
    "executor_id": "Executor",
    "session_id": "Sessions",
    "task_id": "Task",
    "task_prefix": "Task begins with",
    "reason": "Reason",
    "error": "Error says",
    "label": "Label",
    "created_after": "Created after",
    "created_before": "Created before",
    "ended_after": "Ended after",
    "ended_before": "Ended before",
    "longer_than_seconds": "Ran longer than",
    "shorter_than_seconds": "Ran shorter than",
    "view": "List",
}


def chips(request: Page, asked: Asked, names: Mapping[str, str]) -> list[Chip]:
    """Of each term of the box, and of each other filter of the address; `names` of ids."""
    found = []
    for term in asked.terms:
        rest = " ".join(str(other) for other in asked.terms if other is not term)
        remove = without(request, BOX) if not rest else without(request, **{BOX: rest})
        label, value = _of_term(term)
        found.append(Chip(label, names.get(value, value), remove))
    return found + [
        Chip(label, names.get(value) or _spoken(name, value), without(request, name))
        for name, label in _LABELS.items()
        for value in request.GET.getlist(name)
        if name != "view"
    ]


def _of_term(term: Term) -> tuple[str, str]:
    value = ", ".join(
        each.replace("_", " ") if term.field in search.WORDS else each for each in term.values
    )
    label = (term.field or "Id or task").capitalize()
    if term.excluded:
        return f"{label} is not", value
    if not term.sign:
        return label, value
    age = search.length(value)
    if term.field == "duration" and age is not None:
        return "Ran " + ("longer than" if term.sign == ">" else "shorter than"), duration(age)
    if age is not None:
        return label, f"{'more' if term.sign == '>' else 'less'} than {value} ago"
    return label, f"{'after' if term.sign == '>' else 'before'} {value}"


def _spoken(name: str, value: str) -> str:
    if name in (*search.WORDS, "reason"):
        return value.replace(",", ", ").replace("_", " ")
    if name == "past_queue_target":
        return "yes"
    if name.endswith("_seconds") and value.isdecimal():
        return duration(int(value))
    if name.endswith(("_after", "_before")):
        return _instant(value)
    return value


def _instant(value: str) -> str:
    """As pages write it; as it is where it is none, which the filter then says."""
    try:
        return instant(parse_instant(value))
    except ValueError:
        return value


def words(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A filter as batches keep it, each member as label and value."""
    found = []
    for name, label in _LABELS.items():
        value = document.get(name)
        if isinstance(value, dict):
            found += [(label, f"{key}={text}") for key, text in value.items()]
        elif name == "session_id" and value is not None:
            found.append((label, value[0] if len(value) == 1 else f"{len(value)} that were ticked"))
        elif value is not None:
            text = ",".join(value) if isinstance(value, list) else str(value)
            found.append((label, _spoken(name, text)))
    return found


def document(parameters: QueryDict) -> dict[str, Any]:
    """The parameters as members of a body: what a batch is asked with, and keeps. A ticked row is
    a session_id of its own."""
    found: dict[str, Any] = {}
    for name, values in parameters.lists():
        if name in (*search.WORDS, "session_id"):
            found[name] = [each for value in values for each in value.split(",")]
        elif name == "label":
            found[name] = dict(value.partition(":")[::2] for value in values)
        elif name.endswith("_seconds") and values[-1].isdecimal():
            found[name] = int(values[-1])
        else:
            found[name] = values[-1]
    return found


# --- for programs ----------------------------------------------------------------------------


def curl(request: Page, parameters: QueryDict) -> str:
    """The same list over the API."""
    query = urlencode([(n, v) for n, vs in parameters.lists() for v in vs], safe=":,")
    address = request.build_absolute_uri("/v1/runners/sessions") + (f"?{query}" if query else "")
    return f"curl -sS -H \"Authorization: Bearer $TOKEN\" '{address}'"
