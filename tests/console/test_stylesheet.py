"""The style sheet and the script as files: contrast of every pair, size, and no inline code."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from keeptrusts_runners import env
from keeptrusts_runners.console import looks

CONSOLE = env.BASE_DIR / "keeptrusts_runners/console/static/console"
CSS = (CONSOLE / "console.css").read_text()
TEMPLATES = sorted((env.BASE_DIR / "templates").rglob("*.html"))

TONES = sorted({look.tone for look in looks.LOOKS.values()})
SURFACES = ("bg", "panel", "inset")
TEXT, GRAPHIC = 4.5, 3.0

PAIRS = [
    *[(ink, surface, TEXT) for ink in ("text", "muted", "link") for surface in SURFACES],
    *[("control", surface, GRAPHIC) for surface in SURFACES],
    *[(tone, f"{tone}-bg", TEXT) for tone in TONES],
    *[(tone, surface, TEXT) for tone in TONES for surface in ("bg", "panel")],
    ("expired", "inset", TEXT),
    ("on-primary", "link", TEXT),
    ("on-danger", "danger", TEXT),
]


def tokens(selector: str) -> dict[str, str]:
    """The custom properties of the one rule with this selector."""
    (body,) = re.findall(re.escape(selector) + r"\{([^{}]*)\}", CSS)
    return dict(re.findall(r"--([\w-]+):\s*([^;]+)", body))


LIGHT = tokens(":root")
DARK = tokens('[data-theme="dark"]')


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = colour.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000", "#fff") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("ink", "surface", "least"), PAIRS)
@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_pair_is_legible(theme: dict[str, str], ink: str, surface: str, least: float) -> None:
    assert contrast(theme[ink], theme[surface]) >= least


def test_dark_redefines_colours_only_and_the_same_in_both_places() -> None:
    assert tokens(':root:not([data-theme="light"])') == DARK
    assert set(LIGHT) - set(DARK) == {"mono"}
    assert set(DARK) <= set(LIGHT)


def test_colours_are_tokens() -> None:
    """A colour outside the token blocks would escape the contrast check."""
    rules = re.sub(r"--[\w-]+:[^;}]+", "", CSS)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rules)


def test_every_token_is_used() -> None:
    used = set(re.findall(r"var\(--([\w-]+)", CSS))
    assert set(LIGHT) <= used


def test_sizes_stay_within_the_budget() -> None:
    """As they travel; a page asks for nothing besides them."""
    style, *scripts = (
        gzip.compress((CONSOLE / name).read_bytes())
        for name in ("console.css", "console.js", "live.js", "windows.js")
    )
    assert len(style) <= 5 * 1024
    assert all(len(script) <= 8 * 1024 for script in scripts)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_inline_code(path: Path) -> None:
    """What the content security policy would refuse is not written in the first place."""
    html = path.read_text()
    assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\ssrc=)", html)


def test_every_look_has_its_shape_and_tone() -> None:
    sprite = (env.BASE_DIR / "templates/console/_icons.html").read_text()
    for look in set(looks.LOOKS.values()):
        assert f'id="i-{look.icon}"' in sprite
        assert f".{look.tone}{{" in CSS
