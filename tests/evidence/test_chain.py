"""The chain: what each hash covers, and that a batch is the same as its records one by one."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptrusts_runners.evidence import chain
from tests.evidence.reference_chain import record_hash

ORGANIZATION = bytes(range(16))
SESSION = bytes(range(16, 32))

UNSIGNED = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
DIGEST = st.binary(min_size=32, max_size=32)
RECORDS = st.lists(st.tuples(UNSIGNED, TEXT, TEXT, UNSIGNED, DIGEST), max_size=12)


def test_a_body_digest_is_of_the_salt_and_the_stored_bytes():
    assert chain.body_digest(b"s" * 32, b"{}") == hashlib.sha256(b"s" * 32 + b"{}").digest()


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), RECORDS)
def test_every_hash_is_as_the_page_says(organization, session, records):
    expected, prev = [], bytes(32)
    for seq, record in enumerate(records, start=1):
        prev = record_hash(organization, session, seq, *record, prev)
        expected.append(prev)
    assert chain.extend(organization, session, 0, chain.GENESIS, records) == expected


@given(RECORDS.filter(bool), st.data())
def test_a_batch_may_be_cut_anywhere(records, data):
    whole = chain.extend(ORGANIZATION, SESSION, 0, chain.GENESIS, records)
    cut = data.draw(st.integers(0, len(records)))
    first = chain.extend(ORGANIZATION, SESSION, 0, chain.GENESIS, records[:cut])
    head = first[-1] if first else chain.GENESIS
    assert first + chain.extend(ORGANIZATION, SESSION, cut, head, records[cut:]) == whole
    before_last = whole[-2] if len(whole) > 1 else chain.GENESIS
    seq = len(records)
    assert chain.link(ORGANIZATION, SESSION, seq, *records[-1], before_last) == whole[-1]


@given(RECORDS.filter(bool), st.data())
def test_a_change_of_any_field_changes_this_hash_and_all_that_follow(records, data):
    index = data.draw(st.integers(0, len(records) - 1))
    position = data.draw(st.integers(0, 4))
    other = data.draw([UNSIGNED, TEXT, TEXT, UNSIGNED, DIGEST][position])
    changed = list(records)
    fields = list(records[index])
    same = fields[position] == other
    fields[position] = other
    changed[index] = tuple(fields)
    before = chain.extend(ORGANIZATION, SESSION, 0, chain.GENESIS, records)
    after = chain.extend(ORGANIZATION, SESSION, 0, chain.GENESIS, changed)
    agree = [a == b for a, b in zip(before, after, strict=True)]
    assert agree == [True] * len(records) if same else [i < index for i in range(len(records))]


def test_bytes_cannot_move_from_one_field_to_the_next():
    ends = (1, chain.body_digest(b"", b""), chain.GENESIS)
    one = chain.link(ORGANIZATION, SESSION, 1, 1, "log", "user_1", *ends)
    two = chain.link(ORGANIZATION, SESSION, 1, 1, "logu", "ser_1", *ends)
    assert one != two


@pytest.mark.parametrize(
    ("organization", "head", "digest"),
    [
        (b"short", chain.GENESIS, bytes(32)),
        (ORGANIZATION, b"", bytes(32)),
        (ORGANIZATION, chain.GENESIS, b""),
    ],
)
def test_digests_and_ids_of_another_length_are_refused(organization, head, digest):
    with pytest.raises(ValueError):
        chain.extend(organization, SESSION, 0, head, [(1, "log", "system", 0, digest)])


@pytest.mark.parametrize(("seq", "at_us", "epoch"), [(0, -1, 0), (0, 0, -1), (2**64 - 1, 0, 0)])
def test_numbers_outside_64_bits_are_refused(seq, at_us, epoch):
    with pytest.raises(struct.error):
        chain.extend(
            ORGANIZATION, SESSION, seq, chain.GENESIS, [(at_us, "log", "system", epoch, bytes(32))]
        )
