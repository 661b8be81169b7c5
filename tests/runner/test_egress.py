"""The proxy of a real runner: nothing passes without a grant, and nothing outlives it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keeptrusts_runners.runner.build import build
from tests.runner.conftest import ROOT, Publish, StartRunner
from tests.runner.control_plane import CLIENT, DEADLINE, ControlPlane, moment
from tests.runner.way_out import (
    SAYS_ITS_PROXY,
    OpenProxy,
    Proxy,
    Site,
    is_cut,
    opener,
    read_to_end,
    refusals,
)

RARELY = 600

# With nothing but what every library does by itself: the variables of its environment.
FETCHES = """
    import urllib.error, urllib.request
    import keeptrusts_harness

    def fetch(url):
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return [answer.status, answer.read().decode()]
        except urllib.error.HTTPError as error:
            return [error.code, error.read().decode()]

    def main(session):
        url = session.input["url"]
        first = fetch(url)
        session.obtain_grant(session.input["operation"], "", "to fetch", 60)
        return {"first": first, "second": fetch(url)}

    keeptrusts_harness.run(main)
"""


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def open_proxy(plane: ControlPlane, publish: Publish, start_runner: StartRunner) -> OpenProxy:
    return opener(plane, publish, start_runner)


@pytest.mark.proves("grant.egress-only-with-grant")
def test_nothing_passes_without_a_grant_and_the_answer_says_what_to_request(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    for request in (proxy.plain(site.place), proxy.connect(site.place)):
        said = proxy.answer(request)
        assert said.startswith("HTTP/1.1 403 ")
        assert f"{site.operation} is not granted to this session" in said
    plane.wait_for(lambda: refusals(session), "the refusal on record")
    told = refusals(session)[0]
    assert (told["host"], told["port"]) == ("127.0.0.1", site.port)
    assert told["reason"] == "not_granted"
    assert site.requests == []
    assert session.grants == []


@pytest.mark.proves("grant.egress-only-with-grant")
@pytest.mark.parametrize(
    "facts",
    [
        {"operation": "network.egress:127.0.0.1"},
        {"operation": "network.egress:127.0.0.1:1"},
        {"operation": "network.egress:localhost:{port}"},
        {"operation": "network.ingress:127.0.0.1:{port}"},
        {"lease_epoch": 7},
        {"state": "requested"},
        {"state": "revoked"},
        {"ttl_seconds": 0},
        {"constraints": {"methods": ["GET"]}},
    ],
)
def test_another_grant_opens_nothing(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site, facts: dict[str, object]
) -> None:
    proxy, session, _ = open_proxy()
    wanted = str(facts.pop("operation", site.operation)).replace("{port}", str(site.port))
    plane.grant(session, wanted, **facts)
    assert proxy.get(site.place).startswith("HTTP/1.1 403 ")
    assert site.requests == []
    assert session.grants[0]["uses"] == 0


@pytest.mark.proves("grant.egress-only-with-grant")
def test_with_a_grant_each_connection_passes_and_is_recorded_as_a_use(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    assert proxy.get(site.place).startswith("HTTP/1.1 403 ")
    grant = plane.grant(session, site.operation)
    assert proxy.get(site.place).endswith("\r\n\r\nhello")
    with proxy.tunnel(site.place) as sock:
        sock.sendall(b"GET /one HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_to_end(sock).endswith("hello")
    assert grant["targets"] == [site.place, site.place]
    assert [line for line, _, _ in site.requests] == ["GET /hello HTTP/1.1", "GET /one HTTP/1.1"]


def test_a_grant_is_found_in_whatever_spelling_it_was_requested(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, "network.egress:Nowhere.INVALID.:80")
    said = proxy.get("nowhere.invalid")
    assert said.startswith("HTTP/1.1 502 ")
    assert session.grants[0]["uses"] == 0


def test_a_grant_for_a_single_use_passes_one_connection(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation, single_use=True)
    with proxy.download(site.place) as sock:
        assert proxy.get(site.place).startswith("HTTP/1.1 403 ")
        listed = plane.requested("/permissions")
        plane.wait_for(lambda: session.heartbeats > 30, "time to go by")
        assert sock.recv(4096), "consumed is not ended: the one connection goes on"
        assert plane.requested("/permissions") == listed
    assert session.grants[0]["uses"] == 1


@pytest.mark.proves("grant.egress-cut")
def test_a_revoked_grant_cuts_a_running_download(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    grant = plane.grant(session, site.operation)
    with proxy.download(site.place) as sock:
        grant["state"] = "revoked"
        assert is_cut(sock)
    plane.wait_for(lambda: refusals(session, "x.egress.cut"), "the cut on record")
    told = refusals(session, "x.egress.cut")[0]
    assert (told["port"], told["reason"]) == (site.port, "grant_ended")


@pytest.mark.proves("grant.egress-cut")
def test_an_expired_grant_cuts_a_running_download_though_the_control_plane_is_away(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy(lease_seconds=RARELY, heartbeat_seconds=RARELY)
    plane.grant(session, site.operation, ttl_seconds=1)
    with proxy.download(site.place) as sock:
        plane.away = True
        assert is_cut(sock)
    plane.away = False
    plane.wait_for(lambda: refusals(session, "x.egress.cut"), "the cut on record")
    assert refusals(session, "x.egress.cut")[0]["reason"] == "grant_expired"


def test_what_is_open_lives_on_with_a_renewed_grant(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    grant = plane.grant(session, site.operation, ttl_seconds=4)
    first_end = grant["expires_at"]
    with proxy.download(site.place) as sock:
        grant["expires_at"] = moment(600)
        plane.wait_for(lambda: moment(-1) > first_end, "a second past the first end")
        assert sock.recv(4096)
        grant["state"] = "revoked"
        assert is_cut(sock)
    plane.wait_for(lambda: refusals(session, "x.egress.cut"), "the cut on record")
    assert refusals(session, "x.egress.cut")[0]["reason"] == "grant_ended"


@pytest.mark.proves("grant.egress-cut")
def test_a_lost_lease_cuts_what_is_open(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, runner = open_proxy()
    plane.grant(session, site.operation)
    with proxy.download(site.place) as sock:
        session.epoch += 1
        assert is_cut(sock)
    runner.wait_until_said("session.lost")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(proxy.address, DEADLINE)


@pytest.mark.proves("grant.egress-cut")
def test_the_end_of_the_attempt_cuts_what_is_open(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, runner = open_proxy("--once")
    plane.grant(session, site.operation)
    with proxy.download(site.place) as sock:
        runner.signal(signal.SIGTERM)
        assert is_cut(sock)
    assert runner.wait() == 1
    assert session.endings[0]["error"]["code"] == "runner_stopped"


def test_what_is_missing_is_requested_once_and_passes_when_approved(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    plane.grants_become = "requested"
    proxy, session, _ = open_proxy("--egress-request", "90")
    for _ in range(2):
        said = proxy.get(site.place)
        assert said.startswith("HTTP/1.1 403 ")
        assert "waits for its approval as grant_1" in said
    (grant,) = session.grants
    assert (grant["operation"], grant["ttl_seconds"]) == (site.operation, 90)
    grant["state"] = "active"
    assert proxy.get(site.place).endswith("hello")


def test_what_the_policy_grants_at_once_passes_at_the_first_try(
    open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy("--egress-request")
    assert proxy.get(site.place).endswith("hello")
    assert session.grants[0]["ttl_seconds"] == 600


@pytest.mark.parametrize("state", ["denied", "revoked"])
def test_nothing_is_requested_again_over_a_persons_no(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site, state: str
) -> None:
    proxy, session, _ = open_proxy("--egress-request")
    plane.grant(session, site.operation, state=state)
    said = proxy.get(site.place)
    assert said.startswith("HTTP/1.1 403 ")
    assert f"was {state} by a person" in said
    assert len(session.grants) == 1


def test_while_the_control_plane_is_away_nothing_new_passes(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy(lease_seconds=RARELY, heartbeat_seconds=RARELY)
    plane.grant(session, site.operation)
    plane.away = True
    assert proxy.get(site.place).startswith("HTTP/1.1 503 ")
    assert site.requests == []


def test_a_lost_answer_to_a_use_is_one_use(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation, single_use=True)
    plane.lose_answer("/use")
    assert proxy.get(site.place).endswith("hello")
    assert session.grants[0]["uses"] == 1


@pytest.mark.proves("grant.egress-only-with-grant")
def test_a_granted_name_that_leads_to_this_host_is_refused_and_costs_no_use(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy("--egress-private", "localhost")
    plane.grant(session, f"network.egress:localhost:{site.port}", single_use=True)
    assert proxy.get(f"localhost:{site.port}").startswith("HTTP/1.1 403 ")
    plane.wait_for(lambda: refusals(session), "the refusal on record")
    assert refusals(session)[0]["reason"] == "private_address"
    assert site.requests == []
    assert session.grants[0]["uses"] == 0


def test_nothing_of_a_proxy_stays_in_the_runner(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, site: Site
) -> None:
    runner = start_runner("--egress", "--wait-seconds", "0")
    plane.wait_for(lambda: len(plane.claims) > 2, "a few claims")
    before = runner.threads()
    session = plane.dispatch(publish(SAYS_ITS_PROXY))
    plane.wait_for(lambda: session.lines("stdout"), "the proxy's address")
    proxy = Proxy(session.lines("stdout")[0])
    plane.grant(session, site.operation)
    proxy.get("127.0.0.1:1")
    with proxy.download(site.place) as sock, proxy.connection(b"GET "):
        assert runner.threads() > before
        plane.want(session, "cancelled")
        assert is_cut(sock)
    plane.wait_for(lambda: runner.threads() <= before, "the end of its threads")


def test_repeated_refusals_are_told_together(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, runner = open_proxy("--once")
    for _ in range(5):
        proxy.get(site.place)
    runner.signal(signal.SIGTERM)
    runner.wait()
    counts = [told["count"] for told in refusals(session)]
    assert sum(counts) == 5
    assert len(counts) <= 2


def test_a_harness_follows_the_variables_and_speaks_to_the_control_plane_directly(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, site: Site
) -> None:
    given = {"url": f"http://{site.place}/hello", "operation": site.operation}
    session = plane.dispatch(publish(FETCHES), given)
    assert start_runner("--once", "--egress").wait() == 0
    result = session.endings[0]["result"]
    assert result["first"][0] == 403
    assert result["second"] == [200, "hello"]
    assert [grant["uses"] for grant in session.grants] == [1]


def test_the_control_plane_itself_needs_no_grant(
    plane: ControlPlane, open_proxy: OpenProxy
) -> None:
    proxy, session, _ = open_proxy()
    assert proxy.get(plane.url.removeprefix("http://"), "/v1/unknown").startswith("HTTP/1.1 404 ")
    assert session.grants == []


def test_without_the_option_there_is_no_proxy(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(
        publish("import os; print([name for name in os.environ if 'prox' in name.lower()])")
    )
    assert start_runner("--once").wait() == 0
    assert session.lines("stdout") == ["[]"]


@pytest.mark.proves("grant.egress-only-with-grant")
def test_the_single_file_has_the_proxy_too(
    plane: ControlPlane, publish: Publish, site: Site, tmp_path: Path
) -> None:
    target = tmp_path / "keeptrusts-runner.pyz"
    build(target)
    given = {"url": f"http://{site.place}/hello", "operation": site.operation}
    session = plane.dispatch(publish(FETCHES), given)
    secret = tmp_path / "client-secret"
    secret.write_text(CLIENT[1])
    command = [sys.executable, "-I", str(target), "--url", plane.url, "--client-id", CLIENT[0]]
    command += ["--client-secret-file", str(secret), "--work-dir", str(tmp_path / "work")]
    command += ["--harness-dir", str(tmp_path / "harnesses"), "--once", "--egress"]
    subprocess.run(command, cwd=ROOT, timeout=DEADLINE, check=True, env=dict(os.environ))
    result = session.endings[0]["result"]
    assert (result["first"][0], result["second"]) == (403, [200, "hello"])
