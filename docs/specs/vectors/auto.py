#!/usr/bin/env python3
"""Computes the vectors of docs/specs/auto.md from that page, RFC 9000 section 16, RFC 9297 section 3 and RFC
6298 section 2 alone, and prints what docs/specs/vectors/auto.txt holds:

    python3 docs/specs/vectors/auto.py > docs/specs/vectors/auto.txt

It needs nothing but Python 3, and shares no line with the code that is tested against it.

A line is empty, a comment, `case KIND NAME`, or `key = value`; bytes stand in hexadecimal digits, times in
milliseconds.
"""

from fractions import Fraction


def varint(value):
    for bits, octets, prefix in ((6, 1, 0), (14, 2, 1), (30, 4, 2), (62, 8, 3)):
        if value < 1 << bits:
            return (value | prefix << (octets * 8 - 2)).to_bytes(octets, "big")
    raise ValueError(value)


def case(kind, name, *lines):
    print("\ncase %s %s" % (kind, name))
    for key, value in lines:
        print("%s = %s" % (key, value.hex() if isinstance(value, bytes) else value))


def probe(number, length):
    return (varint(2) + number.to_bytes(8, "big")).ljust(length, b"\0")


def messages():
    for name, payload in (("empty", b""), ("record", bytes(range(40))), ("longest", b"\x17" * 1151)):
        message = varint(0) + payload
        case("payload", name, ("payload", payload), ("message", message),
             ("capsule", varint(0) + varint(len(message)) + message))
    for name, number, length in (("shortest", 0, 9), ("padded", 0x0102030405060708, 20),
                                 ("on_udp", 7, 1152), ("last", (1 << 64) - 1, 9)):
        message = probe(number, length)
        echo = varint(4) + message[1:]
        case("probe", name, ("number", number), ("length", length), ("message", message), ("echo", echo),
             ("capsule", varint(0) + varint(length) + message))
    for name, message in (("nothing", b""), ("half_a_context", b"\x40"), ("short_probe", varint(2) + bytes(7)),
                          ("short_echo", varint(4) + bytes(7)), ("long_probe", varint(2) + bytes(1152)),
                          ("long_echo", varint(4) + bytes(1152))):
        case("malformed", name, ("message", message))
    for name, context in (("odd", 1), ("even", 6), ("large", 1 << 40)):
        case("unknown", name, ("context", context), ("message", varint(context) + bytes(9)))


def offers():
    identity, key = bytes(range(16)), bytes(range(0xe0, 0x100))
    for name, port in (("usual", 5685), ("least", 1), ("most", 65535)):
        case("offer", name, ("port", port), ("identity", identity), ("psk", key),
             ("field", 'port=%d, identity="%s", psk="%s"' % (port, identity.hex(), key.hex())))
    good = 'port=5685, identity="%s", psk="%s"' % (identity.hex(), key.hex())
    for name, field in (
        ("boolean", "?1"),
        ("port_zero", good.replace("5685", "0")),
        ("port_too_large", good.replace("5685", "65536")),
        ("port_signed", good.replace("5685", "+5685")),
        ("port_padded", good.replace("5685", "05685")),
        ("identity_short", good.replace('identity="00', 'identity="')),
        ("key_short", good.replace('psk="e0', 'psk="')),
        ("key_long", good.replace('psk="', 'psk="00')),
        ("upper_case", good.replace("ff", "FF")),
        ("no_digits", good.replace("ff", "gg")),
        ("other_order", 'identity="%s", port=5685, psk="%s"' % (identity.hex(), key.hex())),
        ("one_more", good + ", more=1"),
        ("no_space", good.replace(", ", ",")),
    ):
        case("no_offer", name, ("field", field))


def timeouts():
    """How long an echo is waited for after these round trips (RFC 6298 section 2, and the page's bounds)."""
    for name, samples in (("first", [100]), ("steady", [300] * 30), ("steady_and_far", [700] * 30), ("grown", [50] * 10 + [900]),
                          ("slow", [1500, 1700]), ("varying", [100, 700] * 8)):
        srtt = variation = None
        for sample in map(Fraction, samples):
            if srtt is None:
                srtt, variation = sample, sample / 2
            else:
                variation = Fraction(3, 4) * variation + abs(srtt - sample) / 4
                srtt = Fraction(7, 8) * srtt + sample / 8
        timeout = min(max(srtt + max(4 * variation, 100), 500), 2000)
        case("timeout", name, ("samples", " ".join(map(str, samples))), ("timeout", round(float(timeout), 3)))


print("# What docs/specs/vectors/auto.py prints.")
messages()
offers()
timeouts()
