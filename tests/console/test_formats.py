"""How times, lengths, sizes and foreign text are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from keeptrusts_runners.console import formats, json_html

AT = datetime(2026, 5, 1, 9, 30, 0, 173_512, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.0004, "0 ms"),
        (0.812, "812 ms"),
        (1, "1 s"),
        (59.99, "59 s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3849, "1h 04m 09s"),
        (86_400, "1d 00h 00m"),
        (-5, "0 s"),
        (timedelta(days=3, hours=1, minutes=4, seconds=9), "3d 01h 04m"),
    ],
)
def test_durations(value: float | timedelta, text: str) -> None:
    assert formats.duration(value) == text


def test_instants_are_utc_with_the_zone_on_each() -> None:
    kolkata = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert formats.instant(kolkata) == "2026-05-01 09:30:00Z"
    assert formats.instant(kolkata, "ms") == "2026-05-01 09:30:00.173Z"
    assert formats.machine_instant(kolkata) == "2026-05-01T09:30:00.173512Z"


def test_a_fraction_is_cut_not_rounded_into_the_next_second() -> None:
    assert formats.instant(AT.replace(microsecond=999_999), "ms") == "2026-05-01 09:30:00.999Z"


@pytest.mark.parametrize(
    ("age", "text"),
    [(-3, "0 s ago"), (4, "4 s ago"), (60, "1 min ago"), (3599, "59 min ago"), (3600, None)],
)
def test_relative_times_end_after_an_hour(age: int, text: str | None) -> None:
    assert formats.ago(AT, AT + timedelta(seconds=age)) == text


def test_a_countdown_never_reads_zero_before_it_is_over() -> None:
    assert formats.until(AT, AT - timedelta(milliseconds=5)) == "in 1 s"
    assert formats.until(AT, AT) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (319_488, "312.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**5, "5120.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain\n\tkept", "plain\n\tkept"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("a\u202eb", 'a<span class="escape">\\u202e</span>b'),
        ("a\u200bb", 'a<span class="escape">\\u200b</span>b'),
        ("nul\x00", 'nul<span class="escape">\\u0000</span>'),
        ("lone \ud800", 'lone <span class="escape">\\ud800</span>'),
        ("<\x07>", '&lt;<span class="escape">\\u0007</span>&gt;'),
    ],
)
def test_foreign_text_is_inert(text: str, html: str) -> None:
    assert formats.visible(text) == html


def test_json_is_nested_details_with_two_levels_open() -> None:
    html = json_html.render({"a": {"b": {"c": 1}}, "empty": [], "text": "<b>"})
    assert html.count("<details open>") == 2
    assert html.count("<details>") == 1
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_json_says_what_it_leaves_out() -> None:
    assert "the rest is in the download" in json_html.render(list(range(5_000)))
    assert "(5,002 characters)" in json_html.render("x" * 5_000)
    assert len(json_html.render(list(range(5_000)))) < 200_000
