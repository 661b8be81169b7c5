"""The only reader of the environment. A wrong value refuses to start and says why."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

BASE_DIR = Path(__file__).resolve().parent.parent

_HOST = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"
_BIND = re.compile(rf"({_HOST}):([0-9]{{1,5}})")
_PUBLIC_URL = re.compile(rf"https?://({_HOST})(:[0-9]{{1,5}})?/?")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")
_ALLOWED_HOST = re.compile(rf"\*|{_HOST}")


class ConfigurationError(SystemExit):
    """A setting that cannot be used: ends the process with one line that names it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"keeptrusts: {name} {problem}")


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that is configurable, already checked. `.env.example` describes each."""

    data_dir: Path
    database_urls: Mapping[str, str]
    bind: str
    public_url: str
    allowed_hosts: list[str]
    secret_key: str
    token_key_file: Path
    evidence_key_file: Path
    log_key_file: Path
    checkpoints_dir: Path
    artifacts_dir: Path
    artifacts: str
    s3_endpoint: str | None
    artifact_quota_bytes: int
    scrub_mib_per_second: int
    debug: bool
    log_format: str
    log_level: str
    web_threads: int
    streams: int
    metrics: bool

    @property
    def embedded_database(self) -> bool:
        return not self.database_urls

    def lacks_address(self, alias: str) -> str | None:
        """The variable that an external server's operator has not set for this connection."""
        if self.embedded_database or alias in self.database_urls:
            return None
        return DATABASE_VARIABLES[alias]


def load(source: Mapping[str, str] = os.environ) -> Environment:
    """Read and check every setting. Raises ConfigurationError for the first wrong one."""
    data_dir = Path(source.get("KEEPTRUSTS_DATA_DIR") or BASE_DIR / ".local").resolve()
    bind = source.get("KEEPTRUSTS_BIND") or "127.0.0.1:8000"
    try:
        host, _ = split_bind(bind)
    except ValueError:
        raise ConfigurationError("KEEPTRUSTS_BIND", f"must be HOST:PORT, not {bind!r}.") from None
    public_url = _public_url(source.get("KEEPTRUSTS_PUBLIC_URL") or f"http://{bind}")
    return Environment(
        data_dir=data_dir,
        database_urls=_database_urls(source),
        bind=bind,
        public_url=public_url,
        allowed_hosts=_allowed_hosts(source, host, public_url),
        secret_key=_secret_key(source, data_dir),
        token_key_file=_path(source, "KEEPTRUSTS_TOKEN_KEY_FILE", data_dir / "keys/token.pem"),
        evidence_key_file=_path(
            source, "KEEPTRUSTS_EVIDENCE_KEY_FILE", data_dir / "keys/evidence.pem"
        ),
        log_key_file=_path(source, "KEEPTRUSTS_LOG_KEY_FILE", data_dir / "keys/log.pem"),
        checkpoints_dir=_path(source, "KEEPTRUSTS_CHECKPOINTS_DIR", data_dir / "checkpoints"),
        artifacts_dir=_path(source, "KEEPTRUSTS_ARTIFACTS_DIR", data_dir / "artifacts"),
        artifacts=_artifacts(source.get("KEEPTRUSTS_ARTIFACTS") or "file"),
        s3_endpoint=_endpoint(source.get("KEEPTRUSTS_S3_ENDPOINT")),
        artifact_quota_bytes=_integer(source, "KEEPTRUSTS_ARTIFACT_QUOTA_BYTES", 0, 0, 1 << 60),
        scrub_mib_per_second=_integer(source, "KEEPTRUSTS_SCRUB_MIB_PER_SECOND", 8, 0, 10_000),
        debug=_boolean(source, "KEEPTRUSTS_DEBUG"),
        log_format=_choice(source, "KEEPTRUSTS_LOG_FORMAT", ("console", "json")),
        log_level=_choice(source, "KEEPTRUSTS_LOG_LEVEL", ("info", "debug", "warning", "error")),
        web_threads=_integer(source, "KEEPTRUSTS_WEB_THREADS", 8, 1, 64),
        streams=_integer(source, "KEEPTRUSTS_STREAMS", 1000, 1, 20_000),
        metrics=_boolean(source, "KEEPTRUSTS_METRICS", default="true"),
    )


def split_bind(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address stands in brackets. Raises ValueError."""
    found = _BIND.fullmatch(text)
    if not found or not 0 < int(found[2]) < 65536:
        raise ValueError(text)
    return found[1], int(found[2])


DATABASE_VARIABLES = {
    "default": "DATABASE_URL",
    "migrate": "DATABASE_MIGRATE_URL",
    "maintain": "DATABASE_MAINTAIN_URL",
    "signer": "DATABASE_SIGNER_URL",
    "forensics": "DATABASE_FORENSICS_URL",
}


def _database_urls(source: Mapping[str, str]) -> dict[str, str]:
    """The addresses of an external server by alias; empty when PostgreSQL is embedded."""
    urls = {alias: source[name] for alias, name in DATABASE_VARIABLES.items() if source.get(name)}
    if urls and "default" not in urls:
        raise ConfigurationError("DATABASE_URL", "is missing while another DATABASE_*_URL is set.")
    for alias, url in urls.items():
        try:
            conninfo_to_dict(url)
            understood = url.startswith(("postgres://", "postgresql://"))
        except psycopg.ProgrammingError:
            understood = False
        if not understood:
            raise ConfigurationError(
                DATABASE_VARIABLES[alias], "must look like postgresql://user@host/name."
            )
    return urls


def _public_url(url: str) -> str:
    if not _PUBLIC_URL.fullmatch(url):
        raise ConfigurationError(
            "KEEPTRUSTS_PUBLIC_URL", f"must be http(s)://HOST or http(s)://HOST:PORT, not {url!r}."
        )
    return url.rstrip("/")


def _allowed_hosts(source: Mapping[str, str], bind_host: str, public_url: str) -> list[str]:
    named = source.get("KEEPTRUSTS_ALLOWED_HOSTS")
    if not named:
        public = _PUBLIC_URL.fullmatch(public_url)
        own = public[1] if public else bind_host
        return sorted({"localhost", "127.0.0.1", "[::1]", bind_host, own})
    hosts = [host.strip() for host in named.split(",")]
    for host in hosts:
        if not _ALLOWED_HOST.fullmatch(host):
            raise ConfigurationError(
                "KEEPTRUSTS_ALLOWED_HOSTS",
                f"must be host names by comma, without scheme and port; {host!r} is none.",
            )
    return hosts


def _secret_key(source: Mapping[str, str], data_dir: Path) -> str:
    if key := source.get("SECRET_KEY"):
        if len(key) < 32:
            raise ConfigurationError("SECRET_KEY", "must have at least 32 characters.")
        return key
    named = source.get("SECRET_KEY_FILE")
    path = Path(named) if named else data_dir / "keys" / "secret_key"
    try:
        if not named and not path.exists():
            _write_secret(path)
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        where = "SECRET_KEY_FILE" if named else "KEEPTRUSTS_DATA_DIR"
        raise ConfigurationError(where, f"cannot be used: {path}: {reason}.") from None
    if len(key) < 32:
        where = "SECRET_KEY_FILE" if named else "SECRET_KEY"
        raise ConfigurationError(where, f"must have at least 32 characters; {path} has fewer.")
    return key


def _write_secret(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(48))
    try:
        # A link, unlike a rename, lets the first of two processes that start at once win.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _path(source: Mapping[str, str], name: str, default: Path) -> Path:
    return Path(source[name]).resolve() if source.get(name) else default


def _artifacts(named: str) -> str:
    """`file`, or the address of a bucket."""
    if named != "file" and not _BUCKET.fullmatch(named):
        raise ConfigurationError(
            "KEEPTRUSTS_ARTIFACTS", f"must be file, or s3://BUCKET/PREFIX, not {named!r}."
        )
    return named.rstrip("/")


def _endpoint(url: str | None) -> str | None:
    if url and not _PUBLIC_URL.fullmatch(url):
        raise ConfigurationError(
            "KEEPTRUSTS_S3_ENDPOINT", f"must be http(s)://HOST or http(s)://HOST:PORT, not {url!r}."
        )
    return url or None


def _boolean(source: Mapping[str, str], name: str, default: str = "false") -> bool:
    value = (source.get(name) or default).lower()
    if value not in ("true", "false", "1", "0"):
        raise ConfigurationError(name, f"must be true or false, not {value!r}.")
    return value in ("true", "1")


def _choice(source: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = source.get(name) or choices[0]
    if value not in choices:
        raise ConfigurationError(name, f"must be one of {', '.join(choices)}, not {value!r}.")
    return value


def _integer(source: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = source.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise ConfigurationError(name, f"must be a number from {low} to {high}, not {text!r}.")
    return int(text)
