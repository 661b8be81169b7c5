"""Archives made to harm: refused with exit code 2 and a sentence, nothing written, no traceback."""

import gzip
import io
import json
import random
import tarfile
import zipfile

import pytest

from keeptrusts_runners.evidence import dsse, layout
from keeptrusts_runners.evidence.verifier import cli
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.keys import SigningKey
from tests.evidence.bundles import Bundle, a_session, anchored

KEY = SigningKey.generate()
EXPORTED = anchored(a_session()).export(KEY)


def by_tarfile(*infos, tar_format=tarfile.USTAR_FORMAT):
    """A correct archive of another writer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def entry(name=layout.README, kind=tarfile.REGTYPE, size=0, **attributes):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def header(**fields):
    """A header of the first file with some fields overwritten and its checksum right."""
    places = {"name": 0, "size": 124, "type": 156, "prefix": 345}
    block = bytearray(layout.tar_header(layout.README, 0))
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def zipped():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(layout.README, "")
    return out.getvalue()


def packed_again():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in Bundle.open(EXPORTED).members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def members(*names):
    return Bundle([(name, b"") for name in names]).pack()


HOSTILE = {
    "empty": b"",
    "zeros": bytes(10240),
    "text": b"evidence\n" * 1000,
    "noise": random.Random(1).randbytes(50_000),
    "gzip": gzip.compress(EXPORTED),
    "zip": zipped(),
    "symbolic link": by_tarfile(entry(kind=tarfile.SYMTYPE)),
    "hard link": by_tarfile(entry(kind=tarfile.LNKTYPE)),
    "directory": by_tarfile(entry(kind=tarfile.DIRTYPE)),
    "character device": by_tarfile(entry(kind=tarfile.CHRTYPE)),
    "block device": by_tarfile(entry(kind=tarfile.BLKTYPE)),
    "pipe": by_tarfile(entry(kind=tarfile.FIFOTYPE)),
    "old regular": by_tarfile(entry(kind=tarfile.AREGTYPE)),
    "sparse": header(type=b"S"),
    "pax header": by_tarfile(entry(pax_headers={"path": "../../x"}), tar_format=tarfile.PAX_FORMAT),
    "global pax header": header(type=b"g", size=b"77777777777\0"),
    "gnu long name": by_tarfile(entry(name="x" * 5000), tar_format=tarfile.GNU_FORMAT),
    "path upwards": by_tarfile(entry(name="../README.txt")),
    "absolute path": by_tarfile(entry(name="/README.txt")),
    "path in a folder": by_tarfile(entry(name="a/README.txt")),
    "prefix": header(prefix=b"/etc"),
    "name not text": header(name=b"\xff\x1b[2J"),
    "size beyond limits": header(size=b"77777777777\0"),
    "size negative": header(size=b"-0000000001\0"),
    "size in base 256": header(size=b"\x80" + bytes(10) + b"\1"),
    "size blank": header(size=b" " * 12),
    "other owner": by_tarfile(entry(uid=1000)),
    "packed again": packed_again(),
    "unknown file": members(layout.README, "extra.json"),
    "file twice": members(layout.README, layout.SESSION, layout.SESSION),
    "first file twice": members(layout.README, layout.README),
    "out of order": members(layout.README, layout.EVENTS, layout.SESSION),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_sentence(tmp_path, capsys, name):
    path = tmp_path / "bundle.tar"
    path.write_bytes(HOSTILE[name])
    assert cli.main([str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "UNUSABLE" in captured.out
    assert "\x1b" not in captured.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.tar"]


def test_a_place_without_a_readable_file_is_refused(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nothing", tmp_path / ("x" * 300)):
        assert cli.main([str(path)]) == 2
        assert "UNUSABLE" in capsys.readouterr().out


DEEP = b"[" * 200_000

# Content that a signer with our key would never write; each breaks, and none is a traceback.
CONTENTS = {
    "deep": DEEP,
    "deep objects": b'{"a":' * 200_000,
    "not utf-8": b"\xff\xfe",
    "nan": b'{"id": NaN}',
    "long integer": b"[" + b"9" * 100_000 + b"]",
    "long float": b"[1." + b"9" * 100_000 + b"]",
    "key twice": b'{"id": 1, "id": 2}',
    "number": b"5",
    "text": b'"x"',
    "null": b"null",
    "list of lists": b"[[]]",
    "list of nulls": b"[null]",
    "object": b"{}",
    "surrogate": b'{"id": "\\ud800"}',
    "huge exponent": b"[1e999999]",
    "nested ids": b'[{"id": {"a": []}, "number": []}]',
}


@pytest.mark.proves("evidence.hostile")
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", [m for m in layout.MEMBERS if m != layout.STATEMENT])
def test_hostile_content_is_a_verdict(tmp_path, name, content):
    path = tmp_path / "bundle.tar"
    bundle = Bundle.open(EXPORTED).replace(name, content)
    path.write_bytes(bundle.resign(KEY).pack())
    report = verify_bundle(path, KEY.kid)
    if name not in (layout.README, layout.KEYS) and (name, content) != (layout.HARNESS, b"null"):
        assert report.exit_code == 1
    json.dumps(report.as_dict()).encode()


STATEMENTS = {
    **CONTENTS,
    "no predicate": b'{"_type":"https://in-toto.io/Statement/v1","predicateType":'
    b'"urn:keeptrusts:evidence:session:v1","subject":[]}',
    "of another type": b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"x"}',
}


@pytest.mark.parametrize("payload", STATEMENTS.values(), ids=STATEMENTS)
def test_a_hostile_statement_is_a_verdict(tmp_path, payload):
    path = tmp_path / "bundle.tar"
    envelope = dsse.sign_envelope(dsse.IN_TOTO, payload, KEY)
    bundle = Bundle.open(EXPORTED).replace(layout.STATEMENT, envelope.encode())
    path.write_bytes(bundle.pack())
    assert verify_bundle(path, KEY.kid).exit_code == 1


def _edited_predicates():
    statement = Bundle.open(EXPORTED).statement()
    for member in ("organization_id", "session_id", "state", "generated_at", "head", "missing"):
        for value in (None, 5, [], {}, "x", [5], {"seq": "1", "hash": 5}):
            changed = json.loads(json.dumps(statement))
            changed["predicate"][member] = value
            if (member, value) not in (("missing", []), ("missing", {}), ("generated_at", "x")):
                yield pytest.param(changed, id=f"{member}={value}")
    for subject in ([5], [{}], [{"name": "a", "digest": {"sha256": 5}}], {}, None, [[]]):
        yield pytest.param(statement | {"subject": subject}, id=f"subject={subject}")


@pytest.mark.parametrize("document", list(_edited_predicates()))
def test_a_statement_of_another_shape_is_a_verdict(tmp_path, document):
    path = tmp_path / "bundle.tar"
    payload = json.dumps(document).encode()
    envelope = dsse.sign_envelope(dsse.IN_TOTO, payload, KEY)
    bundle = Bundle.open(EXPORTED).replace(layout.STATEMENT, envelope.encode())
    path.write_bytes(bundle.pack())
    assert verify_bundle(path, KEY.kid).exit_code == 1


def test_another_payload_type_is_not_our_statement(tmp_path):
    path = tmp_path / "bundle.tar"
    good = dsse.decode_envelope(Bundle.open(EXPORTED)[layout.STATEMENT])
    envelope = dsse.sign_envelope("application/json", good.payload, KEY)
    bundle = Bundle.open(EXPORTED).replace(layout.STATEMENT, envelope.encode())
    path.write_bytes(bundle.pack())
    assert verify_bundle(path, KEY.kid).exit_code == 1


def test_what_a_terminal_would_obey_is_not_printed(tmp_path, capsys):
    recorded = a_session()
    evil = "\x1b]0;owned\x07\u202egpj.exe"
    recorded.artifacts[0]["name"] = evil
    recorded.completeness[0] |= {"declared": evil, "missing": evil}
    recorded.grants[0]["id"] = evil
    path = tmp_path / "bundle.tar"
    path.write_bytes(recorded.export(KEY))
    assert cli.main([str(path), "--artifacts", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\\x1b" in out
    assert not set(out) & {"\x1b", "\x07", "\u202e"}


@pytest.mark.proves("evidence.hostile")
def test_random_edits_are_never_verified_and_never_raise(tmp_path):
    generator = random.Random(7)
    path = tmp_path / "bundle.tar"
    for _ in range(300):
        data = bytearray(EXPORTED)
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(data))
            end = start + generator.choice([0, 1, 16, 512, 1024])
            data[start:end] = generator.choice(
                [b"", generator.randbytes(8), bytes(512), data[end : end + 512]]
            )
        path.write_bytes(data)
        report = verify_bundle(path, KEY.kid)
        assert report.exit_code in (1, 2) or bytes(data) == EXPORTED


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_line_without_end_is_a_broken_record(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("keeptrusts_runners.evidence.verifier.archive.MAX_LINE_BYTES", limit)
    lines = a_session().files(KEY)[4][1]
    content = b"".join(list(lines)[:3]) + b"x" * 5_000_000
    path = tmp_path / "bundle.tar"
    path.write_bytes(Bundle.open(EXPORTED).replace(layout.EVENTS, content).resign(KEY).pack())
    assert verify_bundle(path, KEY.kid).first_bad.seq == 4
