"""Bundles as they are written: plain tars, streamed, the same for the same content."""

import hashlib
import io
import json
import tarfile

import pytest

from keeptrusts_runners.evidence import bundle_writer, dsse, layout
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import Bundle, a_session

KEY = SigningKey.generate()


def test_ordinary_tar_reads_it_and_the_statement_lists_every_other_file():
    exported = a_session().export(KEY)
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        content = {info.name: archive.extractfile(info).read() for info in archive}
    assert tuple(content) == layout.MEMBERS
    envelope = dsse.decode_envelope(content.pop(layout.STATEMENT))
    document = json.loads(envelope.payload)
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "urn:keeptrusts:evidence:session:v1"
    assert {s["name"]: s["digest"] for s in document["subject"]} == {
        name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()
    }
    assert json.loads(content[layout.KEYS])["keys"] == [KEY.public_jwk() | {"purpose": "bundles"}]


def test_the_same_content_gives_the_same_bytes():
    assert a_session().export(KEY) == a_session().export(KEY)


def test_it_needs_a_stream_only_and_asks_for_a_file_when_its_turn_has_come():
    recorded = a_session(3000)
    asked = []

    def noting(name, content):
        asked.append(name)
        yield from ([content] if isinstance(content, bytes) else content)

    files = [(name, noting(name, content)) for name, content in recorded.files(KEY)]
    chunks = bundle_writer.stream_bundle(files, recorded.predicate(), KEY)
    first = next(chunks)
    assert first.startswith(b"README.txt")
    assert asked == []
    sizes = [len(chunk) for chunk in chunks]
    assert asked == [name for name, _ in files]
    assert max(sizes) <= 256 * 1024
    assert len(first) + sum(sizes) == len(recorded.export(KEY))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files[1:],
        lambda files: files[:-1],
        lambda files: [files[1], files[0], *files[2:]],
        lambda files: [*files, ("more.json", b"")],
        lambda files: [(layout.README, b""), *files],
    ],
    ids=["first missing", "last missing", "swapped", "unknown", "written here"],
)
def test_a_file_in_the_wrong_place_is_refused(change):
    recorded = a_session()
    with pytest.raises(ValueError, match=r"\.json|\.txt"):
        list(bundle_writer.stream_bundle(change(recorded.files(KEY)), recorded.predicate(), KEY))


def test_a_document_that_no_verifier_would_read_is_not_written(monkeypatch):
    monkeypatch.setattr(layout, "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(ValueError, match="README"):
        a_session().export(KEY)


def test_the_tests_own_reader_and_writer_agree_with_it():
    exported = a_session().export(KEY)
    assert Bundle.open(exported).pack() == exported
