"""One request to the proxy, read strictly: what has two meanings is refused."""

import base64
import hmac
import re
from dataclasses import dataclass

from keeptrusts_runners.runner.egress_target import BadTarget, Target

HEAD_LIMIT = 32 * 1024
_FIELDS_LIMIT = 100

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rf"({_WORD}) ([\x21-\x7e]+) HTTP/1\.[01]")
_FIELD = re.compile(rf"({_WORD}):([\t\x20-\x7e\x80-\xff]*)")
_ABSOLUTE = re.compile(r"http://([^/?#]+)([/?][^#]*)?", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,15}")
# They speak of one connection, and there are two.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"}
)

Fields = list[tuple[str, str]]


class Refused(Exception):
    """Answered with this status and sentence. `reason` is a word for the ledger, where it is told
    unless the word is empty."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class BadRequest(Refused):
    """No request that a proxy understands in one way only."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, "unauthenticated" if status == 407 else "malformed", message)


@dataclass(frozen=True)
class Request:
    """Where to, and for a plain request what to send there: its head, and so many bytes after."""

    target: Target
    head: bytes | None = None
    body_bytes: int = 0


def read_request(data: bytes, password: str) -> Request:
    """From the bytes up to and with the empty line. Raises BadRequest."""
    line, *lines = data.removesuffix(b"\r\n\r\n").decode("latin-1").split("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest(400, "the first line is not a request of HTTP/1.1")
    fields = _fields(lines)
    _authenticate(fields, password)
    method, target = match[1], match[2]
    try:
        if method == "CONNECT":
            return _connect(target, fields)
        return _forward(method, target, fields)
    except BadTarget as error:
        raise BadRequest(400, str(error)) from None


def _fields(lines: list[str]) -> Fields:
    if len(lines) > _FIELDS_LIMIT:
        raise BadRequest(431, f"more than {_FIELDS_LIMIT} header fields")
    found = [_FIELD.fullmatch(line) for line in lines]
    if None in found:
        raise BadRequest(400, "a header field is not NAME: VALUE on one line")
    return [(match[1], match[2].strip(" \t")) for match in found if match]


def _authenticate(fields: Fields, password: str) -> None:
    """Other sessions and accounts of this host reach the port, too."""
    expected = "Basic " + base64.b64encode(f"session:{password}".encode()).decode()
    given = _values(fields, "proxy-authorization")
    if len(given) != 1 or not hmac.compare_digest(given[0].encode(), expected.encode()):
        raise BadRequest(407, "use the address, user and password of HTTP_PROXY")


def _connect(authority: str, fields: Fields) -> Request:
    if _values(fields, "content-length") + _values(fields, "transfer-encoding"):
        raise BadRequest(400, "a CONNECT has no body")
    return Request(Target.of(authority))


def _forward(method: str, address: str, fields: Fields) -> Request:
    match = _ABSOLUTE.fullmatch(address)
    if match is None or "@" in match[1]:
        message = "write the address as http://HOST/PATH, without a user; CONNECT for https"
        raise BadRequest(400, message)
    if len(_values(fields, "host")) != 1:
        raise BadRequest(400, "one Host field, please")
    if _values(fields, "transfer-encoding"):
        raise BadRequest(411, "send a body with Content-Length, or use CONNECT")
    target = Target.of(match[1] if _has_port(match[1]) else f"{match[1]}:80")
    path = match[2] or "/"
    head = [f"{method} {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    head += [f"Host: {match[1]}", *_passed_on(fields), "Connection: close", "", ""]
    return Request(target, "\r\n".join(head).encode("latin-1"), _body_bytes(fields))


def _passed_on(fields: Fields) -> list[str]:
    listed = ",".join(_values(fields, "connection")).split(",")
    named = {name.strip().lower() for name in listed}
    left_out = _HOP_BY_HOP | (named - {"content-length"}) | {"host"}
    return [f"{name}: {value}" for name, value in fields if name.lower() not in left_out]


def _body_bytes(fields: Fields) -> int:
    given = _values(fields, "content-length")
    if len(given) > 1 or not all(map(_LENGTH.fullmatch, given)):
        raise BadRequest(400, "one Content-Length, a number, please")
    return int(given[0]) if given else 0


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _values(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name]
