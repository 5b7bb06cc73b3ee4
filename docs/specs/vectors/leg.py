#!/usr/bin/env python3
"""Segments of a leg, computed from the text of docs/specs/leg.md alone. Needs nothing but Python.

Writes leg.txt beside itself: `segment NAME = hex`, `malformed NAME = hex`, and a conversation in order,
`device NAME = hex` from the device and `gateway NAME = hex` from the gateway.
"""

from pathlib import Path

OPEN, ACK, DATA, FIN, RESET, PING = 0x20, 0x10, 0x08, 0x04, 0x02, 0x01


def uint(value, size):
    return value.to_bytes(size, "big")


def vector(data):
    return uint(len(data), 1) + data


def stream_id(device, incarnation, counter):
    return (int(device) << 31) | (incarnation << 16) | counter


def header(flags, stream):
    return uint(0x80 | flags, 1) + uint(stream, 4)


def ack(cumulative, window, blocks=()):
    out = uint(cumulative, 4) + uint(window, 2) + uint(len(blocks), 1)
    for gap, length in blocks:
        out += uint(gap, 2) + uint(length, 2)
    return out


def open_part(window, port, name=b"", address=b""):
    return uint(window, 2) + uint(port, 2) + vector(name) + vector(address)


def data_part(offset, data=b""):
    return uint(offset, 4) + data


GATEWAY_STREAM = stream_id(False, 0x1234, 7)
DEVICE_STREAM = stream_id(True, 0x7FFF, 0xFFFF)
IPV4 = bytes([192, 0, 2, 33]) + uint(50_000, 2)
IPV6 = bytes.fromhex("20010db8000000000000000000000001") + uint(443, 2)
HELLO = bytes.fromhex("160303")

SEGMENTS = {
    "open_by_gateway": header(OPEN | DATA, GATEWAY_STREAM) + open_part(1024, 5684, b"", IPV6)
    + data_part(0, HELLO),
    "open_by_gateway_ipv4": header(OPEN, GATEWAY_STREAM) + open_part(512, 443, b"", IPV4),
    "open_by_device": header(OPEN | DATA, DEVICE_STREAM) + open_part(65_535, 0, b"upstream-server")
    + data_part(0, HELLO),
    "open_and_finish": header(OPEN | DATA | FIN, DEVICE_STREAM) + open_part(512, 0, b"a")
    + data_part(0),
    "acknowledgement": header(ACK, GATEWAY_STREAM) + ack(3, 1021),
    "acknowledgement_of_four_blocks": header(ACK, GATEWAY_STREAM)
    + ack(100, 924, [(1, 1), (48, 48), (48, 96), (65_535, 65_535)]),
    "data": header(DATA, GATEWAY_STREAM) + data_part(0x01020304, b"\x17\x03\x03"),
    "data_with_acknowledgement_and_ping": header(ACK | DATA | PING, GATEWAY_STREAM)
    + ack(48, 976, [(48, 10)]) + data_part(3, b"\x00"),
    "finish_alone": header(ACK | DATA | FIN, GATEWAY_STREAM) + ack(10, 512) + data_part(90),
    "finish_with_bytes": header(DATA | FIN, GATEWAY_STREAM) + data_part(88, b"\x15\x03"),
    "last_position": header(DATA | FIN, GATEWAY_STREAM) + data_part(0xFFFFFFFD, b"\x00"),
    "ping": header(ACK | PING, GATEWAY_STREAM) + ack(0xFFFFFFFF, 0),
    "reset": header(RESET, GATEWAY_STREAM) + uint(4, 1),
    "reset_for_a_reason_not_known": header(RESET, GATEWAY_STREAM) + uint(200, 1),
}

MALFORMED = {
    "empty": b"",
    "coap_message": bytes.fromhex("40010001"),
    "first_bits_11": uint(0xC8, 1) + uint(GATEWAY_STREAM, 4) + data_part(0, b"\x00"),
    "no_flag": header(0, GATEWAY_STREAM),
    "stream_cut_off": header(PING, GATEWAY_STREAM)[:4],
    "reset_without_reason": header(RESET, GATEWAY_STREAM),
    "reset_with_more": header(RESET, GATEWAY_STREAM) + uint(4, 1) + b"\x00",
    "reset_and_ping": header(RESET | PING, GATEWAY_STREAM) + uint(4, 1),
    "fin_without_data": header(ACK | FIN, GATEWAY_STREAM) + ack(0, 0),
    "data_without_bytes": header(DATA, GATEWAY_STREAM) + data_part(0),
    "offset_cut_off": header(DATA, GATEWAY_STREAM) + b"\x00\x00\x00",
    "bytes_left_over": header(ACK, GATEWAY_STREAM) + ack(0, 0) + b"\x00",
    "beyond_the_last_position": header(DATA, GATEWAY_STREAM) + data_part(0xFFFFFFFE, b"\x00"),
    "ack_cut_off": header(ACK, GATEWAY_STREAM) + ack(0, 0)[:6],
    "five_blocks": header(ACK, GATEWAY_STREAM) + ack(0, 0, [(1, 1)] * 5),
    "blocks_cut_off": header(ACK, GATEWAY_STREAM) + ack(0, 0, [(1, 1)] * 2)[:-1],
    "gap_of_0": header(ACK, GATEWAY_STREAM) + ack(0, 0, [(0, 1)]),
    "length_of_0": header(ACK, GATEWAY_STREAM) + ack(0, 0, [(1, 0)]),
    "block_beyond_the_last_position": header(ACK, GATEWAY_STREAM) + ack(0xFFFFFFFE, 0, [(1, 1)]),
    "name_of_16_octets": header(OPEN, DEVICE_STREAM) + open_part(512, 0, b"a" * 16),
    "name_with_a_space": header(OPEN, DEVICE_STREAM) + open_part(512, 0, b"a b"),
    "name_cut_off": header(OPEN, DEVICE_STREAM) + open_part(512, 0, b"abc")[:-2],
    "address_of_4_octets": header(OPEN, GATEWAY_STREAM) + open_part(512, 0, b"", IPV4[:4]),
}


def conversation():
    """The device opens a stream to `api`, sends 90 bytes, gets 10, and both end in order."""
    buffer, length = 1024, 64
    stream = stream_id(True, 0x0203, 0)
    request = bytes(range(90))
    response = bytes(range(0xA0, 0xAA))
    # OPEN and as many bytes as fit behind it: 64 - 5 - 9 - 4 = 46.
    opening = open_part(buffer, 0, b"api")
    room = length - 5 - len(opening) - 4
    # Nothing has come back, so no A. Both segments fit a window of two and 512 bytes.
    yield "device", "open", header(OPEN | DATA, stream) + opening + data_part(0, request[:room])
    yield "device", "rest", header(DATA, stream) + data_part(room, request[room:])
    # The response and its end ride with the acknowledgement.
    yield "gateway", "response", header(ACK | DATA | FIN, stream) + ack(len(request), buffer) \
        + data_part(0, response)
    # FIN is acknowledged as one position more, at once, and the device ends too.
    yield "device", "finish", header(ACK | DATA | FIN, stream) + ack(len(response) + 1, buffer) \
        + data_part(len(request))
    yield "gateway", "acknowledge", header(ACK, stream) + ack(len(request) + 1, buffer)


def main():
    lines = ["# leg.py; docs/specs/leg.md"]
    lines += [f"segment {name} = {value.hex()}" for name, value in SEGMENTS.items()]
    lines += [f"malformed {name} = {value.hex()}" for name, value in MALFORMED.items()]
    lines += [f"{who} {name} = {value.hex()}" for who, name, value in conversation()]
    Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
