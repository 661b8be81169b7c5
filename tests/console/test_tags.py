"""The template tags, drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import Context, Template
from django.test import RequestFactory

from keeptrusts_runners import ids
from keeptrusts_runners.console import looks
from keeptrusts_runners.console.navigation import Link

NOW = datetime(2026, 5, 1, 9, 30, tzinfo=UTC)


def draw(source: str, **context: Any) -> str:
    request: Any = RequestFactory().get("/runners/sessions?state=failed&profile=p&cursor=old")
    request.now = NOW
    context.setdefault("request", request)
    return Template("{% load console %}" + source).render(Context(context)).strip()


@pytest.mark.parametrize("word", sorted(looks.LOOKS))
def test_a_state_is_icon_word_and_tone(word: str) -> None:
    html = draw("{% state word %}", word=word)
    look = looks.of(word)
    assert f'class="state {look.tone}"' in html
    assert f"#i-{look.icon}" in html
    assert looks.spoken(word) in html


def test_an_unknown_state_is_shown_and_escaped() -> None:
    assert "&lt;b&gt;" in draw("{% state word %}", word="<b>")


def test_an_id_is_whole_in_the_text_and_in_the_copy_button() -> None:
    session_id = ids.new()
    text = ids.encode("sess", session_id)
    html = draw('{% typeid "sess" id link="/x" short=True %}', id=session_id)
    assert f'data-copy="{text}"' in html
    assert 'aria-label="Copy session id"' in html
    assert f'sess_<span class="front">{text[5:-8]}</span><span>{text[-8:]}</span>' in html
    assert "data-copy" not in draw('{% typeid "sess" id copy=False %}', id=session_id)


def test_a_digest_is_short_but_copied_whole() -> None:
    raw = bytes(range(32))
    html = draw("{% digest raw %}", raw=raw)
    assert ">000102030405…<" in html
    assert f'data-copy="{raw.hex()}"' in html
    assert f">{raw.hex()}<" in draw("{% digest raw full=True %}", raw=memoryview(raw))


def test_times_carry_microseconds_for_machines() -> None:
    html = draw('{% instant at "ms" %}', at=NOW.replace(microsecond=173_512))
    assert 'datetime="2026-05-01T09:30:00.173512Z"' in html
    assert ">2026-05-01 09:30:00.173Z<" in html


def test_relative_times_follow_the_database_clock_of_the_page() -> None:
    at = NOW - timedelta(seconds=4)
    assert 'data-relative="ago">4 s ago<' in draw("{% ago at %}", at=at)
    assert ">2026-05-01 07:30:00Z<" in draw("{% ago at %}", at=NOW - timedelta(hours=2))
    assert ">4 s<" in draw("{% elapsed at %}", at=at)
    assert "data-relative" not in draw("{% elapsed at end %}", at=at, end=NOW)
    soon = draw('{% countdown at ended="expired" %}', at=NOW + timedelta(seconds=249))
    assert 'data-relative="countdown" data-ended="expired">in 4m 09s<' in soon
    assert ">expired<" in draw('{% countdown at ended="expired" %}', at=at)


@pytest.mark.parametrize(
    "source",
    [
        "{% instant x %}",
        "{% ago x %}",
        "{% countdown x %}",
        "{% duration x %}",
        "{% elapsed x %}",
        "{% digest x %}",
        '{% typeid "sess" x %}',
        "{{ x|number }}",
        "{{ x|binary_size }}",
    ],
)
def test_nothing_is_a_dash(source: str) -> None:
    assert "–" in draw(source, x=None)


def test_the_pager_keeps_the_filter_and_replaces_the_cursor() -> None:
    html = draw('{% pager older="a b" newer="" count="412 sessions" %}')
    assert 'href="?state=failed&amp;profile=p&amp;cursor=a+b"' in html
    assert 'href="?state=failed&amp;profile=p"' in html
    assert "412 sessions" in html
    assert "Newer" not in draw('{% pager older="a" %}')


def test_a_chip_removes_its_own_filter_and_the_cursor() -> None:
    assert 'href="?profile=p"' in draw('{% chip "State" "failed" "state" %}')


def test_tabs_mark_the_current_one() -> None:
    links = [Link("Queue", "/q", count=4), Link("Active", "/a", current=True)]
    html = draw('{% tabs "Lists" links %}', links=links)
    assert html.count('aria-current="page"') == 1
    assert '<nav class="tabs" aria-label="Lists">' in html


def test_without_a_page_the_clock_is_this_process_own() -> None:
    at = datetime.now(UTC) - timedelta(minutes=5)
    assert "5 min ago" in draw("{% ago at %}", at=at, request=HttpRequest())
