#!/usr/bin/env python3
"""Computes the vectors of docs/specs/translate.md from its text, with nothing but Python.

    python3 docs/specs/vectors/translate.py > docs/specs/vectors/translate.txt

A case is `datagram` (as on the UDP leg), `stream` (as on the TCP leg), and how the one follows
from the other. `clear` is the reader's counter before it takes the case from the stream, and
`restored` is the datagram that it makes, where that isn't `datagram` itself.
"""

MAGIC = b"HGTR"
SHORT, LONG = 1, 2
DTLS_1_2, DTLS_1_0, TLS_1_2 = b"\xfe\xfd", b"\xfe\xff", b"\x03\x03"
CCS, ALERT, HANDSHAKE, DATA = 0x14, 0x15, 0x16, 0x17
MORE = 0x8000


def u(value, length):
    return value.to_bytes(length, "big")


def number(epoch, sequence_number):
    return u(epoch, 2) + u(sequence_number, 6)


class Record:
    def __init__(self, content_type, version, epoch, sequence_number, fragment):
        self.content_type, self.version = content_type, version
        self.epoch, self.sequence_number = epoch, sequence_number
        self.fragment = fragment

    def on_udp(self):
        return (u(self.content_type, 1) + self.version
                + number(self.epoch, self.sequence_number)
                + u(len(self.fragment), 2) + self.fragment)

    def on_tcp(self, form, is_last):
        length = u(len(self.fragment) | (0 if is_last else MORE), 2)
        if form == LONG:
            header = self.version + number(self.epoch, self.sequence_number)
        elif self.epoch == 0:
            header = self.version
        else:
            assert self.fragment[:8] == number(self.epoch, self.sequence_number)
            header = TLS_1_2
        return u(self.content_type, 1) + header + length + self.fragment


def protected(content_type, sequence_number, rest):
    """A record of a CCM suite: the explicit nonce is epoch and sequence number."""
    return Record(content_type, DTLS_1_2, 1, sequence_number, number(1, sequence_number) + rest)


def case(name, form, records, clear=0):
    datagram = b"".join(record.on_udp() for record in records)
    last = len(records) - 1
    stream = b"".join(record.on_tcp(form, at == last) for at, record in enumerate(records))
    restored, counter = b"", clear
    for record in records:
        copy = Record(record.content_type, record.version, record.epoch,
                      record.sequence_number, record.fragment)
        if form == SHORT and record.epoch == 0:
            copy.sequence_number = counter
            counter += 1
        restored += copy.on_udp()
    print(f"case {name}")
    print(f"form = {'short' if form == SHORT else 'long'}")
    print(f"datagram = {datagram.hex()}")
    print(f"stream = {stream.hex()}")
    print(f"clear = {clear}")
    print(f"restored = {restored.hex()}")


def refused(name, form, reason, datagram):
    print(f"refused {name}")
    print(f"form = {'short' if form == SHORT else 'long'}")
    print(f"reason = {reason}")
    print(f"datagram = {datagram.hex()}")


def main():
    print("# translate.py; docs/specs/translate.md")
    for form, device in ((SHORT, b"thermometer"), (LONG, b"a"), (LONG, b"n" * 63)):
        print(f"preface {device.decode()}")
        print(f"form = {'short' if form == SHORT else 'long'}")
        print(f"bytes = {(MAGIC + u(1, 1) + u(form, 1) + u(len(device), 1) + device).hex()}")
    for status, name in enumerate(("accepted", "refused", "busy", "not_supported")):
        for form in (SHORT, LONG):
            print(f"answer {name}")
            print(f"form = {'short' if form == SHORT else 'long'}")
            print(f"bytes = {(MAGIC + u(1, 1) + u(form, 1) + u(status, 1)).hex()}")
    for form in (SHORT, LONG):
        for reason, length in ((1, 37), (2, 1473), (2, 65535)):
            header = bytes(3 if form == SHORT else 11) + u(3, 2)
            print(f"notice {reason}")
            print(f"form = {'short' if form == SHORT else 'long'}")
            print(f"length = {length}")
            print(f"bytes = {(header + u(reason, 1) + u(length, 2)).hex()}")

    hello = bytes(range(40))
    key_exchange = Record(HANDSHAKE, DTLS_1_2, 0, 2, bytes(range(16)))
    change = Record(CCS, DTLS_1_2, 0, 3, b"\x01")
    finished = protected(HANDSHAKE, 0, bytes(range(24 + 8)))
    case("client_hello", SHORT, [Record(HANDSHAKE, DTLS_1_0, 0, 0, hello)])
    case("renumbered_hello", SHORT, [Record(HANDSHAKE, DTLS_1_2, 0, 1, hello)], clear=7)
    case("final_flight", SHORT, [key_exchange, change, finished], clear=2)
    case("application_data", SHORT, [protected(DATA, 1, bytes(range(12)))])
    case("highest_number", SHORT, [protected(DATA, 2**48 - 1, b"")])
    case("close_notify", SHORT, [protected(ALERT, 0x0102030405, bytes(10))])
    case("empty_fragment", SHORT, [Record(HANDSHAKE, DTLS_1_2, 0, 5, b"")], clear=5)
    case("final_flight_long", LONG, [key_exchange, change, finished])
    gcm = Record(DATA, DTLS_1_2, 1, 9, bytes.fromhex("a5a5a5a5a5a5a5a5") + bytes(20))
    case("gcm_with_a_nonce_of_its_own", LONG, [gcm])
    chacha = Record(DATA, DTLS_1_2, 1, 10, bytes(17))
    case("chacha_without_nonce", LONG, [chacha])

    refused("gcm_in_the_short_form", SHORT, "nonce_not_record_number", gcm.on_udp())
    refused("protected_and_too_short", SHORT, "malformed",
            Record(DATA, DTLS_1_2, 1, 1, bytes(7)).on_udp())
    for form in (SHORT, LONG):
        refused("connection_id", form, "connection_id_mismatch",
                Record(25, DTLS_1_2, 1, 1, number(1, 1) + bytes(9)).on_udp())
        refused("second_epoch", form, "unexpected_epoch",
                Record(DATA, DTLS_1_2, 2, 1, number(2, 1) + bytes(9)).on_udp())
        refused("version_of_dtls_1_3_drafts", form, "unsupported_version",
                Record(HANDSHAKE, b"\xfe\xfc", 0, 1, b"abc").on_udp())
        refused("protected_dtls_1_0", form, "unsupported_version",
                Record(DATA, DTLS_1_0, 1, 1, number(1, 1) + bytes(9)).on_udp())
        refused("cut_off", form, "malformed",
                Record(HANDSHAKE, DTLS_1_2, 0, 1, b"abc").on_udp()[:-1])
        refused("tls", form, "malformed", bytes.fromhex("160303") + bytes(12))


main()
