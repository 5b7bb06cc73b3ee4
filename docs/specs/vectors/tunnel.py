#!/usr/bin/env python3
"""Computes the vectors of docs/specs/tunnel.md from RFC 9000 section 16, RFC 9297 section 3 and RFC
9298 sections 2 to 5 alone, and prints what docs/specs/vectors/tunnel.txt holds:

    python3 docs/specs/vectors/tunnel.py > docs/specs/vectors/tunnel.txt

It needs nothing but Python 3, and shares no line with the code that is tested against it.

A line is empty, a comment, `case KIND NAME`, or `key = value`; bytes stand in hexadecimal digits.
"""

DATAGRAM = 0x00  # RFC 9297 section 3.5
MAX_UDP_PAYLOAD = 65527  # RFC 9298 section 5
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def varint(value, size=None):
    """RFC 9000 section 16; `size` asks for a longer form than needed, which is legal."""
    for bits, octets in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if value < 1 << bits and (size is None or size == octets):
            prefix = {1: 0, 2: 1, 4: 2, 8: 3}[octets]
            return (value | prefix << (octets * 8 - 2)).to_bytes(octets, "big")
    raise ValueError(value)


def capsule(kind, value, kind_size=None, len_size=None):
    return varint(kind, kind_size) + varint(len(value), len_size) + value


def datagram(context, payload, context_size=None):
    return capsule(DATAGRAM, varint(context, context_size) + payload)


def expand(text):
    """Simple string expansion (RFC 6570 section 3.2.2)."""
    return "".join(c if c in UNRESERVED else "%%%02X" % c.encode("ascii")[0] for c in text)


def case(kind, name, *lines):
    print("\ncase %s %s" % (kind, name))
    for key, value in lines:
        if isinstance(value, bytes):
            value = value.hex()
        print("%s = %s" % (key, value))


def integers():
    for name, value, size in (
        ("one_octet", 37, None),
        ("one_octet_most", 63, None),
        ("two_octets_least", 64, None),
        ("two_octets", 15293, None),
        ("two_octets_most", 16383, None),
        ("four_octets_least", 16384, None),
        ("four_octets", 494878333, None),
        ("four_octets_most", (1 << 30) - 1, None),
        ("eight_octets_least", 1 << 30, None),
        ("eight_octets", 151288809941952652, None),
        ("eight_octets_most", (1 << 62) - 1, None),
        ("longer_than_needed_2", 37, 2),
        ("longer_than_needed_4", 37, 4),
        ("longer_than_needed_8", 0, 8),
    ):
        form = "minimal" if size is None else "longer"
        case("varint", name, ("value", value), ("form", form), ("bytes", varint(value, size)))


def encodings():
    for name, context, payload in (
        ("empty_payload", 0, b""),
        ("dtls_record", 0, bytes.fromhex("16fefd0000000000000000000101")),
        ("payload_of_62", 0, bytes(range(62))),
        ("payload_of_63", 0, bytes(range(63))),
        ("group_context", 2, b"\x01\x02\x03"),
        ("proxy_allocated_context", 1, b"\xff"),
        ("long_context", (1 << 62) - 1, b"\x00"),
    ):
        case(
            "datagram",
            name,
            ("context", context),
            ("payload", payload),
            ("bytes", datagram(context, payload)),
        )
    # Too long to be written out: the bytes before the payload.
    whole = datagram(0, bytes(MAX_UDP_PAYLOAD))
    case(
        "longest",
        "udp_payload",
        ("payload_len", MAX_UDP_PAYLOAD),
        ("head", whole[: len(whole) - MAX_UDP_PAYLOAD]),
    )


def streams():
    """What a reader who keeps UDP payloads of at most 16 octets makes of a stream."""
    hello, answer = b"client hello", b"server hello"
    reserved = 0x29 * 7 + 0x17  # RFC 9297 section 5.4
    udp = lambda payload: ("udp", payload)
    for name, stream, events, end in (
        ("empty", b"", [], "clean"),
        ("one", datagram(0, hello), [udp(hello)], "clean"),
        ("two", datagram(0, hello) + datagram(0, answer), [udp(hello), udp(answer)], "clean"),
        ("empty_payload", datagram(0, b""), [udp(b"")], "clean"),
        (
            "longer_integers",
            capsule(DATAGRAM, varint(0, 8) + hello, 4, 8),
            [udp(hello)],
            "clean",
        ),
        (
            "unknown_types",
            capsule(reserved, b"\xaa" * 40)
            + datagram(0, hello)
            + capsule(0x1234567890, b"")
            + capsule(0x17, b"\x00\x00")
            + datagram(0, answer),
            [
                ("dropped", "unknown_capsule"),
                udp(hello),
                ("dropped", "unknown_capsule"),
                ("dropped", "unknown_capsule"),
                udp(answer),
            ],
            "clean",
        ),
        (
            "unknown_contexts",
            datagram(2, hello) + datagram(1, b"") + datagram(0, answer),
            [("dropped", "unknown_context"), ("dropped", "unknown_context"), udp(answer)],
            "clean",
        ),
        (
            "longer_than_kept",
            datagram(0, b"x" * 16) + datagram(0, b"y" * 17) + datagram(0, hello),
            [udp(b"x" * 16), ("dropped", "too_long"), udp(hello)],
            "clean",
        ),
        (
            "long_unknown_context",
            datagram(4, b"z" * 600) + datagram(0, hello),
            [("dropped", "unknown_context"), udp(hello)],
            "clean",
        ),
        ("no_context", datagram(0, hello) + capsule(DATAGRAM, b""), [udp(hello)], "malformed"),
        ("half_context", capsule(DATAGRAM, b"\x40"), [], "malformed"),
        (
            "udp_payload_that_cannot_be",
            datagram(0, hello) + varint(DATAGRAM) + varint(1 + MAX_UDP_PAYLOAD + 1) + varint(0) + bytes(7),
            [udp(hello)],
            "abort",
        ),
        ("half_type", datagram(0, hello) + b"\x80\x00", [udp(hello)], "truncated"),
        ("half_length", b"\x00\x40", [], "truncated"),
        ("no_value", b"\x00\x05", [], "truncated"),
        ("half_value", datagram(0, hello)[:-1], [], "truncated"),
        (
            "half_unknown",
            capsule(reserved, b"\xaa" * 40)[:-1],
            [("dropped", "unknown_capsule")],
            "truncated",
        ),
    ):
        lines = [("stream", stream)]
        for kind, value in events:
            lines.append(("event", "%s %s" % (kind, value.hex() if kind == "udp" else value)))
        case("stream", name, *lines, ("end", end))


def requests():
    for name, host, port in (
        ("ipv4", "192.0.2.6", 443),
        ("ipv6", "2001:db8::42", 5684),
        ("name", "lamp.example", 5684),
        ("device", "lamp", 65535),
        ("underscore", "lamp_1", 1),
    ):
        path = "/.well-known/masque/udp/%s/%s/" % (expand(host), port)
        case(
            "request",
            name,
            ("target_host", host),
            ("target_port", port),
            ("path", path),
            ("http1", "GET %s HTTP/1.1" % path),
            ("http1", "Host: example.org"),
            ("http1", "Connection: Upgrade"),
            ("http1", "Upgrade: connect-udp"),
            ("http1", "Capsule-Protocol: ?1"),
            ("http2", ":method = CONNECT"),
            ("http2", ":protocol = connect-udp"),
            ("http2", ":scheme = https"),
            ("http2", ":path = %s" % path),
            ("http2", ":authority = example.org"),
            ("http2", "capsule-protocol = ?1"),
        )
    case(
        "response",
        "success",
        ("http1_status", 101),
        ("http1", "connection: Upgrade"),
        ("http1", "upgrade: connect-udp"),
        ("http1", "capsule-protocol: ?1"),
        ("http2_status", 200),
        ("http2", "capsule-protocol: ?1"),
    )


print("# docs/specs/vectors/tunnel.py; RFC 9000 section 16, RFC 9297 section 3, RFC 9298 sections 2 to 5")
integers()
encodings()
streams()
requests()
