"""`create_org`, `create_user`, `create_service_account`: made for scripts, refusing in one line."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import Membership, ServiceAccountSecret, User
from tests.commands.product import Product, new_data_dir, remove_data_dir
from tests.people import Api, Org

PASSWORD = "correct-horse-battery"
_numbers = itertools.count()


def new_email() -> str:
    return f"person-{next(_numbers)}@accounts.example"


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        run(*arguments)
    return str(error.value)


@pytest.fixture
def type_password(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Standard input for the next command."""

    def type_password(typed: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))

    return type_password


def token(**form: str) -> Any:
    encoded = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    return Api().request(
        "POST", "/auth/token", raw=encoded, **{"Content-Type": "application/x-www-form-urlencoded"}
    )


def org_id(org: Org) -> str:
    return ids.encode("org", org.id)


# --- what they make --------------------------------------------------------------------------


def test_what_scripts_make_signs_in(type_password: Any) -> None:
    org = json.loads(run("create_org", "--name", "Scripted Ltd", "--json"))
    assert org == {"id": org["id"], "name": "Scripted Ltd"}
    email = new_email()
    type_password(f"{PASSWORD}\n".encode())
    user = json.loads(
        run(
            *("create_user", "--org", org["id"], "--email", email.upper(), "--role", "operator"),
            *("--name", "Per Son", "--password-stdin", "--json"),
        )
    )
    assert user == {
        "id": user["id"],
        "email": email,
        "organization": org["id"],
        "role": "operator",
    }
    machine = json.loads(
        run(
            *("create_service_account", "--org", org["id"], "--name", "ci", "--role", "runner"),
            *("--owner", user["id"], "--json"),
        )
    )
    assert set(machine) == {"id", "client_id", "client_secret"}

    person = token(grant_type="password", username=email, password=PASSWORD)
    assert person.status_code == 200, person.content
    runner = token(
        grant_type="client_credentials",
        client_id=machine["client_id"],
        client_secret=machine["client_secret"],
    )
    assert runner.status_code == 200, runner.content
    who = Api(runner.json()["access_token"]).get("/auth/whoami").json()
    assert who["organization"] == org["id"]


def test_without_json_each_member_has_a_line() -> None:
    assert re.fullmatch(
        r"id    org_[0-9a-z]{26}\nname  Plain Ltd\n", run("create_org", "--name", "Plain Ltd")
    )


def test_a_secret_is_shown_once_and_stored_hashed() -> None:
    org = Org()
    made = json.loads(
        run("create_service_account", "--org", org_id(org), "--name", "once", "--json")
    )
    with org.scope():
        stored = ServiceAccountSecret.objects.get(service_account_id=ids.decode("sa", made["id"]))
    assert made["client_secret"].encode() not in bytes(stored.digest)
    assert stored.hint == made["client_secret"][-4:]


def test_somebody_known_becomes_a_member_and_keeps_their_password(type_password: Any) -> None:
    first, second, email = Org(), Org(), new_email()
    type_password(PASSWORD.encode())
    run(
        *("create_user", "--org", org_id(first), "--email", email),
        *("--role", "viewer", "--password-stdin"),
    )
    type_password(b"another-password-altogether\n")
    run(
        *("create_user", "--org", org_id(second), "--email", email),
        *("--role", "approver", "--password-stdin"),
    )
    asked = {"grant_type": "password", "username": email, "organization": org_id(second)}
    assert token(**asked, password=PASSWORD).status_code == 200
    assert token(**asked, password="another-password-altogether").status_code == 400


# --- what they refuse ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (b"short\n", "too short"),
        (b"\n", "too short"),
        (b"", "too short"),
        (b"qwerty123456\n", "too common"),
        (b"\xff\xfe-not-text-at-all\n", "not UTF-8"),
    ],
)
def test_a_bad_password_is_refused_and_nobody_is_made(
    type_password: Any, typed: bytes, reason: str
) -> None:
    org, email = Org(), new_email()
    type_password(typed)
    said = refused(
        *("create_user", "--org", org_id(org), "--email", email),
        *("--role", "viewer", "--password-stdin"),
    )
    assert said.startswith("--password-stdin: ")
    assert reason in said
    assert "\n" not in said
    assert not User.objects.filter(email=email).exists()


def test_without_a_terminal_the_password_must_be_announced(type_password: Any) -> None:
    type_password(PASSWORD.encode())
    said = refused(
        "create_user", "--org", org_id(Org()), "--email", new_email(), "--role", "viewer"
    )
    assert said == "Say --password-stdin, and give the password on standard input."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create_org", "--name", ""], "--name: "),
        (["create_org", "--name", "  "], "--name: "),
        (["create_org", "--name", "x" * 121], "--name: "),
        (["create_org", "--name", "two\nlines"], "--name: "),
        (["create_org", "--name", "\udcff"], "--name: "),
        (["create_org", "--name", "\x1b[31mred"], "--name: "),
        (["create_service_account", "--org", "{org}", "--name", ""], "--name: "),
        (["create_service_account", "--org", "{org}", "--name", "x" * 121], "--name: "),
        (["create_service_account", "--org", "nonsense", "--name", "a"], "--org takes"),
        (["create_service_account", "--org", "{nobody}", "--name", "a"], "--org: "),
        (
            ["create_service_account", "--org", "{org}", "--name", "a", "--role", "root"],
            "--role: ",
        ),
        (["create_service_account", "--org", "{org}", "--name", "a", "--owner", "x"], "--owner"),
        (
            ["create_service_account", "--org", "{org}", "--name", "a", "--owner", "{stranger}"],
            "--owner: ",
        ),
        (["create_user", "--org", "x", "--email", "{email}", "--role", "viewer"], "--org takes"),
        (
            ["create_user", "--org", "{nobody}", "--email", "{email}", "--role", "viewer"],
            "--org: ",
        ),
        (["create_user", "--org", "{org}", "--email", "{email}", "--role", "root"], "--role: "),
        (["create_user", "--org", "{org}", "--email", "{email}", "--role", "runner"], "--role: "),
        (["create_user", "--org", "{org}", "--email", "nobody", "--role", "viewer"], "--email: "),
        (
            ["create_user", "--org", "{org}", "--email", "{long}", "--role", "viewer"],
            "",
        ),
    ],
)
def test_a_wrong_option_is_named_in_one_line(
    type_password: Any, arguments: list[str], said: str
) -> None:
    stranger = Org().viewer
    known = {
        "org": org_id(Org()),
        "nobody": ids.encode("org", ids.new()),
        "stranger": ids.encode("user", stranger.user.id),
        "email": new_email(),
        "long": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.example",
    }
    type_password(PASSWORD.encode())
    more = ["--password-stdin"] if arguments[0] == "create_user" else []
    answer = refused(*[argument.format(**known) for argument in arguments], *more)
    # argparse writes "argument --role: …" before what is ours.
    assert said in answer
    assert "\n" not in answer


def test_names_are_taken_once(type_password: Any) -> None:
    org = Org()
    account = ["create_service_account", "--org", org_id(org), "--name", "twice"]
    run(*account)
    assert refused(*account) == "A service account with this name exists."
    person = ["create_user", "--org", org_id(org), "--email", new_email(), "--role", "viewer"]
    type_password(PASSWORD.encode())
    run(*person, "--password-stdin")
    assert refused(*person, "--password-stdin") == "This user is a member already."
    with org.scope():
        assert Membership.objects.filter(user__email=person[4]).count() == 1


# --- as processes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    data_dir = new_data_dir()
    product = Product(data_dir)
    assert product.run("migrate", "--verbosity", "0").returncode == 0
    yield product
    remove_data_dir(data_dir)


def test_the_output_is_one_json_object_and_nothing_else(product: Product) -> None:
    org = product.ask("create_org", "--name", "Umlaut Ää", "--json")
    assert org["name"] == "Umlaut Ää"
    made = product.run(
        *("create_user", "--org", org["id"], "--email", "a@b.example", "--role", "admin"),
        *("--password-stdin", "--json"),
        given=f"{PASSWORD}\n".encode(),
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.count("\n") == 1
    assert PASSWORD not in made.stdout


def test_a_refusal_is_one_line_on_standard_error(product: Product) -> None:
    ended = product.run("create_service_account", "--org", "org_x", "--name", "a", "--json")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "CommandError: --org takes an organization's id, org_…\n"
    assert product.processes() == {}
