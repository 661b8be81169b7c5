"""The command line as a newcomer meets it, the single file, and what the package may import."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keeptrusts_runners.runner.build import build
from tests.runner.conftest import ROOT, Publish, StartRunner
from tests.runner.control_plane import CLIENT, ControlPlane

PACKAGE = ROOT / "keeptrusts_runners" / "runner"


def run(*arguments: str, program: tuple[str, ...] = ("-m", "keeptrusts_runners.runner")) -> str:
    """Both streams of a run that has to end by itself, and its exit status in front."""
    ended = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return f"{ended.returncode} {ended.stdout}{ended.stderr}"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "client-secret"
    path.write_text("wrong")
    return path


def given(url: str, secret: Path, *more: str) -> list[str]:
    return ["--url", url, "--client-id", "c", "--client-secret-file", str(secret), *more]


def test_the_single_file_runs_without_the_checkout(tmp_path: Path) -> None:
    target = tmp_path / "keeptrusts-runner.pyz"
    build(target)
    said = subprocess.run(
        [sys.executable, "-I", "-S", str(target), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "--client-secret-file" in said
    assert "--wait-seconds" in said


def test_the_single_file_executes_a_session(
    plane: ControlPlane, publish: Publish, tmp_path: Path
) -> None:
    target = tmp_path / "keeptrusts-runner.pyz"
    build(target)
    revision = publish(
        "import keeptrusts_harness; keeptrusts_harness.run(lambda session: {'from': 'one file'})"
    )
    session = plane.dispatch(revision)
    secret = tmp_path / "client-secret"
    secret.write_text(CLIENT[1])
    said = run(
        *("--url", plane.url, "--client-id", CLIENT[0], "--client-secret-file", str(secret)),
        *("--once", "--harness-dir", str(tmp_path / "harnesses")),
        *("--work-dir", str(tmp_path / "work")),
        program=("-I", str(target)),
    )
    assert said.startswith("0 ")
    assert session.endings[0]["result"] == {"from": "one file"}


def test_the_same_sources_make_the_same_file(tmp_path: Path) -> None:
    build(tmp_path / "one")
    build(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_package_imports_only_the_standard_library_and_itself() -> None:
    allowed = {*sys.stdlib_module_names, "keeptrusts_harness"}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                ours = module.startswith("keeptrusts_runners.runner")
                assert ours or module.split(".")[0] in allowed, f"{path.name} imports {module}"


def test_a_missing_secret_file_is_one_clear_line(tmp_path: Path) -> None:
    said = run(*given("http://127.0.0.1:9", tmp_path / "none"))
    assert said == (
        f"2 runner: cannot read the client secret in {tmp_path}/none: No such file or directory\n"
    )


def test_an_empty_secret_file_is_one_clear_line(secret: Path) -> None:
    secret.write_text("\n")
    assert run(*given("http://127.0.0.1:9", secret)).endswith("client-secret is empty\n")


@pytest.mark.parametrize(
    ("more", "clue"),
    [
        (["--slots", "0"], "--slots: 0 is not between 1 and 50"),
        (["--wait-seconds", "-1"], "--wait-seconds: -1 is not between 0 and 30"),
        (["--wait-seconds", "31"], "--wait-seconds: 31 is not between 0 and 30"),
        (["--wait-seconds", "nan"], "--wait-seconds: nan is not between 0 and 30"),
        (["--wait-seconds", "inf"], "--wait-seconds: inf is not between 0 and 30"),
        (["--wait-seconds", "2.5"], "--wait-seconds: 2.5 is not a whole number"),
        (["--poll-seconds", "nan"], "--poll-seconds: nan is not between 0.05 and 300"),
        (["--label", "no-value"], "--label: write it as KEY=VALUE, not 'no-value'"),
        (["--pass-env", "A=1"], "--pass-env: 'A=1' is not a variable's name"),
        (["--pass-env", "KEEPTRUSTS_URL"], "are the runner's: KEEPTRUSTS_URL"),
        (["--harness-dir", "/absent"], "--harness-dir: /absent is not a directory"),
        (["--url", "ftp://there"], "--url: not an http or https address: ftp://there"),
        (["--url", "http://there:port"], "--url: "),
        (["--egress-request"], "--egress-request: say --egress as well"),
        (["--egress-private", "a"], "--egress-private: say --egress as well"),
        (["--egress", "--egress-request", "0"], "--egress-request: 0 is not between 1 and 604800"),
        (["--egress", "--egress-private", "a/b"], "--egress-private: 'a/b' is not a host's name"),
        (["--egress", "--egress-private", "10.0.0.1"], "--egress-private: 10.0.0.1 is an address"),
        (["--work-dir", "/dev/null/x"], "cannot use /dev/null/x: Not a directory"),
    ],
)
def test_a_wrong_option_is_one_clear_line(secret: Path, more: list[str], clue: str) -> None:
    said = run(*given("http://127.0.0.1:9", secret, *more))
    assert said.startswith("2 runner: ")
    assert clue in said
    assert said.count("\n") == 1


def test_a_refused_client_secret_ends_the_runner_with_what_to_do(
    plane: ControlPlane, secret: Path
) -> None:
    said = run(*given(plane.url, secret, "--once"))
    assert said.startswith("2 ")
    assert said.endswith(
        f"runner: {plane.url} does not accept this client id and secret (invalid_client);"
        " check --client-id and --client-secret-file\n"
    )


def test_a_server_that_is_not_there_yet_is_waited_for(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    url = "http://127.0.0.1:9"
    said = start_runner("--url", url).wait_until_said("runner.waiting")
    assert said["message"] == f"cannot claim now, trying on: {url}: connection refused"


def test_an_idle_runner_says_that_it_is_ready_and_nothing_else(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    runner = start_runner("--wait-seconds", "1")
    plane.wait_for(lambda: len(plane.claims) > 2, "a few claims")
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0
    runner.wait_until_said("runner.stopped")
    assert runner.occurrences() == ["runner.ready", "runner.stopped"]


def test_profiles_and_labels_travel_with_the_claim(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    start_runner("--profile", "prof_1", "--profile", "prof_2", "--label", "zone=a", "--slots", "3")
    plane.wait_for(lambda: plane.claims, "a claim")
    claim = plane.claims[0]
    assert claim["profiles"] == ["prof_1", "prof_2"]
    assert claim["max"] == 3
    assert claim["labels"] == claim["executor"]["labels"] == {"zone": "a"}
    assert claim["executor"]["name"] == "test"


def test_the_management_command_has_the_same_options() -> None:
    said = run("runner", "--help", program=("manage.py",))
    assert said.startswith("0 ")
    assert "--stop-grace-seconds" in said
