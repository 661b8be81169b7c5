"""`demo`: something of every kind to see, commands that work when pasted, and no leftovers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.commands.product import (
    Http,
    Product,
    Running,
    eventually,
    free_port,
    is_free,
    new_data_dir,
    remove_data_dir,
)

ENDED = "Ctrl-C stops everything."


@dataclass
class Demo:
    product: Product
    running: Running
    said: str
    port: int

    def tokens(self) -> dict[str, str]:
        lines = (self.product.data_dir / "demo.env").read_text().splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def api(self, role: str) -> Http:
        known = self.tokens()
        return Http(known["KEEPTRUSTS_URL"], known[f"{role}_TOKEN"])


def start(product: Product) -> Demo:
    port = free_port()
    running = product.start("demo", "--bind", f"127.0.0.1:{port}")
    return Demo(product, running, running.wait_until_said(ENDED), port)


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    data_dir = new_data_dir()
    product = Product(data_dir)
    yield product
    product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


@pytest.fixture
def demo(product: Product) -> Iterator[Demo]:
    demo = start(product)
    yield demo
    demo.running.close()


def sessions(api: Http, **query: str) -> list[Any]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return api.items(f"/v1/runners/sessions?{asked}")


def test_there_is_a_session_of_every_kind_the_printed_commands_work_and_ctrl_c_ends_it(
    demo: Demo,
) -> None:
    api = demo.api("VIEWER")
    for what, look in {
        "one is running": lambda: sessions(api, state="running"),
        "one waits for an approval": lambda: api.items("/v1/runners/permissions?state=requested"),
        "one has failed": lambda: sessions(api, state="failed"),
        "one is cancelled": lambda: sessions(api, state="cancelled"),
        "one is completed": lambda: sessions(api, state="completed"),
    }.items():
        assert eventually(look, what)
    assert {each["reason"] for each in sessions(api, state="failed")} == {
        "report_source_unreachable"
    }
    pasted_commands_work(demo)

    demo.running.signal(signal.SIGINT)

    assert demo.running.wait(30) == 0, demo.running.said()
    assert demo.running.said().rstrip().endswith("Stopped.")
    assert "Traceback" not in demo.running.said()
    assert demo.product.processes() == {}
    assert is_free(demo.port)


def pasted_commands_work(demo: Demo) -> None:
    found = re.search(r"in another terminal:\n(.*)\nLogs are in", demo.said, re.DOTALL)
    assert found is not None
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found[1]],
        cwd=demo.product.data_dir,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    session = ended.stdout.split()[0]
    assert re.fullmatch(r"sess_[0-9a-z]{26}", session)
    path = f"/v1/runners/sessions/{session}"
    assert demo.api("VIEWER").get(path)["state"] == "dispatched"
    kinds = [event["kind"] for event in demo.api("VIEWER").items(f"{path}/events")]
    assert "step.started" in kinds
    assert ended.stdout.count('"step.started"') == 2, ended.stdout


def test_it_goes_on_where_it_was_and_takes_everything_along_when_killed(demo: Demo) -> None:
    """On the data directory of the test before."""
    api = demo.api("VIEWER")
    assert eventually(lambda: sessions(api, state="running"), "one is running")
    assert len(demo.product.processes()) > 5

    demo.running.signal(signal.SIGKILL)
    demo.running.wait()

    demo.product.wait_until_gone(30)
    assert is_free(demo.port)


def test_a_server_that_dies_ends_it_with_one_line(demo: Demo) -> None:
    (server,) = [
        pid for pid, command in demo.product.processes().items() if "manage.py serve" in command
    ]
    os.kill(server, signal.SIGKILL)

    assert demo.running.wait(60) == 1
    last = demo.running.said().rstrip().splitlines()[-1]
    assert (
        last
        == f"CommandError: The server has ended; {demo.product.data_dir}/logs/server.log says why."
    )
    demo.product.wait_until_gone(30)
