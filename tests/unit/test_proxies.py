"""Only trusted proxies are believed, and only bytes that are a PROXY header are taken for one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.server.edge.proxy_protocol import (
    V2_LENGTH_MAX,
    InvalidProxyHeader,
    ProxyHeader,
    read_proxy_header,
)
from tickwire.server.edge.trusted_proxies import FORWARDED_PARTS_MAX, TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "fe80::/10"])
PEER = "10.0.0.1"

# -- trust -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.0.0.0", "10.255.255.255", "192.0.2.7", "fd12::1", "::ffff:10.1.2.3"])
def test_addresses_within_the_networks_are_trusted(address: str) -> None:
    assert PROXIES.trusts(address)
    assert PROXIES.trusts(address)  # the second answer is a remembered one


@pytest.mark.parametrize("address", ["11.0.0.1", "192.0.2.8", "fc00::1", "::ffff:11.0.0.1", "::1"])
def test_addresses_outside_of_them_are_not(address: str) -> None:
    assert not PROXIES.trusts(address)


@pytest.mark.parametrize(
    "garbage", ["", "10.0.0", "10.0.0.1:80", " 10.0.0.1", "010.0.0.1", "localhost", "\0", "10", "/s"]
)
def test_garbage_is_not_trusted(garbage: str) -> None:
    assert not TrustedProxies(["0.0.0.0/0", "::/0"]).trusts(garbage)


def test_a_link_local_address_counts_without_its_interface() -> None:
    assert PROXIES.trusts("fe80::1%eth0")


def test_networks_of_mapped_addresses_are_networks_of_ipv4() -> None:
    proxies = TrustedProxies(["::ffff:10.0.0.0/104"])
    assert proxies.trusts("10.9.9.9")
    assert proxies.trusts("::ffff:10.9.9.9")
    assert not proxies.trusts("11.0.0.1")


def test_nobody_is_trusted_without_networks() -> None:
    assert not TrustedProxies([]).trusts("127.0.0.1")


@pytest.mark.parametrize("bad", ["10.0.0.1/8", "10.0.0.0/33", "proxy.example", "", "10.0.0.0 /8", "*"])
def test_what_is_no_network_is_named(bad: str) -> None:
    with pytest.raises(ValueError) as raised:
        TrustedProxies(["127.0.0.1", bad, "::1"])
    assert repr(bad) in str(raised.value)


# -- X-Forwarded-For ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ([], PEER),
        (["203.0.113.5"], "203.0.113.5"),
        (["6.6.6.6, 203.0.113.5"], "203.0.113.5"),  # what the client wrote stands left of what is true
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
def test_the_client_is_whom_the_outermost_trusted_proxy_heard(forwarded_for: list[str], client: str) -> None:
    assert PROXIES.client_address(PEER, forwarded_for) == client


@pytest.mark.parametrize("peer", ["203.0.113.9", "::ffff:203.0.113.9", "", "/run/socket"])
def test_a_peer_that_is_not_trusted_is_the_client_whatever_it_says(peer: str) -> None:
    assert PROXIES.client_address(peer, ["6.6.6.6", "10.0.0.2"]) == peer


def test_a_mapped_peer_is_trusted_as_its_ipv4_address() -> None:
    assert PROXIES.client_address(f"::ffff:{PEER}", ["203.0.113.5"]) == "203.0.113.5"


def test_no_more_parts_than_the_limit_are_looked_at() -> None:
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
def test_no_lie_of_a_client_changes_its_address(
    lies: list[str], client: str, hops: list[str], data: st.DataObject
) -> None:
    parts = [*lies, client, *hops]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(parts) - 1), max_size=3))) if len(parts) > 1 else []
    headers = [", ".join(parts[start:end]) for start, end in zip([0, *cuts], [*cuts, len(parts)], strict=True)]
    assert PROXIES.client_address(PEER, headers) == client


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_text_gives_the_peer_or_an_address(forwarded_for: list[str]) -> None:
    client = PROXIES.client_address(PEER, forwarded_for)
    assert client == PEER or client in {str(IPv4Address(client)) if "." in client else str(IPv6Address(client))}


# -- the PROXY protocol ------------------------------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


V4_BODY = bytes((203, 0, 113, 5, 10, 0, 0, 1)) + b"\x12\x34\x01\xbb"
V6_BODY = IPv6Address("2001:db8::5").packed + IPv6Address("fd00::1").packed + b"\x12\x34\x01\xbb"
MAPPED_BODY = IPv6Address("::ffff:203.0.113.5").packed + V6_BODY[16:]
TLVS = b"\x04\x00\x03abc" + b"\x20\x00\x05\x01\0\0\0\0"
LONGEST_UNKNOWN = b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n"
LONGEST_TCP6 = b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n"
GOOD: list[tuple[bytes, str | None]] = [
    (b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 443\r\n", "203.0.113.5"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:DB8::5 fd00::1 4660 443\r\n", "2001:db8::5"),
    (b"PROXY TCP6 ::ffff:203.0.113.5 ::1 4660 443\r\n", "203.0.113.5"),
    (LONGEST_TCP6, ":".join(["ffff"] * 8)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN \r \xff\n anything\r\n", None),
    (LONGEST_UNKNOWN, None),
    (v2(0x21, 0x11, V4_BODY), "203.0.113.5"),
    (v2(0x21, 0x12, V4_BODY + TLVS), "203.0.113.5"),
    (v2(0x21, 0x21, V6_BODY), "2001:db8::5"),
    (v2(0x21, 0x22, V6_BODY + TLVS), "2001:db8::5"),
    (v2(0x21, 0x21, MAPPED_BODY), "203.0.113.5"),
    (v2(0x21, 0x11, V4_BODY + bytes(512 - len(V4_BODY))), "203.0.113.5"),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x00, TLVS), None),
    (v2(0x21, 0x10, b""), None),  # addresses without a transport are to be ignored
    (v2(0x21, 0x31, bytes(216)), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4_BODY), None),
    (v2(0x20, 0xFF, b""), None),  # a LOCAL header's family is to be ignored
]
BAD: list[bytes] = [
    b"GET / HTTP/1.1\r\n",
    b"PROXY TCP5 ",
    b"proxy TCP4 ",
    b"PROXY  TCP4 ",
    b"PROXY\r\n",
    b"PROXY UNKNOWNS",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 443\n",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 443\r\r",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 443\r\r\n",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660\r",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 443 ",
    b"PROXY TCP4 203.0.113.5  ",
    b"PROXY TCP4 203.0.113.005 ",
    b"PROXY TCP4 203.0.113 ",
    b"PROXY TCP4 2001:",
    b"PROXY TCP4 \xd9\xa2",
    b"PROXY TCP6 203.0.113.5 ",
    b"PROXY TCP6 fe80::1%",
    b"PROXY TCP6 ::1::1 ",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 04",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 +",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 65536 ",
    b"PROXY TCP4 203.0.113.5 10.0.0.1 4660 \r",
    LONGEST_UNKNOWN[:-2] + b"x",
    LONGEST_UNKNOWN[:-2] + b"x\r\n",
    SIGNATURE[:-1] + b"\r",
    SIGNATURE + b"\x11",  # version 1 has no binary form
    SIGNATURE + b"\x22",
    SIGNATURE + b"\x21\x41",
    SIGNATURE + b"\x21\x13",
    SIGNATURE + b"\x21\x11\x00\x0b",
    SIGNATURE + b"\x21\x21\x00\x23",
    SIGNATURE + b"\x21\x31\x00\xd7",
    SIGNATURE + b"\x21\x11\x02\x01",
    SIGNATURE + b"\x20\x00\x03",
]


def headers() -> st.SearchStrategy[tuple[bytes, str | None]]:
    """Any header that a proxy may send."""
    ports = st.integers(0, 0xFFFF)
    ends = st.one_of(*(st.tuples(addresses, addresses) for addresses in (IPV4, IPV6)))
    v1 = st.builds(
        lambda ends, port: (f"PROXY TCP{ends[0].version} {ends[0]} {ends[1]} {port} 443\r\n".encode(), ends[0]),
        ends,
        ports,
    )
    binary = st.builds(
        lambda ends, more: (
            v2(0x21, 0x11 if ends[0].version == 4 else 0x21, ends[0].packed + ends[1].packed + more),
            ends[0],
        ),
        ends,
        st.binary(min_size=4, max_size=300),  # the ports, then TLVs
    )
    return st.one_of(
        st.sampled_from(GOOD),
        st.one_of(v1, binary).map(
            lambda header: (header[0], str(getattr(header[1], "ipv4_mapped", None) or header[1]))
        ),
    )


@given(header=headers(), rest=st.binary(max_size=200))
def test_a_header_is_read_whole_or_not_at_all(header: tuple[bytes, str | None], rest: bytes) -> None:
    data, address = header
    for size in range(len(data)):
        assert read_proxy_header(data[:size]) is None, data[:size]
    assert read_proxy_header(data) == ProxyHeader(address, len(data))
    assert read_proxy_header(data + rest) == ProxyHeader(address, len(data))


@pytest.mark.parametrize(("data", "address"), GOOD)
def test_what_the_specification_allows_is_read(data: bytes, address: str | None) -> None:
    assert read_proxy_header(data + b"GET") == ProxyHeader(address, len(data))


@pytest.mark.parametrize("data", BAD)
def test_bytes_that_cannot_become_a_header_are_refused_with_the_first_wrong_one(data: bytes) -> None:
    with pytest.raises(InvalidProxyHeader):
        read_proxy_header(data)
    with pytest.raises(InvalidProxyHeader):
        read_proxy_header(data + b"\r\n" + bytes(600))


beginnings = st.sampled_from(
    [
        b"",
        b"PROXY ",
        b"PROXY TCP4 ",
        b"PROXY TCP6 ",
        b"PROXY UNKNOWN",
        SIGNATURE,
        SIGNATURE + b"\x21",
        *(h for h, _ in GOOD),
    ]
)
ends = st.one_of(
    st.binary(max_size=600),
    st.text("0123456789abcdef:. \r\n", max_size=120).map(str.encode),
)


@given(beginning=beginnings, cut=st.integers(0, 120), end=ends)
@example(beginning=b"", cut=0, end=b"")
def test_any_bytes_are_a_header_or_its_beginning_or_refused(beginning: bytes, cut: int, end: bytes) -> None:
    data = beginning[: max(len(beginning) - cut, 0)] + end
    try:
        header = read_proxy_header(data)
    except InvalidProxyHeader:
        for more in (b"\r\n", b" 1", bytes(600)):  # refused once, refused for good
            with pytest.raises(InvalidProxyHeader):
                read_proxy_header(data + more)
        return
    for size in range(0, len(data), 5):  # what is accepted was never refused on the way
        read_proxy_header(data[:size])
    if header is None:
        assert len(data) < 16 + V2_LENGTH_MAX
        return
    assert 0 < header.size <= len(data)
    assert read_proxy_header(data[: header.size]) == header
