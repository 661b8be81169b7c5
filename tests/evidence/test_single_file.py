"""The verifier as one file, run by a bare Python, and as a command of the product."""

import ast
import json
import subprocess
import sys
import time

import pytest
from django.core.management import call_command

from keeptrusts_runners.evidence.verifier import build
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from keeptrusts_runners.management.commands import verify_evidence
from tests.evidence.bundles import FILES, a_session

KEY = SigningKey.generate()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    target = tmp_path_factory.mktemp("verifier") / build.NAME
    build.build(target)
    return target


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "bundle.tar"
    path.write_bytes(a_session().export(KEY))
    return path


def run(script, *arguments, **options):
    command = [sys.executable, "-I", "-S", str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.proves("evidence.offline")
def test_it_verifies_without_site_packages_and_says_what_it_checked(script, bundle, tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    done = run(script, bundle, f"--key={KEY.kid}", "--artifacts", tmp_path, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("VERIFIED\n")
    assert "good, by the key that you trust" in done.stdout
    assert "2 of 2 artifacts have the recorded content" in done.stdout
    assert "Missing     an anchor" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 200


def test_it_names_the_first_broken_record(script, bundle):
    recorded = a_session()
    recorded.rows[20].body = b"{}"
    bundle.write_bytes(recorded.export(KEY))
    done = run(script, bundle)
    assert done.returncode == 1
    assert "BROKEN      record 21: its body is not the one that was recorded" in done.stdout
    document = json.loads(run(script, bundle, "--json").stdout)
    assert (document["verdict"], document["first_bad_seq"]) == ("broken", 21)


@pytest.mark.parametrize("arguments", [[], ["nowhere.tar"], ["--key"], ["/dev/null"]])
def test_unusable_input_is_exit_code_2_without_a_traceback(script, arguments):
    done = run(script, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_it_prints_on_a_terminal_that_knows_ascii_only(script, bundle):
    recorded = a_session()
    recorded.artifacts[0]["name"] = "\u00fcbersicht \u2026"
    bundle.write_bytes(recorded.export(KEY))
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, str(script), str(bundle)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_it_is_plain_source_for_the_standard_library(script):
    tree = ast.parse(script.read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported <= sys.stdlib_module_names
    assert not imported & {"socket", "subprocess", "urllib", "http", "pickle", "ctypes"}
    assert max(map(len, script.read_text().splitlines())) <= 100


def test_the_same_sources_give_the_same_file():
    assert build.source() == build.source()


def test_the_build_refuses_what_would_not_work_in_one_file(monkeypatch):
    monkeypatch.setattr(
        build, "MODULES", (*build.MODULES, "evidence.statement", "evidence.verifier.signed")
    )
    with pytest.raises(ValueError, match="both define"):
        build.source()
    monkeypatch.setattr(build, "MODULES", ("evidence.verifier.archive",))
    with pytest.raises(ValueError, match="does not stand before it"):
        build.source()


def test_the_command_runs_the_same_code(bundle, capsys):
    with pytest.raises(SystemExit) as end:
        call_command(verify_evidence.Command(), str(bundle), key=KEY.kid)
    assert end.value.code == 0
    assert "VERIFIED" in capsys.readouterr().out
    bundle.write_bytes(bundle.read_bytes()[:-600])
    with pytest.raises(SystemExit) as end:
        call_command(verify_evidence.Command(), str(bundle))
    assert end.value.code == 1


def test_many_records_take_little_time(bundle):
    bundle.write_bytes(a_session(20_000).export(KEY))
    started = time.process_time()
    assert verify_bundle(bundle, KEY.kid).exit_code == 0
    # A fifth of the speed to reach, on a machine that may be busy.
    assert 20_000 / (time.process_time() - started) > 10_000
