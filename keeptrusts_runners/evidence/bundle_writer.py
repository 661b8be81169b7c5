"""Writes a signed bundle as a stream. Knows the layout, and nothing of what the files say."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from keeptrusts_runners.evidence import dsse, layout, statement
from keeptrusts_runners.keys import SigningKey

Content = bytes | Iterable[bytes]

# A tar says a file's size before its content: up to this many bytes are counted in memory.
_SPOOL_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024
_OWN = (layout.README, layout.STATEMENT)

README = """\
EVIDENCE OF ONE RUNNER SESSION

This archive is the record of one session: what was to run, every event and change of state,
who allowed what, and the digests of what it produced. It verifies without the server that
wrote it, with one file that needs nothing but Python 3.11:

    python3 keeptrusts-verify.py THIS-ARCHIVE.tar --key=KEY

KEY is the id of the signing key, or a file with the public key, that you have from somebody
you trust. Without it the signature is checked against the key in keys.json: that shows damage,
but not who signed. With --artifacts DIR the session's files are compared with their digests, and
with --checkpoint FILE the log with a checkpoint of it that you kept.

    session.json        the session, as it was when this archive was written
    profile.json        the environment that it ran in
    harness.json        the code that ran, and its digest; null if none was pinned
    transitions.ndjson  its changes of state
    events.ndjson       its ledger: every record, each linked to the one before by its hash
    grants.json         what it was allowed to do, who decided so, and what became of it
    artifacts.json      what it produced: names, sizes and digests
    checkpoints.json    the points that it could have been continued from
    completeness.json   how many events its runner declared, and which never arrived
    refusals.json       claims and writes that were refused, most of all stale ones
    anchor.json         proof that the organization's log has the ledger's newest anchored record
    checkpoint.txt      the signed head of that log
    keys.json           public keys of the signatures
    statement.dsse.json the signed list of all these files and their digests

Do not unpack and pack it again: its bytes are part of the evidence. The format, with test
vectors, is docs/evidence-format.md of Keeptrusts Runners.
"""


def write_bundle(
    fileobj: IO[bytes],
    files: Iterable[tuple[str, Content]],
    statement_predicate: Mapping[str, Any],
    signing_key: SigningKey,
) -> None:
    """Write the bundle to a file that need not be seekable. See `stream_bundle`."""
    for chunk in stream_bundle(files, statement_predicate, signing_key):
        fileobj.write(chunk)


def stream_bundle(
    files: Iterable[tuple[str, Content]],
    statement_predicate: Mapping[str, Any],
    signing_key: SigningKey,
) -> Iterator[bytes]:
    """The bundle's bytes. `files` are all files of the layout, in its order, but README.txt and
    statement.dsse.json, which are written here; keys.json has to have the signing key.

    A content is asked for only when its turn has come. Raises ValueError for a file that the
    layout does not have at that place.
    """
    given = iter(files)
    digests: dict[str, str] = {}
    for name in layout.MEMBERS:
        if name == layout.STATEMENT:
            content: Content = _signed(digests, statement_predicate, signing_key)
        else:
            content = README.encode() if name in _OWN else _next(given, name)
        yield from _member(name, content, digests)
    if (surplus := next(given, None)) is not None:
        raise ValueError(f"{surplus[0]} is not a file of the layout, or not in its place")
    yield layout.END


def _next(given: Iterator[tuple[str, Content]], expected: str) -> Content:
    name, content = next(given, (None, b""))
    if name != expected:
        raise ValueError(f"{expected} must come now, not {name}")
    return content


def _signed(digests: Mapping[str, str], predicate: Mapping[str, Any], key: SigningKey) -> bytes:
    payload = statement.encode_statement(digests, predicate)
    return dsse.sign_envelope(dsse.IN_TOTO, payload, key).encode()


def _member(name: str, content: Content, digests: dict[str, str]) -> Iterator[bytes]:
    if isinstance(content, bytes):
        digests[name] = hashlib.sha256(content).hexdigest()
        yield layout.tar_header(name, len(content)) + content + layout.tar_padding(len(content))
        return
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        counted = _Counted()
        for chunk in content:
            counted.add(chunk)
            spool.write(chunk)
        digests[name] = counted.digest.hexdigest()
        spool.seek(0)
        yield layout.tar_header(name, counted.size)
        while chunk := spool.read(_CHUNK_BYTES):
            yield chunk
        yield layout.tar_padding(counted.size)


@dataclass(slots=True)
class _Counted:
    """Size and digest of what has passed."""

    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.digest.update(chunk)
