"""The list of a session's files: what the real sha256sum makes of it, and the verifier."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptrusts_runners.evidence import bundle_writer, layout
from keeptrusts_runners.evidence.file_names import (
    MAX_NAME_BYTES,
    SUMS_NAME,
    Listed,
    file_name,
    sums,
    sums_line,
)
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import FILES, Bundle, Recorded, a_session

KEY = SigningKey.generate()

SHA256SUM = shutil.which("sha256sum")
needs_sha256sum = pytest.mark.skipif(SHA256SUM is None, reason="there is no sha256sum here")


def checked(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What sha256sum -c says of a list in a directory."""
    (directory / SUMS_NAME).write_bytes(text.encode())
    return subprocess.run(
        ["sha256sum", "-c", "--strict", SUMS_NAME],
        cwd=directory, capture_output=True, text=True, check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"}, timeout=30,
    )  # fmt: skip


def names_of(text: str) -> list[str]:
    return [line.partition("  ")[2] for line in text.splitlines()]


HOSTILE = [
    "a.txt", "dir/a.txt", "../../a.txt", "A.TXT", "C:\\a.txt", "a.art_2.txt", "artifact", "..", ".",
    "", "/", "a\nb", "a\r\nb", "SHA256SUMS", "sha256sums", "-c", "# comment", "\\backslash",
    " spaces ", "x" * 300, "é", "e\u0301", "日" * 200 + ".tar.gz", "\u202egpj.exe", "a\x00b",
    "a\x1b[31m", "~", "*star",
]  # fmt: skip


@pytest.mark.proves("artifact.manifest")
@needs_sha256sum
def test_sha256sum_finds_every_file_under_its_name(tmp_path: Path) -> None:
    contents = [f"content {number}".encode() for number in range(len(HOSTILE))]
    listed = [
        Listed(f"art_{number}", name, hashlib.sha256(content).hexdigest())
        for number, (name, content) in enumerate(zip(HOSTILE, contents, strict=True))
    ]
    text = "".join(sums(listed))
    names = names_of(text)
    assert len({name.casefold() for name in [*names, SUMS_NAME]}) == len(names) + 1
    for name, content in zip(names, contents, strict=True):
        assert len(name.encode()) <= MAX_NAME_BYTES
        (tmp_path / name).write_bytes(content)
    good = checked(tmp_path, text)
    assert (good.returncode, good.stdout.count(": OK\n")) == (0, len(names)), good
    (tmp_path / names[3]).write_bytes(b"other")
    bad = checked(tmp_path, text)
    assert (bad.returncode, bad.stdout.count(": FAILED\n")) == (1, 1)


@needs_sha256sum
@pytest.mark.parametrize("name", ["a\\b", "a\nb", "\\", "\\n", "a\\\nb", "plain"])
def test_names_are_escaped_as_coreutils_does(name: str, tmp_path: Path) -> None:
    """No name of ours needs it; a list that somebody else's names stand in would."""
    (tmp_path / name).write_bytes(b"x")
    line = sums_line(hashlib.sha256(b"x").hexdigest(), name)
    made = subprocess.run(
        ["sha256sum", "--", name], cwd=tmp_path, capture_output=True, check=True, timeout=30
    )
    assert made.stdout.decode() == line
    assert checked(tmp_path, line).returncode == 0


@needs_sha256sum
def test_removed_content_is_named_in_a_comment(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    (tmp_path / "a.art_2").write_bytes(b"x")
    text = "".join(
        sums([Listed("art_1", "a", "0" * 64, removed=True), Listed("art_2", "a", digest)])
    )
    assert text == f"# removed: {'0' * 64}  a\n{digest}  a.art_2\n"
    assert checked(tmp_path, text).returncode == 0


@given(st.lists(st.text(max_size=40), max_size=20))
def test_every_name_is_a_plain_file_and_no_two_are_one(names: list[str]) -> None:
    text = "".join(sums(Listed(f"art_{n}", name, "0" * 64) for n, name in enumerate(names)))
    found = names_of(text)
    assert len(found) == len(names)
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert name == file_name(name)
        assert not set(name) & set("/\\\0\n\r")
        assert name not in (".", "..")
        assert 0 < len(name.encode()) <= MAX_NAME_BYTES


# --- in the bundle ---------------------------------------------------------------------------


def verified(bundle: bytes, tmp_path: Path) -> Any:
    place = tmp_path / "bundle.tar"
    place.write_bytes(bundle)
    return verify_bundle(place, KEY.kid)


def with_sums(recorded: Recorded, change: Callable[[str], str]) -> bytes:
    """What a server would sign that lies in this one file."""
    files = [
        (name, change(content.decode()).encode() if name == layout.SUMS else content)
        for name, content in recorded.files(KEY)
    ]
    out = io.BytesIO()
    bundle_writer.write_bundle(out, files, recorded.predicate(), KEY)
    return out.getvalue()


@pytest.mark.proves("artifact.manifest")
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(text[:64], "0" * 64),
        lambda text: text.partition("\n")[2],
        lambda text: text + text,
        lambda text: text.rstrip("\n"),
        lambda text: "",
        lambda text: "# removed: " + text,
        lambda text: text.replace("  ", "  ../"),
        lambda text: text.replace("  ", "  /"),
        lambda text: "\n".join(line[:66] + "same" for line in text.splitlines()) + "\n",
        lambda text: text.replace("  ", " *"),
        lambda text: "\n".join(text.splitlines()[::-1]) + "\n",
        lambda text: text.upper(),
    ],
)
def test_a_list_that_says_otherwise_than_the_artifacts_is_named(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    assert verified(with_sums(a_session(), lambda text: text), tmp_path).exit_code == 0
    report = verified(with_sums(a_session(), change), tmp_path)
    assert (report.exit_code, report.first_bad.where) == (1, "SHA256SUMS")


def old_bundle(key: SigningKey) -> Bundle:
    """As one was written before there was such a list: neither the file nor its digest."""
    bundle = Bundle.open(a_session().export(key))
    document = bundle.statement()
    document["subject"] = [each for each in document["subject"] if each["name"] != layout.SUMS]
    return bundle.without(layout.SUMS).resign(key, document)


@pytest.mark.proves("evidence.offline")
def test_a_bundle_from_before_the_list_still_verifies(tmp_path: Path) -> None:
    assert verified(old_bundle(KEY).pack(), tmp_path).exit_code == 0


def test_a_list_that_is_taken_out_or_put_in_is_named(tmp_path: Path) -> None:
    report = verified(Bundle.open(a_session().export(KEY)).without(layout.SUMS).pack(), tmp_path)
    assert (report.exit_code, report.first_bad.where) == (1, "SHA256SUMS")
    put_in = old_bundle(KEY)
    members = list(put_in.members)
    members.insert(
        members.index((layout.CHECKPOINTS, put_in[layout.CHECKPOINTS])), (layout.SUMS, b"")
    )
    report = verified(Bundle(members).pack(), tmp_path)
    assert (report.exit_code, report.first_bad.where) == (1, "SHA256SUMS")


def test_the_list_is_that_of_the_artifacts(tmp_path: Path) -> None:
    bundle = Bundle.open(a_session().export(KEY))
    for name, content in FILES.items():
        assert f"{hashlib.sha256(content).hexdigest()}  {name}\n" in bundle[layout.SUMS].decode()
