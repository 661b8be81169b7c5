"""Wrong settings, missing things: one clear line that says what to do, and no traceback."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keeptrusts_runners import env
from tests.commands.product import Product, free_port, new_data_dir, remove_data_dir

SECRET = "a-secret-of-more-than-thirty-two-characters"
NOWHERE = "/proc/nowhere"  # root cannot make anything there either

WRONG = [
    ("KEEPTRUSTS_BIND", "8000"),
    ("KEEPTRUSTS_BIND", "127.0.0.1:0"),
    ("KEEPTRUSTS_BIND", "127.0.0.1:65536"),
    ("KEEPTRUSTS_BIND", "127.0.0.1:８０００"),
    ("KEEPTRUSTS_BIND", "http://127.0.0.1:8000"),
    ("KEEPTRUSTS_BIND", "::1:8000"),
    ("KEEPTRUSTS_PUBLIC_URL", "ftp://runners.example.com"),
    ("KEEPTRUSTS_PUBLIC_URL", "runners.example.com"),
    ("KEEPTRUSTS_PUBLIC_URL", "http://[broken"),
    ("KEEPTRUSTS_PUBLIC_URL", "https://runners.example.com/prefix"),
    ("KEEPTRUSTS_ALLOWED_HOSTS", ","),
    ("KEEPTRUSTS_ALLOWED_HOSTS", "https://runners.example.com"),
    ("KEEPTRUSTS_ALLOWED_HOSTS", "runners.example.com:8000"),
    ("SECRET_KEY", "short"),
    ("SECRET_KEY_FILE", f"{NOWHERE}/key"),
    ("SECRET_KEY_FILE", "/usr/bin/env"),
    ("SECRET_KEY_FILE", "/dev/null"),
    ("DATABASE_URL", "mysql://host/name"),
    ("DATABASE_URL", "postgresql://[broken"),
    ("DATABASE_URL", "postgresql://host/name?colour=red"),
    ("DATABASE_URL", "host=127.0.0.1"),
    ("KEEPTRUSTS_DEBUG", "maybe"),
    ("KEEPTRUSTS_LOG_FORMAT", "xml"),
    ("KEEPTRUSTS_LOG_LEVEL", "loud"),
    ("KEEPTRUSTS_WEB_THREADS", "0"),
    ("KEEPTRUSTS_WEB_THREADS", "65"),
    ("KEEPTRUSTS_WEB_THREADS", "²"),
    ("KEEPTRUSTS_WEB_THREADS", "1e1"),
    ("KEEPTRUSTS_DATA_DIR", NOWHERE),
    ("KEEPTRUSTS_DATA_DIR", "/dev/null"),
]


@pytest.mark.proves("run.settings")
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(env.ConfigurationError) as refused:
        env.load({"KEEPTRUSTS_DATA_DIR": str(tmp_path), name: value})
    said = str(refused.value)
    assert said.startswith(f"keeptrusts: {name} ")
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize("name", list(env.DATABASE_VARIABLES.values()))
def test_every_address_of_a_database_is_checked(name: str, tmp_path: Path) -> None:
    given = {"KEEPTRUSTS_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://app@host/name"}
    with pytest.raises(env.ConfigurationError, match=f"{name} must look like"):
        env.load(given | {name: "postgresql://secret-password@[broken"})


def test_an_address_is_never_shown_since_it_may_hold_a_password(tmp_path: Path) -> None:
    with pytest.raises(env.ConfigurationError) as refused:
        env.load(
            {"KEEPTRUSTS_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgres://u:hush@h/d?no=1"}
        )
    assert "hush" not in str(refused.value)


def test_a_database_for_one_role_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(env.ConfigurationError, match="DATABASE_URL is missing"):
        env.load({"KEEPTRUSTS_DATA_DIR": str(tmp_path), "DATABASE_MAINTAIN_URL": "postgres://h/d"})


def test_everything_has_a_default_and_the_host_names_follow_the_addresses(tmp_path: Path) -> None:
    known = env.load({"KEEPTRUSTS_DATA_DIR": str(tmp_path)})
    assert (known.bind, known.public_url) == ("127.0.0.1:8000", "http://127.0.0.1:8000")
    assert known.embedded_database
    assert known.allowed_hosts == ["127.0.0.1", "[::1]", "localhost"]
    again = env.load({"KEEPTRUSTS_DATA_DIR": str(tmp_path)})
    assert again.secret_key == known.secret_key
    assert (tmp_path / "keys/secret_key").stat().st_mode & 0o077 == 0
    public = env.load(
        {
            "KEEPTRUSTS_DATA_DIR": str(tmp_path),
            "KEEPTRUSTS_BIND": "[::1]:9000",
            "KEEPTRUSTS_PUBLIC_URL": "https://runners.example.com/",
        }
    )
    assert public.public_url == "https://runners.example.com"
    assert public.allowed_hosts == ["127.0.0.1", "[::1]", "localhost", "runners.example.com"]


def test_every_setting_is_in_the_example(tmp_path: Path) -> None:
    asked: set[str] = set()

    class Source(dict[str, str]):
        def get(self, name: str, default: object = None) -> object:  # type: ignore[override]
            asked.add(name)
            return super().get(name, default)

    env.load(Source(KEEPTRUSTS_DATA_DIR=str(tmp_path)))
    example = (env.BASE_DIR / ".env.example").read_text()
    named = {
        line.lstrip("#").partition("=")[0]
        for line in example.splitlines()
        if "=" in line and not line.startswith("# ")
    }
    assert asked == named


# --- the same, as somebody at a terminal sees it ----------------------------------------------


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    data_dir = new_data_dir()
    yield Product(data_dir, SECRET_KEY=SECRET)
    remove_data_dir(data_dir)


def expect_one_line(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode != 0, ended.stdout
    last = ended.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in last, ended.stderr
    assert "Traceback" not in ended.stderr
    # Warnings of the system checks may stand above it.
    assert ended.stderr.count("keeptrusts: ") + ended.stderr.count("CommandError: ") == 1


@pytest.mark.parametrize(
    ("command", "settings", "words"),
    [
        ("migrate", {"KEEPTRUSTS_DATA_DIR": NOWHERE}, ["KEEPTRUSTS_DATA_DIR", NOWHERE]),
        ("demo", {"KEEPTRUSTS_DATA_DIR": NOWHERE}, ["KEEPTRUSTS_DATA_DIR"]),
        ("serve", {"KEEPTRUSTS_LOG_LEVEL": "loud"}, ["KEEPTRUSTS_LOG_LEVEL", "info, debug"]),
        ("serve", {"DATABASE_URL": "{closed}"}, ["cannot be reached", "DATABASE_URL"]),
        ("maintain", {"DATABASE_URL": "{closed}"}, ["DATABASE_MAINTAIN_URL is not set"]),
        (
            "maintain",
            {"DATABASE_URL": "{closed}", "DATABASE_MAINTAIN_URL": "{closed}"},
            ["cannot be reached", "DATABASE_URL"],
        ),
        ("create_org --name X", {"DATABASE_URL": "{closed}"}, ["cannot be reached"]),
        (
            "migrate",
            {"DATABASE_URL": "{closed}", "DATABASE_MIGRATE_URL": "{closed}"},
            ["cannot be reached"],
        ),
        (
            "serve",
            {"DATABASE_URL": "{closed}", "KEEPTRUSTS_TOKEN_KEY_FILE": f"{NOWHERE}.pem"},
            ["KEEPTRUSTS_TOKEN_KEY_FILE", "cannot be used"],
        ),
        (
            "serve",
            {"DATABASE_URL": "{closed}", "KEEPTRUSTS_ARTIFACTS_DIR": "/proc"},
            ["KEEPTRUSTS_ARTIFACTS_DIR", "cannot be used"],
        ),
        ("serve --bind nonsense", {"DATABASE_URL": "{closed}"}, ["--bind takes HOST:PORT"]),
        ("serve --workers 0", {"DATABASE_URL": "{closed}"}, ["--workers takes a number"]),
        ("serve --bind 192.0.2.1:80", {"DATABASE_URL": "{closed}"}, ["cannot be used", "--bind"]),
    ],
)
def test_a_command_that_cannot_work_says_so_in_one_line(
    product: Product, command: str, settings: dict[str, str], words: list[str]
) -> None:
    closed = f"postgresql://app@127.0.0.1:{free_port()}/name"
    given = {name: value.format(closed=closed) for name, value in settings.items()}
    name, *arguments = command.split()
    if name in ("serve", "demo") and not arguments:
        arguments = ["--bind", f"127.0.0.1:{free_port()}"]
    expect_one_line(product.run(name, *arguments, **given), *words)


def test_serve_refuses_a_port_that_is_taken(product: Product) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        closed = f"postgresql://app@127.0.0.1:{free_port()}/name"
        ended = product.run("serve", "--bind", bind, DATABASE_URL=closed)
    expect_one_line(ended, bind, "taken", "--bind")


def test_nothing_was_started_for_what_was_refused(product: Product) -> None:
    assert product.processes() == {}
    assert not Path(NOWHERE).exists()
