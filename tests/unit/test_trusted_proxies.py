"""The client's address behind proxies: only trusted proxies may report it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.trusted_proxies import FORWARDED_PARTS_MAX, TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "fe80::/10"])
PEER = "10.0.0.1"

# -- trust -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.0.0.0", "10.255.255.255", "192.0.2.7", "fd12::1", "::ffff:10.1.2.3"])
def test_addresses_within_the_networks_are_trusted(address: str) -> None:
    assert PROXIES.trusts(address)
    assert PROXIES.trusts(address)  # the second answer is a remembered one


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.8", "fc00::1", "::ffff:11.0.0.1", "::1"])
def test_addresses_outside_of_the_networks_are_not_trusted(address: str) -> None:
    assert not PROXIES.trusts(address)


@pytest.mark.parametrize(
    "garbage", ["", "10.0.0", "10.0.0.1:80", " 10.0.0.1", "010.0.0.1", "localhost", "\0", "10", "/s"]
)
def test_invalid_address_is_not_trusted(garbage: str) -> None:
    assert not TrustedProxies(["0.0.0.0/0", "::/0"]).trusts(garbage)


def test_link_local_address_counts_without_its_interface() -> None:
    assert PROXIES.trusts("fe80::1%eth0")


def test_mapped_networks_count_as_ipv4_networks() -> None:
    proxies = TrustedProxies(["::ffff:10.0.0.0/104"])
    assert proxies.trusts("10.9.9.9")
    assert proxies.trusts("::ffff:10.9.9.9")
    assert not proxies.trusts("11.0.0.1")


def test_no_address_is_trusted_without_networks() -> None:
    assert not TrustedProxies([]).trusts("127.0.0.1")


@pytest.mark.parametrize("bad", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example", "", "10.0.0.0 /8", "*"])
def test_invalid_network_is_named_in_the_error(bad: str) -> None:
    with pytest.raises(ValueError) as raised:
        TrustedProxies(["127.0.0.1", bad, "::1"])
    assert repr(bad) in str(raised.value)


# -- X-Forwarded-For ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ([], PEER),
        (["203.0.113.5"], "203.0.113.5"),
        (["6.6.6.6, 203.0.113.5"], "203.0.113.5"),  # the client's forged entry is left of the true one
        (["6.6.6.6, 203.0.113.5,10.0.0.2 ,\t192.0.2.7"], "203.0.113.5"),
        (["6.6.6.6", "203.0.113.5, 10.0.0.2", "10.0.0.3"], "203.0.113.5"),
        (["10.0.0.9, 10.0.0.2"], "10.0.0.9"),  # a client from within
        (["203.0.113.5:5678"], "203.0.113.5"),
        (["[2001:db8::5]:5678, 10.0.0.2:80"], "2001:db8::5"),
        (["[2001:db8::5]"], "2001:db8::5"),
        (["2001:DB8:0::5"], "2001:db8::5"),
        (["::ffff:203.0.113.5, ::ffff:10.0.0.2"], "203.0.113.5"),
        (["203.0.113.5, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.5, , 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.5, 010.0.0.2"], PEER),
        (["unknown"], PEER),
        ([""], PEER),
        (["203.0.113.5:http"], PEER),
        (["2001:db8::5%eth0"], PEER),
        (["[203.0.113.5"], PEER),
        (["203.0.113.5\n"], PEER),
        (["\u0662.\u0663.\u0664.\u0665"], PEER),  # digits, but not those of an address
    ],
)
def test_client_is_the_peer_of_the_outermost_trusted_proxy(forwarded_for: list[str], client: str) -> None:
    assert PROXIES.client_address(PEER, forwarded_for) == client


@pytest.mark.parametrize("peer", ["203.0.113.9", "::ffff:203.0.113.9", "", "/run/socket"])
def test_untrusted_peer_is_the_client_whatever_it_sends(peer: str) -> None:
    assert PROXIES.client_address(peer, ["6.6.6.6", "10.0.0.2"]) == peer


def test_mapped_peer_is_trusted_as_its_ipv4_address() -> None:
    assert PROXIES.client_address(f"::ffff:{PEER}", ["203.0.113.5"]) == "203.0.113.5"


def test_parts_beyond_the_limit_are_ignored() -> None:
    hops = [f"10.0.1.{at}" for at in range(FORWARDED_PARTS_MAX)]
    assert PROXIES.client_address(PEER, ["203.0.113.5", *hops[1:]]) == "203.0.113.5"
    assert PROXIES.client_address(PEER, ["203.0.113.5", *hops]) == hops[0]


IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)
trusted = st.integers(0, 2**24 - 1).map(lambda low: str(IPv4Address((10 << 24) + low)))
plain = st.one_of(IPV4.map(str), IPV6.map(str).filter(lambda text: IPv6Address(text).ipv4_mapped is None))
untrusted = plain.filter(lambda text: not PROXIES.trusts(text))
lies = st.lists(st.one_of(trusted, untrusted, st.text(max_size=20)), max_size=5)


@given(lies=lies, client=untrusted, hops=st.lists(trusted, max_size=20), data=st.data())
def test_client_cannot_forge_its_address(lies: list[str], client: str, hops: list[str], data: st.DataObject) -> None:
    parts = [*lies, client, *hops]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(parts) - 1), max_size=3))) if len(parts) > 1 else []
    headers = [", ".join(parts[start:end]) for start, end in zip([0, *cuts], [*cuts, len(parts)], strict=True)]
    assert PROXIES.client_address(PEER, headers) == client


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_header_results_in_the_peer_or_an_address(forwarded_for: list[str]) -> None:
    client = PROXIES.client_address(PEER, forwarded_for)
    assert client == PEER or client in {str(IPv4Address(client)) if "." in client else str(IPv6Address(client))}
