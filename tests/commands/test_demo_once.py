"""`demo --once` on a fresh data directory: the whole road, and evidence that tells on tampering."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from keeptrusts_runners.evidence.verifier import build
from tests.commands.product import Product, is_free, new_data_dir, remove_data_dir

ROAD = (
    "dispatched",
    "claimed",
    "running",
    "event",
    "grant requested",
    "grant approved",
    "grant active",
    "grant used",
    "artifact",
    "checkpoint",
    "complete",
    "grant ended",
    "anchoring",
    "anchored",
    "evidence",
    "evidence verified",
)

WAY_OUT = (
    "grant requested",
    "grant approved",
    "grant active",
    "grant used",
    "grant revoked",
    "egress cut",
    "complete",
)


@dataclass
class Walked:
    """A demo that has ended, what it said, and what it left."""

    product: Product
    ended: subprocess.CompletedProcess[str]
    taken_port: int
    port: int

    @property
    def check(self) -> list[str]:
        """The arguments of the command that the demo says checks the evidence again."""
        (line,) = re.findall(r"python3 manage\.py (verify_evidence .*)", self.ended.stdout)
        return str(line).split()

    @property
    def bundle(self) -> Path:
        return Path(self.check[1])


@pytest.fixture(scope="module")
def walked() -> Iterator[Walked]:
    """On a port that is taken, as 8000 often is."""
    data_dir = new_data_dir()
    product = Product(data_dir)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = product.run("demo", "--once", "--bind", f"127.0.0.1:{port}")
        (used,) = re.findall(r"is taken; using 127\.0\.0\.1:(\d+)\.", ended.stdout) or ["0"]
        yield Walked(product, ended, port, int(used))
    remove_data_dir(data_dir)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The single file, in a Python that has nothing but its own library."""
    file = tmp_path_factory.mktemp("verifier") / build.NAME
    build.build(file)
    return [sys.executable, "-I", "-S", str(file)]


@pytest.mark.proves("run.road")
def test_the_road_is_told_step_by_step_and_nothing_is_left_behind(walked: Walked) -> None:
    assert walked.ended.returncode == 0, walked.ended.stdout + walked.ended.stderr
    told = re.findall(r"^ *[\d.]+ s  (.{17})  ", walked.ended.stdout, re.MULTILINE)
    steps = [step.strip() for step in told]
    places = [steps.index(step) for step in ROAD]
    assert places == sorted(places), steps
    # Its own steps are after those of the road; anchoring goes on meanwhile.
    scene = steps[steps.index("complete") + 1 : steps.index("anchoring")]
    places = [scene.index(step) for step in WAY_OUT]
    assert places == sorted(places), scene
    assert "egress refused" in scene
    assert steps[-1] == "evidence verified"
    assert "\nVERIFIED\n" in walked.ended.stdout
    assert re.search(r"^Anchor +record \d+ is leaf \d+ of \d+", walked.ended.stdout, re.MULTILINE)
    # It waited for the end of all that it had started: embedded PostgreSQL, too.
    assert walked.product.processes() == {}
    assert walked.port > walked.taken_port
    assert is_free(walked.port)


def test_the_bundle_verifies_by_the_command_and_by_the_single_file(
    walked: Walked, verifier: list[str], tmp_path: Path
) -> None:
    by_command = walked.product.run(*walked.check)
    assert by_command.returncode == 0, by_command.stdout + by_command.stderr
    alone = subprocess.run(
        [*verifier, *walked.check[1:]],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert alone.stdout == by_command.stdout


@pytest.mark.proves("evidence.tampering")
def test_one_flipped_byte_anywhere_is_found_and_named(
    walked: Walked, verifier: list[str], tmp_path: Path
) -> None:
    whole = walked.bundle.read_bytes()
    with tarfile.open(walked.bundle) as archive:
        members = [member for member in archive.getmembers() if member.size]
    damaged = tmp_path / "damaged.tar"
    for member in members:
        for offset in {0, member.size // 2, member.size - 1}:
            place = member.offset_data + offset
            flipped = bytes([whole[place] ^ 1])
            damaged.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            ended = subprocess.run(
                [*verifier, str(damaged), *walked.check[2:]],
                capture_output=True,
                text=True,
                check=False,
            )
            said = ended.stdout + ended.stderr
            assert ended.returncode == 1, (member.name, offset, said)
            assert re.search(rf"{re.escape(member.name)}|record \d+", said), (member.name, said)
            assert "Traceback" not in said
    by_command = walked.product.run("verify_evidence", str(damaged), *walked.check[2:])
    assert by_command.returncode == 1, by_command.stdout
    assert members[-1].name in by_command.stdout
