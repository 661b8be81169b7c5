"""Ed25519 signature verification in plain Python, RFC 8032 section 5.1.

It verifies and never signs, so nothing here is secret and nothing need take constant time.
"""

from __future__ import annotations

import hashlib

# The field, the order of the base point, and the curve -x² + y² = 1 + d·x²·y².
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)

# x, y and t = x·y, each multiplied by z.
Point = tuple[int, int, int, int]
_NEUTRAL: Point = (0, 1, 1, 0)


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature's 64 bytes are the key's over the message."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key_point = _decode_point(public_key)
    encoded_r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if key_point is None or s >= _L:
        return False
    digest = hashlib.sha512(encoded_r + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _L
    # R = s·B - k·A; comparing encodings also refuses an R that is not written canonically.
    return _encode_point(_sum_of_multiples(s, _BASE, k, _negate(key_point))) == encoded_r


def _decode_point(encoded: bytes) -> Point | None:
    """Section 5.1.3; None if the bytes are no point, or not its canonical encoding."""
    number = int.from_bytes(encoded, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= _P:
        return None
    x = _recover_x(y)
    if x is None or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _recover_x(y: int) -> int | None:
    """A square root of (y² - 1) / (d·y² + 1), if there is one."""
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == u:
        return x
    x = x * _SQRT_OF_MINUS_1 % _P
    return x if v * x * x % _P == u else None


def _encode_point(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _negate(point: Point) -> Point:
    x, y, z, t = point
    return -x % _P, y, z, -t % _P


def _add(one: Point, two: Point) -> Point:
    """Section 5.1.4; the formula is complete, so it doubles too."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_multiples(m: int, one: Point, n: int, two: Point) -> Point:
    """m·one + n·two, both at once from their highest bits down."""
    addends = {(1, 0): one, (0, 1): two, (1, 1): _add(one, two)}
    total = _NEUTRAL
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        total = _add(total, total)
        bits = (m >> bit & 1, n >> bit & 1)
        if bits in addends:
            total = _add(total, addends[bits])
    return total


def _base_point() -> Point:
    """The point with y = 4/5 and even x."""
    point = _decode_point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert point is not None
    return point


_BASE = _base_point()
