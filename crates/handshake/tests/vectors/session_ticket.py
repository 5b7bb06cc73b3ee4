#!/usr/bin/env python3
"""Deterministic vectors of sessions that are resumed: tickets as docs/specs/session-ticket.md has
them, and the handshakes around them, derived from that page and from the RFCs.

RFC 5077 (tickets), RFC 5246 7.3 (abbreviated handshake), RFC 6347 4.2 (DTLS), RFC 4279 (PSK),
RFC 7627 (extended master secret), RFC 5746 (renegotiation_info).

Writes session_ticket.hex into the directory of this script. Ciphers, PRF and record protection are
those of ecdhe_psk.py beside it, where they are compared with the RFCs' own vectors.

Every case is a full handshake, in which the server makes the session resumable by a ticket or by an
ID, and then an abbreviated one (names with resumed_) that resumes it, and a record each way. A
second pass opens the ticket and the abbreviated handshake's records as the other end would.
"""

import hashlib
import hmac
from pathlib import Path

from ecdhe_psk import (
    APPLICATION_DATA, AesCcm, CCM_8, CHANGE_CIPHER_SPEC, CLIENT_HELLO, CLIENT_KEY_EXCHANGE,
    COOKIE, EXT_EXTENDED_MASTER_SECRET, EXT_RENEGOTIATION_INFO, FINISHED, GCM, HANDSHAKE,
    HELLO_VERIFY_REQUEST, IDENTITY, PSK, SCSV, SERVER_HELLO, SERVER_HELLO_DONE, Sender, prf,
    require, split_key_block, uint, vector, verify_data,
)

NEW_SESSION_TICKET = 4  # RFC 5077 3.3

# Fixed inputs. What an end draws at random counts up.
CLIENT_RANDOM, SERVER_RANDOM = bytes(range(0x00, 0x20)), bytes(range(0x20, 0x40))
RESUMED_CLIENT_RANDOM, RESUMED_SERVER_RANDOM = bytes(range(0x40, 0x60)), bytes(range(0x80, 0xA0))
MARKER = bytes(range(0x60, 0x68))  # session ID beside a ticket
SESSION_ID = bytes(range(0x80, 0x90))  # session ID of a session that the server keeps
BINDING_KEY = bytes(range(0xA0, 0xC0))
KEY_NAME = bytes(range(0xC0, 0xC8))
TICKET_KEY = bytes(range(0xC8, 0xD8))
NUMBER = 0
NOW, LIFETIME = 1_000, 28_800  # seconds
PEER_NUMBER = 1


def extension(code, data):
    return uint(code, 2) + vector(data, 2)


def session_ticket(data):
    return extension(35, data)


def client_hello(side, random, suite, session_id, cookie, ticket):
    body = side.version + random + vector(session_id, 1)
    if side.dtls:
        body += vector(cookie, 1)
    body += vector(uint(suite, 2) + uint(SCSV, 2), 2) + vector(b"\x00", 1)
    return body + vector(EXT_EXTENDED_MASTER_SECRET + session_ticket(ticket), 2)


def server_hello(side, random, suite, session_id, issues_ticket):
    extensions = EXT_RENEGOTIATION_INFO + EXT_EXTENDED_MASTER_SECRET
    if issues_ticket:
        extensions += session_ticket(b"")
    body = side.version + random + vector(session_id, 1) + uint(suite, 2) + b"\x00"
    return body + vector(extensions, 2)


def state(version, suite, master):
    """docs/specs/session-ticket.md, "The state"; no server name."""
    binding = hmac.new(BINDING_KEY, vector(PSK, 2) + bytes(32), hashlib.sha256).digest()[:16]
    return (
        b"\x01" + version + uint(suite, 2) + b"\x01" + uint(NOW + LIFETIME, 6) + master
        + b"\x01" + uint(PEER_NUMBER, 4) + vector(IDENTITY, 1) + binding
    )


def seal_ticket(plaintext):
    header = KEY_NAME + uint(NUMBER, 4)
    nonce = bytes(8) + uint(NUMBER, 4)
    return header + AesCcm(TICKET_KEY, 16).seal(nonce, plaintext, header)


def open_ticket(ticket):
    require(ticket[:8] == KEY_NAME, "key name")
    nonce = bytes(8) + ticket[8:12]
    return AesCcm(TICKET_KEY, 16).open(nonce, ticket[12:], ticket[:12])


def hellos(values, prefix, client, server, random, suite, session_id, ticket):
    """The client's hello, in DTLS with the cookie exchange before it. Returns the one that counts."""
    if client.dtls:
        first = client_hello(client, random, suite, session_id, b"", ticket)
        first = client.handshake(CLIENT_HELLO, first)
        values.append((prefix + "client_hello_1_record", client.record(HANDSHAKE, first)))
        verify = server.handshake(HELLO_VERIFY_REQUEST, b"\xfe\xff" + vector(COOKIE, 1))
        values.append((prefix + "hello_verify_request_record", server.record(HANDSHAKE, verify)))
    hello = client_hello(client, random, suite, session_id, COOKIE, ticket)
    hello = client.handshake(CLIENT_HELLO, hello)
    values.append((prefix + "client_hello_record", client.record(HANDSHAKE, hello)))
    return hello


def finish(values, prefix, name, side, cipher, key, iv, finished):
    record = side.record(CHANGE_CIPHER_SPEC, b"\x01")
    values.append((f"{prefix}{name}_change_cipher_spec_record", record))
    side.change_cipher_spec(cipher, key, iv)
    values.append((f"{prefix}{name}_finished_record", side.record(HANDSHAKE, finished)))


def keys_of(cipher, master, client_random, server_random):
    length = 2 * (cipher.key_length + cipher.iv_length)
    block = prf(master, b"key expansion", server_random + client_random, length)
    return split_key_block(cipher, block)


def transcript(dtls, suite, cipher, by_ticket):
    values = [("psk", PSK), ("psk_identity", IDENTITY)]
    client, server = Sender(dtls), Sender(dtls)
    chello = hellos(values, "", client, server, CLIENT_RANDOM, suite, b"", b"")
    session_id = b"" if by_ticket else SESSION_ID
    shello = server_hello(server, SERVER_RANDOM, suite, session_id, by_ticket)
    shello = server.handshake(SERVER_HELLO, shello)
    done = server.handshake(SERVER_HELLO_DONE, b"")
    exchange = client.handshake(CLIENT_KEY_EXCHANGE, vector(IDENTITY, 2))
    values += [
        ("server_hello_record", server.record(HANDSHAKE, shello)),
        ("server_hello_done_record", server.record(HANDSHAKE, done)),
        ("client_key_exchange_record", client.record(HANDSHAKE, exchange)),
    ]
    messages = chello + shello + done + exchange
    # RFC 4279 2 and RFC 7627 4.
    premaster = vector(bytes(len(PSK)), 2) + vector(PSK, 2)
    digest = hashlib.sha256(messages).digest()
    master = prf(premaster, b"extended master secret", digest, 48)
    client_key, server_key, client_iv, server_iv = keys_of(
        cipher, master, CLIENT_RANDOM, SERVER_RANDOM
    )
    verify = verify_data(master, b"client finished", messages)
    finished = client.handshake(FINISHED, verify)
    finish(values, "", "client", client, cipher, client_key, client_iv, finished)
    messages += finished
    values.append(("master_secret", master))
    ticket = b""
    if by_ticket:
        plaintext = state(client.version, suite, master)
        ticket = seal_ticket(plaintext)
        values += [("state", plaintext), ("ticket", ticket)]
        # RFC 5077 3.3: before ChangeCipherSpec, and in the hash.
        message = server.handshake(NEW_SESSION_TICKET, uint(LIFETIME, 4) + vector(ticket, 2))
        values.append(("new_session_ticket_record", server.record(HANDSHAKE, message)))
        messages += message
    verify = verify_data(master, b"server finished", messages)
    finished = server.handshake(FINISHED, verify)
    finish(values, "", "server", server, cipher, server_key, server_iv, finished)

    # The abbreviated handshake.
    client, server = Sender(dtls), Sender(dtls)
    shown = MARKER if by_ticket else SESSION_ID
    messages = hellos(
        values, "resumed_", client, server, RESUMED_CLIENT_RANDOM, suite, shown, ticket
    )
    # RFC 5077 3.4, RFC 5246 7.4.1.3: the same ID says that the session is resumed.
    shello = server_hello(server, RESUMED_SERVER_RANDOM, suite, shown, False)
    shello = server.handshake(SERVER_HELLO, shello)
    values.append(("resumed_server_hello_record", server.record(HANDSHAKE, shello)))
    messages += shello
    client_key, server_key, client_iv, server_iv = keys_of(
        cipher, master, RESUMED_CLIENT_RANDOM, RESUMED_SERVER_RANDOM
    )
    # RFC 5246 7.3: the server's Finished comes first, and the client's covers it.
    finished = server.handshake(FINISHED, verify_data(master, b"server finished", messages))
    finish(values, "resumed_", "server", server, cipher, server_key, server_iv, finished)
    messages += finished
    finished = client.handshake(FINISHED, verify_data(master, b"client finished", messages))
    finish(values, "resumed_", "client", client, cipher, client_key, client_iv, finished)
    values += [
        ("resumed_client_application_record", client.record(APPLICATION_DATA, b"over the hedge")),
        ("resumed_server_application_record", server.record(APPLICATION_DATA, b"and back again")),
    ]
    if by_ticket:
        read_back(ticket, master, client.version, suite)
    return values


def read_back(ticket, master, version, suite):
    """What the server makes of its ticket."""
    plaintext = open_ticket(ticket)
    require(plaintext is not None, "ticket opens")
    require(plaintext[0] == 1 and plaintext[1:3] == version, "format and version")
    require(plaintext[3:5] == uint(suite, 2) and plaintext[5] == 1, "suite and flags")
    require(plaintext[12:60] == master and plaintext[60] == 1, "master secret and peer")
    require(plaintext[65] == len(IDENTITY), "credential")
    require(plaintext[66:66 + len(IDENTITY)] == IDENTITY, "credential")
    require(len(plaintext) == 66 + len(IDENTITY) + 16, "length")
    require(len(ticket) == 110 + len(IDENTITY), "the page's length")
    for at in range(len(ticket)):
        forged = bytearray(ticket)
        forged[at] ^= 1
        require(at < 8 or open_ticket(bytes(forged)) is None, "forged ticket")


def main():
    lines = ["# session_ticket.py; docs/specs/session-ticket.md, RFC 5077, 5246, 6347, 4279, 7627"]
    for version, dtls in (("DTLS12", True), ("TLS12", False)):
        for suite_name, suite, cipher in (("CCM_8", 0xC0A8, CCM_8), ("GCM", 0x00A8, GCM)):
            for way, by_ticket in (("TICKET", True), ("ID", False)):
                lines.append(f"case {version}_PSK_{suite_name}_{way}")
                for name, value in transcript(dtls, suite, cipher, by_ticket):
                    lines.append(f"{name} = {value.hex()}")
    path = Path(__file__).with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
