"""The query language of the session list: what is read, what is refused; nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions import search
from sessions.search import FIELDS, WORDS, Term, parse


def read(text: str) -> list[Term]:
    found = parse(text)
    assert not found.problems, found.problems
    return list(found.terms)


def shown(text: str) -> list[str]:
    return [str(term) for term in read(text)]


def test_the_whole_language_is_read() -> None:
    words = [
        "state:failed,lost", "profile:network-sandbox", "task:task_456", "harness:2026.05*",
        "created:>2h", "duration:>10m", 'error:"connection refused"', "label:env=prod",
        "-state:cancelled", "task_4",
    ]  # fmt: skip
    assert shown(" ".join(words)) == words


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ('error:"a \\"b\\" c"', "error", ('a "b" c',)),
        ('error:"a,b"', "error", ("a,b",)),
        ("error:a,b", "error", ("a,b",)),
        ('profile:"a:b"', "profile", ("a:b",)),
        ("label:url=http://x", "label", ("url=http://x",)),
        ('"task one"', "", ("task one",)),
        ('"state:failed"', "", ("state:failed",)),
        ('state:failed,"lost"', "state", ("failed", "lost")),
        ("  task:x\t", "task", ("x",)),
    ],
)
def test_quotes_keep_together_what_would_part(
    text: str, field: str, values: tuple[str, ...]
) -> None:
    (term,) = read(text)
    assert (term.field, term.values) == (field, values)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("stat:failed", 1, "There is no field “stat”. Allowed: state, profile"),
        ("task:x state:gone", 8, "There is no state “gone”. Allowed: pending"),
        ("task:x -profile:y", 8, "only state can"),
        ("-x", 1, "Only a state can be excluded"),
        ("state:", 1, "“state” has no value"),
        ("state:failed,", 1, "“state” has no value"),
        ("state:failed state:lost", 14, "there twice"),
        ("one two", 5, "One word without a field"),
        ("created:2h", 1, "takes < or >"),
        ("created:>yesterday", 1, "neither an age"),
        ("created:>2026-13-01", 1, "neither an age"),
        ("duration:>2x", 1, "is no length"),
        ("label:env", 1, "key=value"),
        ('x error:"open', 3, "A quote is open"),
        ('""', 1, "Nothing stands here"),
        ("x" * 1001, 1001, "At most 1,000 characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, at: int, said: str) -> None:
    (problem,) = parse(text).problems
    assert problem.at == at
    assert said in str(problem)


def test_lengths_and_instants() -> None:
    assert search.length("90s") == timedelta(seconds=90)
    assert search.length("2w") == timedelta(weeks=2)
    assert search.length("999999d") is None
    assert search.instant("2026-05-01T09:30Z") == datetime(2026, 5, 1, 9, 30, tzinfo=UTC)
    assert search.instant("2026-05-01") == datetime(2026, 5, 1, tzinfo=UTC)
    assert search.instant("1969-05-01") is None


@given(st.text(alphabet=st.sampled_from('ab:,"-<>\\ \t=*é') | st.characters(), max_size=60))
def test_no_character_is_passed_over(text: str) -> None:
    """As many terms and problems as words; each has its place within the text."""
    found = parse(text)
    assert bool(found.terms or found.problems) == bool(text.strip())
    covered = set()
    for term in found.terms:
        covered |= set(range(term.start, term.end))
    left = [at for at, each in enumerate(text) if at not in covered and not each.isspace()]
    assert bool(left) <= bool(found.problems)
    assert all(1 <= problem.at <= len(text) for problem in found.problems)


_text = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))


@st.composite
def terms(draw: st.DrawFn) -> Term:
    name = draw(st.sampled_from(["", *FIELDS]))
    if words := WORDS.get(name):
        some = st.lists(st.sampled_from(words), min_size=1, max_size=4)
        excluded = FIELDS[name].excludes and draw(st.booleans())
        return Term(name, tuple(draw(some)), excluded=excluded)
    if name == "label":
        return Term(name, (f"key={draw(_text)}",)) if draw(st.booleans()) else Term(name, ("a=b",))
    if name in ("created", "ended", "duration"):
        return Term(name, (draw(st.sampled_from(["2h", "7d"])),), draw(st.sampled_from("<>")))
    return Term(name, (draw(_text),))


@given(terms())
def test_what_is_written_is_read_again(term: Term) -> None:
    (again,) = read(str(term))
    assert (again.field, again.values, again.sign, again.excluded) == (
        term.field, term.values, term.sign, term.excluded,
    )  # fmt: skip
