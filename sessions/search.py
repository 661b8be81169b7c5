"""The query language of the session list, as text and as terms. Pure: it knows no database.

    state:failed,lost profile:network-sandbox harness:2026.05* created:<2h duration:>10m
    error:"connection refused" label:env=prod -state:cancelled task_45

All terms apply. A comma is "or" within a field that takes several values, `-` excludes, quotes
keep spaces, commas and colons together. A word without a field is an id or the beginning of a task
id. Nothing is passed over: what cannot be read is a Problem with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sessions.states import Health, Reason, State

MAX_LENGTH, MAX_TERMS = 1_000, 30
STATES = tuple(state.value for state in State)
# Fields whose values are words, each with its words.
WORDS = {
    "state": STATES,
    "health": tuple(word.value for word in Health),
    "attention": tuple(word.value for word in Reason),
}


@dataclass(frozen=True, slots=True)
class Field:
    """What may stand behind a field's colon. `allowed` says it in words."""

    allowed: str
    several: bool = False
    excludes: bool = False
    repeats: bool = False
    compares: bool = False


FIELDS = {
    "state": Field(f"one or more of {', '.join(STATES)}", several=True, excludes=True),
    "profile": Field("the name or the id of a profile"),
    "harness": Field("a version, the beginning of one with * behind it, or the id of a revision"),
    "executor": Field("the id of an executor"),
    "task": Field("a task id, or the beginning of one with * behind it"),
    "reason": Field("a reason code"),
    "health": Field(f"one or more of {', '.join(WORDS['health'])}", several=True),
    "attention": Field(f"one or more of {', '.join(WORDS['attention'])}", several=True),
    "error": Field("words of the error, its code or the reason"),
    "label": Field("key=value", repeats=True),
    "created": Field("< or > and an age such as 2h, or an instant", compares=True, repeats=True),
    "ended": Field("< or > and an age such as 2h, or an instant", compares=True, repeats=True),
    "duration": Field("< or > and a length such as 90s or 10m", compares=True, repeats=True),
}
ANYTHING = f"a field ({', '.join(FIELDS)}) with a colon, or an id or the beginning of a task id"


@dataclass(frozen=True, slots=True)
class Term:
    """One condition. `field` is empty for a bare word, `sign` is `<`, `>` or empty; `start` and
    `end` are its place in the text."""

    field: str
    values: tuple[str, ...]
    sign: str = ""
    excluded: bool = False
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        """As it can be typed."""
        text = self.sign + ",".join(_quoted(value) for value in self.values)
        return f"{'-' if self.excluded else ''}{self.field + ':' if self.field else ''}{text}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What cannot be read, at which character (from 1), and what may stand there."""

    at: int
    text: str

    def __str__(self) -> str:
        return f"At character {self.at}: {self.text}"


@dataclass(frozen=True, slots=True)
class Search:
    terms: tuple[Term, ...]
    problems: tuple[Problem, ...]


_PLAIN = re.compile(r'[^\s",:<>\\-][^\s",:<>\\]*')


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(text: str) -> Search:
    """Every character that is not white space belongs to a term or to a problem."""
    if len(text) > MAX_LENGTH:
        return Search((), (Problem(MAX_LENGTH + 1, f"At most {MAX_LENGTH:,} characters."),))
    terms: list[Term] = []
    problems: list[Problem] = []
    for word in _words(text):
        read = _term(word, terms)
        if isinstance(read, Term):
            terms.append(read)
        else:
            problems.append(read)
    if len(terms) > MAX_TERMS:
        problems.append(Problem(terms[MAX_TERMS].start + 1, f"At most {MAX_TERMS} conditions."))
    return Search(tuple(terms), tuple(problems))


# --- words: what white space outside quotes separates ----------------------------------------


@dataclass(frozen=True, slots=True)
class _Word:
    """Its characters, each with whether it was quoted; an open quote is `unclosed`."""

    start: int
    end: int
    characters: tuple[tuple[str, bool], ...]
    unclosed: bool = False

    def split(self, separator: str, most: int = -1) -> list[_Word]:
        """As str.split, but of what is not quoted."""
        parts: list[list[tuple[str, bool]]] = [[]]
        for each in self.characters:
            if each == (separator, False) and most:
                parts.append([])
                most -= 1
            else:
                parts[-1].append(each)
        return [_Word(self.start, self.end, tuple(part)) for part in parts]

    def starts_with(self, character: str) -> bool:
        return self.characters[:1] == ((character, False),)

    def rest(self) -> _Word:
        return _Word(self.start, self.end, self.characters[1:])

    @property
    def text(self) -> str:
        return "".join(character for character, _ in self.characters)


def _words(text: str) -> Iterator[_Word]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        word = _word(text, at)
        yield word
        at = word.end


def _word(text: str, start: int) -> _Word:
    found: list[tuple[str, bool]] = []
    at, quoted, empty = start, False, False
    while at < len(text) and (quoted or not text[at].isspace()):
        if text[at] == '"':
            quoted = not quoted
            # Nothing between quotes is still a value that was given.
            empty = quoted and text[at + 1 : at + 2] == '"'
            found += [("", True)] if empty else []
        elif quoted and text[at] == "\\" and at + 1 < len(text):
            at += 1
            found.append((text[at], True))
        else:
            found.append((text[at], quoted))
        at += 1
    return _Word(start, at, tuple(found), unclosed=quoted)


# --- terms -----------------------------------------------------------------------------------


def _term(word: _Word, before: list[Term]) -> Term | Problem:
    at = word.start + 1
    if word.unclosed:
        return Problem(at, 'A quote is open: close it with ".')
    excluded = word.starts_with("-")
    rest = word.rest() if excluded else word
    parts = rest.split(":", 1)
    if len(parts) == 1:
        return _bare(rest, excluded, before)
    name, values = parts[0].text, parts[1]
    field = FIELDS.get(name)
    if field is None:
        return Problem(at, f"There is no field “{name}”. Allowed: {', '.join(FIELDS)}.")
    if excluded and not field.excludes:
        return Problem(at, f"“{name}” cannot be excluded; only state can.")
    if not field.repeats and any(t.field == name and t.excluded == excluded for t in before):
        return Problem(at, f"“{name}” is there twice; give it once.")
    return _of_field(name, field, values, excluded)


def _bare(word: _Word, excluded: bool, before: list[Term]) -> Term | Problem:
    if excluded:
        return Problem(word.start + 1, "Only a state can be excluded, as in -state:cancelled.")
    if any(not term.field for term in before):
        return Problem(word.start + 1, f"One word without a field is enough. Allowed: {ANYTHING}.")
    if not word.text.strip():
        return Problem(word.start + 1, f"Nothing stands here. Allowed: {ANYTHING}.")
    return Term("", (word.text,), start=word.start, end=word.end)


def _of_field(name: str, field: Field, values: _Word, excluded: bool) -> Term | Problem:
    at = values.start + 1
    sign = ""
    if field.compares:
        sign = next((each for each in "<>" if values.starts_with(each)), "")
        if not sign:
            return Problem(at, f"“{name}” takes {field.allowed}, as in {name}:>10m.")
        values = values.rest()
    parts = values.split(",") if field.several else [values]
    texts = tuple(part.text for part in parts)
    if problem := _wrong(name, field, texts):
        return Problem(at, problem)
    return Term(name, texts, sign, excluded, values.start, values.end)


def _wrong(name: str, field: Field, values: tuple[str, ...]) -> str:
    """Why these values cannot be the field's, or nothing."""
    if not all(value.strip() for value in values):
        return f"“{name}” has no value; it takes {field.allowed}."
    words = WORDS.get(name)
    if words and (unknown := [value for value in values if value not in words]):
        return f"There is no {name} “{unknown[0]}”. Allowed: {', '.join(words)}."
    if name == "label" and not re.fullmatch(r"[^=:]+=.+", values[0]):
        return "“label” takes key=value."
    if name == "duration" and length(values[0]) is None:
        return f"“{values[0]}” is no length. Allowed: a number with s, m, h, d or w, as in 10m."
    if name in ("created", "ended") and length(values[0]) is None and instant(values[0]) is None:
        return f"“{values[0]}” is neither an age such as 2h nor a time such as 2026-05-01T09:30Z."
    return ""


_LENGTH = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?Z?)?", re.ASCII)
_LONGEST = timedelta(days=3660)


def length(text: str) -> timedelta | None:
    """`90s`, `10m`, `2h`, `7d`, `1w`; None for anything else and beyond ten years."""
    match = _LENGTH.fullmatch(text)
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    return found if found is not None and found <= _LONGEST else None


def instant(text: str) -> datetime | None:
    """`2026-05-01`, `2026-05-01T09:30`, with or without a Z, always UTC; else None."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        found = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year >= 1970 else None
