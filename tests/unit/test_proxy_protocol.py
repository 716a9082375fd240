"""The PROXY protocol: valid headers are read, and invalid bytes are rejected early."""

from __future__ import annotations

from ipaddress import IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.server.edge.proxy_protocol import (
    V2_LENGTH_MAX,
    InvalidProxyHeader,
    ProxyHeader,
    read_proxy_header,
)

IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)

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
def test_header_is_read_only_when_complete(header: tuple[bytes, str | None], rest: bytes) -> None:
    data, address = header
    for size in range(len(data)):
        assert read_proxy_header(data[:size]) is None, data[:size]
    assert read_proxy_header(data) == ProxyHeader(address, len(data))
    assert read_proxy_header(data + rest) == ProxyHeader(address, len(data))


@pytest.mark.parametrize(("data", "address"), GOOD)
def test_valid_headers_are_read(data: bytes, address: str | None) -> None:
    assert read_proxy_header(data + b"GET") == ProxyHeader(address, len(data))


@pytest.mark.parametrize("data", BAD)
def test_invalid_bytes_are_rejected_at_the_first_wrong_one(data: bytes) -> None:
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
def test_any_bytes_are_a_header_or_incomplete_or_rejected(beginning: bytes, cut: int, end: bytes) -> None:
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
