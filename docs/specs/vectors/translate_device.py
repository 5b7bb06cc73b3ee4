#!/usr/bin/env python3
"""Computes the vectors of docs/specs/translate-device.md from its text, with nothing but Python.

    python3 docs/specs/vectors/translate_device.py > docs/specs/vectors/translate_device.txt

`map`: one direction of a connection as TLS has it, as the form `dtls` has it, and as TLS has it
again when it is mapped back. `transcript`: the handshake messages in clear as the hash takes them.
`broken_tls` and `broken_dtls`: what breaks the framing, and in which octet that shows at the latest.
`data`: a header of form `dtls`, the plaintext's length, and the additional data.
"""

CCS, ALERT, HANDSHAKE, DATA = 0x14, 0x15, 0x16, 0x17
TLS, DTLS = b"\x03\x03", b"\xfe\xfd"
MOST = 1024


def u(value, length):
    return value.to_bytes(length, "big")


def tls_record(content_type, fragment, version=TLS):
    return u(content_type, 1) + version + u(len(fragment), 2) + fragment


def dtls_record(content_type, epoch, number, fragment):
    return u(content_type, 1) + DTLS + u(epoch, 2) + u(number, 6) + u(len(fragment), 2) + fragment


def message(msg_type, body):
    return u(msg_type, 1) + u(len(body), 3) + body


def split(records):
    """The fragments of the messages of clear handshake records: (type, length, seq, offset, bytes)."""
    fragments, seq, held, current = [], 0, b"", None
    for content_type, fragment, *_ in records:
        if content_type == CCS:
            assert not held and current is None
            return fragments
        if content_type != HANDSHAKE:
            continue
        here = []
        while True:
            if current is None:
                need = 4 - len(held)
                held, fragment = held + fragment[:need], fragment[need:]
                if len(held) < 4:
                    break
                current = [held[0], int.from_bytes(held[1:4], "big"), 0]
                held = b""
            msg_type, length, offset = current
            part = fragment[:min(length - offset, MOST)]
            if not part and length:
                break
            here.append((msg_type, length, seq, offset, part))
            fragment = fragment[len(part):]
            current[2] += len(part)
            if current[2] == length:
                current, seq = None, seq + 1
        fragments.append(here)
    return fragments


def to_dtls(records):
    parts = iter(split(records))
    epoch, number, out = 0, 0, b""
    for content_type, fragment, *_ in records:
        if content_type == HANDSHAKE and epoch == 0:
            for msg_type, length, seq, offset, part in next(parts):
                header = u(msg_type, 1) + u(length, 3) + u(seq, 2) + u(offset, 3) + u(len(part), 3)
                out += dtls_record(HANDSHAKE, 0, number, header + part)
                number += 1
            continue
        out += dtls_record(content_type, epoch, number, fragment)
        number += 1
        if content_type == CCS and epoch == 0:
            epoch, number = 1, 0
    return out


def back(records):
    parts = iter(split(records))
    epoch, out = 0, b""
    for content_type, fragment, *_ in records:
        if content_type == HANDSHAKE and epoch == 0:
            for msg_type, length, _, offset, part in next(parts):
                header = u(msg_type, 1) + u(length, 3) if offset == 0 else b""
                out += tls_record(HANDSHAKE, header + part)
            continue
        out += tls_record(content_type, fragment)
        if content_type == CCS:
            epoch = 1
    return out


def transcript(records):
    out = b""
    for content_type, fragment, *_ in records:
        if content_type == CCS:
            break
        if content_type == HANDSHAKE:
            out += fragment
    return out


def show(name, records):
    print(f"map {name}")
    print(f"tls = {b''.join(tls_record(*record) for record in records).hex()}")
    print(f"dtls = {to_dtls(records).hex()}")
    print(f"back = {back(records).hex()}")
    print(f"transcript = {transcript(records).hex()}")


def broken(kind, name, octets):
    print(f"{kind} {name}")
    print(f"bytes = {octets.hex()}")


def main():
    print("# translate_device.py; docs/specs/translate-device.md")
    client_hello = message(1, bytes(range(45)))
    key_exchange = message(16, b"\x00\x05meter")
    finished = bytes(range(8)) + bytes(range(100, 124))
    data = bytes(7) + b"\x01" + bytes(range(20))

    show("client_hello_of_an_old_version", [(HANDSHAKE, client_hello, b"\x03\x01")])
    show("client", [(HANDSHAKE, client_hello, b"\x03\x01"), (HANDSHAKE, key_exchange),
                    (CCS, b"\x01"), (HANDSHAKE, finished), (DATA, data), (ALERT, bytes(18))])
    flight = message(2, bytes(range(40))) + message(12, b"\x00\x04hint") + message(14, b"")
    show("server_flight_in_one_record", [(HANDSHAKE, flight), (CCS, b"\x01"),
                                         (HANDSHAKE, finished)])
    show("server_flight_in_three", [(HANDSHAKE, flight[:44]), (HANDSHAKE, flight[44:54]),
                                    (HANDSHAKE, flight[54:])])
    show("octet_by_octet", [(HANDSHAKE, flight[at:at + 1]) for at in range(len(flight))])
    show("cut_within_headers", [(HANDSHAKE, flight[:46]), (HANDSHAKE, flight[46:57]),
                                (HANDSHAKE, flight[57:])])
    show("certificate_above_a_fragment", [(HANDSHAKE, message(11, bytes(2500)))])
    show("exactly_a_fragment", [(HANDSHAKE, message(11, bytes(1024)) + message(14, b""))])
    show("alert_in_clear", [(HANDSHAKE, client_hello), (ALERT, b"\x02\x28")])
    show("alert_within_a_message", [(HANDSHAKE, client_hello[:20]), (ALERT, b"\x01\x5a"),
                                    (HANDSHAKE, client_hello[20:])])

    broken("broken_tls", "http", b"GET / HTTP/1.1")
    broken("broken_tls", "clear_too_long", bytes.fromhex("1603034001"))
    broken("broken_tls", "protected_too_long",
           tls_record(CCS, b"\x01") + bytes.fromhex("1703034801"))
    broken("broken_tls", "empty_handshake_record", tls_record(HANDSHAKE, b""))
    broken("broken_tls", "ccs_of_two", tls_record(CCS, b"\x01\x01"))
    broken("broken_tls", "ccs_of_another_kind", tls_record(CCS, b"\x02"))
    broken("broken_tls", "ccs_within_a_message",
           tls_record(HANDSHAKE, client_hello[:20]) + tls_record(CCS, b"\x01"))
    broken("broken_tls", "ccs_within_a_header",
           tls_record(HANDSHAKE, client_hello[:2]) + tls_record(CCS, b"\x01"))

    def fragment(seq, offset, part, length=45, msg_type=1):
        return u(msg_type, 1) + u(length, 3) + u(seq, 2) + u(offset, 3) + u(len(part), 3) + part

    whole = fragment(0, 0, bytes(45))
    first = dtls_record(HANDSHAKE, 0, 0, fragment(0, 0, bytes(20)))
    broken("broken_dtls", "tls", tls_record(HANDSHAKE, client_hello))
    broken("broken_dtls", "dtls_1_0", b"\x16\xfe\xff" + bytes(8) + u(len(whole), 2) + whole)
    broken("broken_dtls", "number_one_first", dtls_record(HANDSHAKE, 0, 1, whole))
    broken("broken_dtls", "number_twice", dtls_record(HANDSHAKE, 0, 0, whole) * 2)
    broken("broken_dtls", "epoch_one_first", dtls_record(HANDSHAKE, 1, 0, whole))
    broken("broken_dtls", "epoch_zero_behind_ccs",
           dtls_record(CCS, 0, 0, b"\x01") + dtls_record(DATA, 0, 1, data))
    broken("broken_dtls", "second_message_first", dtls_record(HANDSHAKE, 0, 0, fragment(1, 0, bytes(45))))
    broken("broken_dtls", "gap", first + dtls_record(HANDSHAKE, 0, 1, fragment(0, 21, bytes(24))))
    broken("broken_dtls", "overlap", first + dtls_record(HANDSHAKE, 0, 1, fragment(0, 19, bytes(26))))
    broken("broken_dtls", "past_the_end", first + dtls_record(HANDSHAKE, 0, 1, fragment(0, 20, bytes(26))))
    broken("broken_dtls", "another_length",
           first + dtls_record(HANDSHAKE, 0, 1, fragment(0, 20, bytes(25), length=46)))
    broken("broken_dtls", "another_type",
           first + dtls_record(HANDSHAKE, 0, 1, fragment(0, 20, bytes(25), msg_type=2)))
    broken("broken_dtls", "empty_fragment", dtls_record(HANDSHAKE, 0, 0, fragment(0, 0, b"")))
    broken("broken_dtls", "header_cut_by_its_record", dtls_record(HANDSHAKE, 0, 0, whole[:11]))
    broken("broken_dtls", "fragment_cut_by_its_record", dtls_record(HANDSHAKE, 0, 0, whole[:-1]))
    broken("broken_dtls", "ccs_within_a_message", first + dtls_record(CCS, 0, 1, b"\x01"))
    broken("broken_dtls", "ccs_of_two", dtls_record(CCS, 0, 0, b"\x01\x01"))
    broken("broken_dtls", "empty_handshake_record", dtls_record(HANDSHAKE, 0, 0, b""))

    for content_type, number, length in ((HANDSHAKE, 0, 16), (DATA, 1, 20), (DATA, 2**48 - 1, 0)):
        header = dtls_record(content_type, 1, number, bytes(8 + length + 8))[:13]
        print(f"data {content_type}_{number}")
        print(f"header = {header.hex()}")
        print(f"plaintext = {length}")
        print(f"additional = {(u(number, 8) + u(content_type, 1) + TLS + u(length, 2)).hex()}")


main()
