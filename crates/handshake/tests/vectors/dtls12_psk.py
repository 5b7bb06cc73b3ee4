#!/usr/bin/env python3
"""Deterministic DTLS 1.2 plain-PSK handshake vectors, derived from the RFCs.

RFC 6347 (DTLS 1.2), RFC 5246 (TLS 1.2), RFC 4279 (PSK), RFC 6655 (CCM),
RFC 5487 and RFC 5288 (GCM), RFC 7905 (ChaCha20-Poly1305),
RFC 7627 (extended master secret), RFC 5746 (renegotiation_info).

Writes dtls12_psk.hex into the directory of this script.
"""

import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import (
    AESCCM,
    AESGCM,
    ChaCha20Poly1305,
)

# Fixed inputs.
CLIENT_RANDOM = bytes(range(0x00, 0x20))
SERVER_RANDOM = bytes(range(0x80, 0xA0))
PSK = b"secretPSK"
IDENTITY = b"Client_identity"
COOKIE = bytes(range(0xC0, 0xD0))
APPLICATION_DATA = b"over the hedge"

DTLS12 = b"\xfe\xfd"  # RFC 6347 4.1: { 254, 253 }
SCSV = 0x00FF  # RFC 5746 3.3

# Content types, RFC 5246 A.1.
HANDSHAKE = 22
APPLICATION = 23

# Handshake types, RFC 6347 4.3.2.
CLIENT_HELLO = 1
SERVER_HELLO = 2
SERVER_HELLO_DONE = 14
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

# Complete encodings: RFC 7627 5.1 and RFC 5746 3.2.
EXT_EXTENDED_MASTER_SECRET = bytes.fromhex("00170000")
EXT_RENEGOTIATION_INFO = bytes.fromhex("ff01000100")


def uint(value, size):
    """Big-endian integer, RFC 5246 4.4."""
    return value.to_bytes(size, "big")


def vector(data, size):
    """Variable-length vector with a length prefix of size bytes, RFC 5246 4.3."""
    return uint(len(data), size) + data


# Pseudorandom function, RFC 5246 section 5.

def p_sha256(secret, seed, length):
    out = b""
    a = seed  # A(0)
    while len(out) < length:
        a = hmac.new(secret, a, hashlib.sha256).digest()  # A(i)
        out += hmac.new(secret, a + seed, hashlib.sha256).digest()
    return out[:length]


def prf(secret, label, seed, length):
    return p_sha256(secret, label + seed, length)


def check_prf():
    expected = bytes.fromhex(
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
    )
    got = prf(
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        len(expected),
    )
    if got != expected:
        raise SystemExit("P_SHA256 does not match the known vector")


# Handshake messages.

def handshake(msg_type, message_seq, body):
    """RFC 6347 4.2.2; unfragmented: offset 0, fragment_length = length."""
    return (
        uint(msg_type, 1)
        + uint(len(body), 3)
        + uint(message_seq, 2)
        + uint(0, 3)
        + uint(len(body), 3)
        + body
    )


def client_hello(suite, message_seq, cookie):
    """RFC 6347 4.2.1, with the extensions block of RFC 5246 7.4.1.2."""
    body = DTLS12 + CLIENT_RANDOM
    body += vector(b"", 1)  # session_id
    body += vector(cookie, 1)
    body += vector(uint(suite, 2) + uint(SCSV, 2), 2)  # cipher_suites
    body += vector(b"\x00", 1)  # compression_methods: null
    body += vector(EXT_EXTENDED_MASTER_SECRET, 2)
    return handshake(CLIENT_HELLO, message_seq, body)


def server_hello(suite, message_seq, ems):
    """RFC 5246 7.4.1.3."""
    extensions = EXT_RENEGOTIATION_INFO
    if ems:
        extensions += EXT_EXTENDED_MASTER_SECRET
    body = DTLS12 + SERVER_RANDOM
    body += vector(b"", 1)  # session_id
    body += uint(suite, 2)
    body += b"\x00"  # compression_method: null
    body += vector(extensions, 2)
    return handshake(SERVER_HELLO, message_seq, body)


def client_key_exchange(message_seq):
    """RFC 4279 section 2: psk_identity<0..2^16-1>."""
    return handshake(CLIENT_KEY_EXCHANGE, message_seq, vector(IDENTITY, 2))


# Record protection.

class ExplicitNonce:
    """AES-128 CCM and GCM: RFC 6655 sections 3, 4 and 6.1, RFC 5288 section 3.

    nonce = write_IV(4) || nonce_explicit(8), nonce_explicit = epoch || seq,
    carried in front of the ciphertext.
    """

    key_length = 16
    iv_length = 4

    def __init__(self, aead):
        self.aead = aead

    def fragment(self, key, iv, seq64, plaintext, additional_data):
        sealed = self.aead(key).encrypt(iv + seq64, plaintext, additional_data)
        return seq64 + sealed


class XorNonce:
    """ChaCha20-Poly1305: RFC 7905 section 2.

    nonce = write_IV(12) XOR (four zero bytes || epoch || seq); not sent.
    """

    key_length = 32
    iv_length = 12

    def fragment(self, key, iv, seq64, plaintext, additional_data):
        padded = bytes(4) + seq64
        nonce = bytes(a ^ b for a, b in zip(iv, padded))
        return ChaCha20Poly1305(key).encrypt(nonce, plaintext, additional_data)


def protected_record(cipher, key, iv, content_type, epoch, seq, plaintext):
    """DTLSCiphertext, RFC 6347 4.3.1, with an AEAD of RFC 5246 6.2.3.3."""
    seq64 = uint(epoch, 2) + uint(seq, 6)  # RFC 6347 4.1.2.1
    additional_data = (
        seq64 + uint(content_type, 1) + DTLS12 + uint(len(plaintext), 2)
    )
    fragment = cipher.fragment(key, iv, seq64, plaintext, additional_data)
    return uint(content_type, 1) + DTLS12 + seq64 + vector(fragment, 2)


CCM_8 = ExplicitNonce(lambda key: AESCCM(key, tag_length=8))
CCM = ExplicitNonce(lambda key: AESCCM(key, tag_length=16))
GCM = ExplicitNonce(AESGCM)
CHACHA = XorNonce()

# name, cipher suite, cipher, extended master secret
CASES = [
    ("TLS_PSK_WITH_AES_128_CCM_8_EMS", 0xC0A8, CCM_8, True),
    ("TLS_PSK_WITH_AES_128_CCM_EMS", 0xC0A4, CCM, True),
    ("TLS_PSK_WITH_AES_128_GCM_SHA256_EMS", 0x00A8, GCM, True),
    ("TLS_PSK_WITH_CHACHA20_POLY1305_SHA256_EMS", 0xCCAB, CHACHA, True),
    ("TLS_PSK_WITH_AES_128_CCM_8_NO_EMS", 0xC0A8, CCM_8, False),
]


def transcript(suite, cipher, ems):
    # The first ClientHello and the HelloVerifyRequest take message_seq 0 on
    # their sides and are left out of every hash (RFC 6347 4.2.1).
    hello2 = client_hello(suite, 1, COOKIE)
    shello = server_hello(suite, 1, ems)
    done = handshake(SERVER_HELLO_DONE, 2, b"")
    cke = client_key_exchange(2)

    # RFC 7627 section 3: ClientHello up to and including ClientKeyExchange.
    messages = hello2 + shello + done + cke
    session_hash = hashlib.sha256(messages).digest()

    # RFC 4279 section 2: N || N zero octets || N || PSK.
    premaster = vector(bytes(len(PSK)), 2) + vector(PSK, 2)

    if ems:  # RFC 7627 section 4
        master = prf(premaster, b"extended master secret", session_hash, 48)
    else:  # RFC 5246 8.1
        master = prf(
            premaster, b"master secret", CLIENT_RANDOM + SERVER_RANDOM, 48
        )

    # RFC 5246 6.3; no MAC keys. The server random comes first here.
    k, v = cipher.key_length, cipher.iv_length
    key_block = prf(
        master, b"key expansion", SERVER_RANDOM + CLIENT_RANDOM, 2 * k + 2 * v
    )
    client_key = key_block[:k]
    server_key = key_block[k:2 * k]
    client_iv = key_block[2 * k:2 * k + v]
    server_iv = key_block[2 * k + v:]

    # RFC 5246 7.4.9 and RFC 6347 4.2.6; 12 octets. The server's hash also
    # covers the client's Finished message.
    client_verify = prf(
        master, b"client finished", hashlib.sha256(messages).digest(), 12
    )
    client_finished = handshake(FINISHED, 3, client_verify)
    messages += client_finished
    server_verify = prf(
        master, b"server finished", hashlib.sha256(messages).digest(), 12
    )
    server_finished = handshake(FINISHED, 3, server_verify)

    return [
        ("client_hello_2", hello2),
        ("server_hello", shello),
        ("server_hello_done", done),
        ("client_key_exchange", cke),
        ("session_hash", session_hash),
        ("premaster_secret", premaster),
        ("master_secret", master),
        ("key_block", key_block),
        ("client_verify_data", client_verify),
        ("server_verify_data", server_verify),
        (
            "client_finished_record",
            protected_record(
                cipher, client_key, client_iv, HANDSHAKE, 1, 0, client_finished
            ),
        ),
        (
            "server_finished_record",
            protected_record(
                cipher, server_key, server_iv, HANDSHAKE, 1, 0, server_finished
            ),
        ),
        (
            "client_application_record",
            protected_record(
                cipher, client_key, client_iv, APPLICATION, 1, 1, APPLICATION_DATA
            ),
        ),
    ]


def main():
    check_prf()
    lines = [
        "# dtls12_psk.py; RFC 6347, 5246, 4279, 6655, 5487, 5288, 7905, 7627, 5746"
    ]
    for name, suite, cipher, ems in CASES:
        lines.append("case " + name)
        for key, value in transcript(suite, cipher, ems):
            lines.append(key + " = " + value.hex())
    path = Path(__file__).resolve().with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
