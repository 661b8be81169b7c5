"""Hosts and ports in one spelling, and where a name may lead."""

import ipaddress

import pytest

from keeptrusts_runners.runner.egress_target import HOST_LIMIT, BadTarget, Target, permitted


@pytest.mark.parametrize(
    ("written", "one_spelling"),
    [
        ("Packages.Internal:443", "packages.internal:443"),
        ("packages.internal.:443", "packages.internal:443"),
        ("xn--bcher-kva.example:80", "xn--bcher-kva.example:80"),
        ("_service.a:1", "_service.a:1"),
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_every_spelling_is_one_target(written: str, one_spelling: str) -> None:
    target = Target.of(written)
    assert str(target) == one_spelling
    assert target.operation == f"network.egress:{one_spelling}"
    assert Target.of(one_spelling) == target


@pytest.mark.parametrize(
    "written",
    [
        *("", ":", "a", "a:", ":80", "a:0", "a:65536", "a:+1", "a: 1", "a:1 ", "a:٣", "a:1:2"),
        *("a..b:1", ".a:1", "-a:1", "a-:1", "a b:1", "a/b:1", "a@b:1", "a%00:1", "a\n:1", "*:1"),
        *("127.1:1", "0x7f000001:1", "2130706433:1", "0177.0.0.1:1", "127.0.0.1.:1", "1.2.3.4.5:1"),
        *("0.0.0.0:1", "224.0.0.1:1", "[::]:1", "[ff02::1]:1", "[fe80::1%eth0]:1", "::1:80"),
        *(
            "[::ffff:10.0.0.1]:1",
            "[64:ff9b::7f00:1]:1",
            "[2002:7f00:1::]:1",
            "[1.2.3.4]:1",
            "[a]:1",
        ),
        *("bücher.example:1", "a" * 64 + ":1", "a." * (HOST_LIMIT // 2) + "aa:1"),
    ],
)
def test_what_is_no_host_and_port_is_refused(written: str) -> None:
    with pytest.raises(BadTarget):
        Target.of(written)


PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"]
NEVER = ["127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::"]
NEVER += ["::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "240.0.0.1"]


def led_to(name: str, found: list[str], *private: str) -> list[str]:
    addresses = [ipaddress.ip_address(text) for text in found]
    allowed = permitted(Target.of(f"{name}:80"), addresses, private)
    return [text for text in found if str(ipaddress.ip_address(text)) in allowed]


@pytest.mark.proves("grant.egress-only-with-grant")
def test_a_name_leads_to_public_addresses_alone() -> None:
    assert led_to("a.example", PUBLIC + PRIVATE + NEVER) == PUBLIC


def test_a_name_that_is_said_to_be_private_leads_inside_and_still_not_here() -> None:
    for name in ("internal", "packages.internal"):
        assert led_to(name, PUBLIC + PRIVATE + NEVER, "internal") == PUBLIC + PRIVATE
    assert led_to("notinternal", PRIVATE, "internal") == []
