#!/usr/bin/env python3
"""Deterministic ECDHE_PSK handshake vectors for DTLS 1.2 and TLS 1.2, derived from the RFCs.

RFC 5489 (ECDHE_PSK), RFC 8442 (its AES-GCM and AES-CCM suites), RFC 7905 (ChaCha20-Poly1305),
RFC 8422 (curves), RFC 7748 (X25519), RFC 6347 (DTLS 1.2), RFC 5246 (TLS 1.2), RFC 4279 (PSK),
RFC 6655 (CCM), RFC 5288 (GCM), RFC 7627 (extended master secret), RFC 5746 (renegotiation_info).

Writes ecdhe_psk.hex into the directory of this script. Only the standard library is needed; the
cryptography package, where present, serves to compare the primitives.

Every case is a full handshake, one application_data record each way and close_notify each way,
in the order of the *_record lines. Each handshake message has a record of its own. Afterwards a
second pass reads the records as the server would and recomputes everything.

Extensions and their order (any order is right, RFC 5246 7.4.1.4; this one is ours):
    ClientHello: extended_master_secret, supported_groups (elliptic_curves in RFC 8422; the tested
        group alone), ec_point_formats (uncompressed alone, RFC 8422 5.1.2). A client that offers
        an ECC suite SHOULD send both of the latter (RFC 8422 5.1).
    ServerHello: renegotiation_info (empty, answering the SCSV), extended_master_secret,
        ec_point_formats (answering the client's, RFC 8422 5.2). Never supported_groups: RFC 8422
        defines it for the ClientHello only.
    signature_algorithms has no use with PSK authentication (RFC 7925 section 5).

Keys: X25519 with the two private keys of RFC 7748 6.1; P-256 with two fixed scalars. In the cases
*_LEADING_ZERO the client's P-256 scalar is one for which the shared secret Z starts with a zero
octet, which has to stay (RFC 8422 5.10).

DTLS: the cookie exchange is part of every case. client_hello_1 and hello_verify_request are left
out of every hash (RFC 6347 4.2.1, 4.2.6). All records have version fe fd. The HelloVerifyRequest
says server_version fe ff, as RFC 6347 4.2.1 recommends (SHOULD use DTLS version 1.0), in a record
with fe fd; hello_verify_request_record_fefd says fe fd in the same place and is to be accepted as
well. Record numbers of HelloVerifyRequest and of the first ServerHello are those of the
ClientHello that they answer (RFC 6347 4.2.1).
"""

import hashlib
import hmac
import struct
from pathlib import Path

# Fixed inputs.
CLIENT_RANDOM = bytes(range(0x00, 0x20))
SERVER_RANDOM = bytes(range(0x20, 0x40))
PSK = b"secretPSK"
IDENTITY = b"Client_identity"
COOKIE = bytes(range(0xC0, 0xD0))
CLIENT_APPLICATION_DATA = b"over the hedge"
SERVER_APPLICATION_DATA = b"and back again"

# RFC 7748 6.1: Alice is the client, Bob the server.
X25519_CLIENT_PRIVATE = bytes.fromhex(
    "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
)
X25519_SERVER_PRIVATE = bytes.fromhex(
    "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
)
# The scalars i and r of RFC 5903 8.1.
P256_CLIENT_PRIVATE = bytes.fromhex(
    "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"
)
P256_SERVER_PRIVATE = bytes.fromhex(
    "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53"
)
# The first scalar, counting up from the client's, for which Z starts with a zero octet.
P256_CLIENT_PRIVATE_LEADING_ZERO = bytes.fromhex(
    "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d14fa"
)

SCSV = 0x00FF  # RFC 5746 3.3

# Content types, RFC 5246 6.2.1.
CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

# Handshake types, RFC 5246 7.4 and RFC 6347 4.3.2.
CLIENT_HELLO = 1
SERVER_HELLO = 2
HELLO_VERIFY_REQUEST = 3
SERVER_KEY_EXCHANGE = 12
SERVER_HELLO_DONE = 14
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

# Complete encodings: RFC 7627 5.1, RFC 5746 3.2, RFC 8422 5.1.2.
EXT_EXTENDED_MASTER_SECRET = bytes.fromhex("00170000")
EXT_RENEGOTIATION_INFO = bytes.fromhex("ff01000100")
EXT_EC_POINT_FORMATS = bytes.fromhex("000b00020100")

CLOSE_NOTIFY = b"\x01\x00"  # warning(1), close_notify(0): RFC 5246 7.2


def uint(value, size):
    """Big-endian integer, RFC 5246 4.4."""
    return value.to_bytes(size, "big")


def vector(data, size):
    """Variable-length vector with a length prefix of size bytes, RFC 5246 4.3."""
    return uint(len(data), size) + data


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def require(condition, what):
    if not condition:
        raise SystemExit("check failed: " + what)


# Pseudorandom function, RFC 5246 section 5, with SHA-256.

def prf(secret, label, seed, length):
    seed = label + seed
    out = b""
    a = seed  # A(0)
    while len(out) < length:
        a = hmac.new(secret, a, hashlib.sha256).digest()  # A(i)
        out += hmac.new(secret, a + seed, hashlib.sha256).digest()
    return out[:length]


# AES-128, FIPS 197. Slow and not constant time: for test data only.

def times_x(a):
    """Multiply by x in GF(2^8), FIPS 197 4.2.1."""
    return ((a << 1) ^ 0x11B) if a & 0x80 else (a << 1)


def make_sbox():
    """FIPS 197 5.1.1: inverse in GF(2^8), then the affine map."""
    power, log = [0] * 256, [0] * 256
    a = 1
    for i in range(255):
        power[i], log[a] = a, i
        a ^= times_x(a)  # 3 generates the multiplicative group
    box = []
    for value in range(256):
        inverse = power[(255 - log[value]) % 255] if value else 0
        spread = inverse ^ inverse << 1 ^ inverse << 2 ^ inverse << 3 ^ inverse << 4
        box.append((spread ^ spread >> 8) & 0xFF ^ 0x63)
    return box


SBOX = make_sbox()


class Aes128:
    def __init__(self, key):
        """Key expansion, FIPS 197 5.2."""
        words = [key[i:i + 4] for i in range(0, 16, 4)]
        rcon = 1
        for i in range(4, 44):
            word = words[i - 1]
            if i % 4 == 0:
                word = bytes(SBOX[b] for b in word[1:] + word[:1])
                word = bytes([word[0] ^ rcon]) + word[1:]
                rcon = times_x(rcon)
            words.append(xor(words[i - 4], word))
        self.round_keys = [b"".join(words[i:i + 4]) for i in range(0, 44, 4)]

    def encrypt(self, block):
        """Cipher, FIPS 197 5.1; the state is kept column by column."""
        state = xor(block, self.round_keys[0])
        for number, round_key in enumerate(self.round_keys[1:], 1):
            state = bytes(SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16))
            if number < 10:
                mixed = []
                for i in range(0, 16, 4):
                    column = state[i:i + 4]
                    total = column[0] ^ column[1] ^ column[2] ^ column[3]
                    for j in range(4):
                        pair = column[j] ^ column[(j + 1) % 4]
                        mixed.append(column[j] ^ total ^ times_x(pair))
                state = bytes(mixed)
            state = xor(state, round_key)
        return state


def blocks(data):
    """16-octet blocks, the last one filled with zeros."""
    data += bytes(-len(data) % 16)
    return [data[i:i + 16] for i in range(0, len(data), 16)]


class AesCcm:
    """RFC 3610 section 2; with 12-octet nonces as in RFC 5116 5.3 and RFC 6655 6.1."""

    def __init__(self, key, tag_length):
        self.aes = Aes128(key)
        self.tag_length = tag_length

    def mac(self, nonce, plaintext, additional_data):
        """CBC-MAC over B_0, the additional data and the message, RFC 3610 2.2."""
        l = 15 - len(nonce)
        flags = 64 * bool(additional_data) + 8 * ((self.tag_length - 2) // 2) + (l - 1)
        b = bytes([flags]) + nonce + uint(len(plaintext), l)
        if additional_data:
            b += b"".join(blocks(uint(len(additional_data), 2) + additional_data))
        state = bytes(16)
        for block in blocks(b + plaintext):
            state = self.aes.encrypt(xor(state, block))
        return state[:self.tag_length]

    def key_stream(self, nonce, length):
        """S_0 and the stream S_1, S_2, ..., RFC 3610 2.3."""
        l = 15 - len(nonce)
        s = [
            self.aes.encrypt(bytes([l - 1]) + nonce + uint(i, l))
            for i in range(1 + (length + 15) // 16)
        ]
        return s[0], b"".join(s[1:])

    def seal(self, nonce, plaintext, additional_data):
        s_0, stream = self.key_stream(nonce, len(plaintext))
        tag = self.mac(nonce, plaintext, additional_data)
        return xor(plaintext, stream) + xor(tag, s_0)

    def open(self, nonce, sealed, additional_data):
        """RFC 3610 2.5; None when the tag does not match."""
        ciphertext, tag = sealed[:-self.tag_length], sealed[-self.tag_length:]
        s_0, stream = self.key_stream(nonce, len(ciphertext))
        plaintext = xor(ciphertext, stream)
        if xor(self.mac(nonce, plaintext, additional_data), s_0) != tag:
            return None
        return plaintext


class AesGcm:
    """RFC 5116 5.1, that is NIST SP 800-38D with a 12-octet nonce and a 16-octet tag."""

    def __init__(self, key):
        self.aes = Aes128(key)
        self.h = int.from_bytes(self.aes.encrypt(bytes(16)), "big")

    def times_h(self, x):
        """Multiply by H; the leftmost bit is the coefficient of x^0, SP 800-38D 6.3."""
        z, v = 0, self.h
        for i in reversed(range(128)):
            if (x >> i) & 1:
                z ^= v
            v = (v >> 1) ^ (0xE1 << 120 if v & 1 else 0)
        return z

    def counter_block(self, nonce, counter):
        return self.aes.encrypt(nonce + uint(counter, 4))

    def tag(self, nonce, ciphertext, additional_data):
        lengths = uint(8 * len(additional_data), 8) + uint(8 * len(ciphertext), 8)
        y = 0
        for block in blocks(additional_data) + blocks(ciphertext) + [lengths]:
            y = self.times_h(y ^ int.from_bytes(block, "big"))
        return xor(uint(y, 16), self.counter_block(nonce, 1))

    def crypt(self, nonce, data):
        count = (len(data) + 15) // 16
        stream = b"".join(self.counter_block(nonce, 2 + i) for i in range(count))
        return xor(data, stream)

    def seal(self, nonce, plaintext, additional_data):
        ciphertext = self.crypt(nonce, plaintext)
        return ciphertext + self.tag(nonce, ciphertext, additional_data)

    def open(self, nonce, sealed, additional_data):
        ciphertext, tag = sealed[:-16], sealed[-16:]
        if self.tag(nonce, ciphertext, additional_data) != tag:
            return None
        return self.crypt(nonce, ciphertext)


class ChaCha20Poly1305:
    """RFC 8439 section 2.8 (RFC 7905 cites its predecessor, RFC 7539)."""

    def __init__(self, key):
        self.key = key

    def block(self, nonce, counter):
        """The ChaCha20 block function, RFC 8439 2.3."""
        start = list(struct.unpack(
            "<16L", b"expand 32-byte k" + self.key + struct.pack("<L", counter) + nonce
        ))
        s = start[:]

        def quarter_round(a, b, c, d):  # RFC 8439 2.1
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[x] = (s[x] + s[y]) & 0xFFFFFFFF
                s[z] ^= s[x]
                s[z] = ((s[z] << turn) | (s[z] >> (32 - turn))) & 0xFFFFFFFF

        for _ in range(10):
            for i in range(4):  # columns
                quarter_round(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):  # diagonals
                quarter_round(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        return struct.pack("<16L", *((x + y) & 0xFFFFFFFF for x, y in zip(s, start)))

    def crypt(self, nonce, data):
        """RFC 8439 2.4; block 0 gives the Poly1305 key, the data starts at block 1."""
        count = (len(data) + 63) // 64
        return xor(data, b"".join(self.block(nonce, 1 + i) for i in range(count)))

    def tag(self, nonce, ciphertext, additional_data):
        """Poly1305, RFC 8439 2.5, over the layout of RFC 8439 2.8."""
        one_time_key = self.block(nonce, 0)[:32]
        r = int.from_bytes(one_time_key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
        s = int.from_bytes(one_time_key[16:], "little")
        lengths = struct.pack("<QQ", len(additional_data), len(ciphertext))
        total = 0
        for block in blocks(additional_data) + blocks(ciphertext) + [lengths]:
            total = (total + int.from_bytes(block + b"\x01", "little")) * r % (2**130 - 5)
        return ((total + s) % 2**128).to_bytes(16, "little")

    def seal(self, nonce, plaintext, additional_data):
        ciphertext = self.crypt(nonce, plaintext)
        return ciphertext + self.tag(nonce, ciphertext, additional_data)

    def open(self, nonce, sealed, additional_data):
        ciphertext, tag = sealed[:-16], sealed[-16:]
        if self.tag(nonce, ciphertext, additional_data) != tag:
            return None
        return self.crypt(nonce, ciphertext)


# How a suite uses its AEAD: RFC 5246 6.2.3.3 and 6.3. There are no MAC keys.

class ExplicitNonce:
    """AES-CCM (RFC 6655 section 3) and AES-GCM (RFC 5288 section 3).

    nonce = write_IV(4) || nonce_explicit(8). nonce_explicit is the 64-bit sequence number here
    (both RFCs say MAY) and travels in front of the ciphertext.
    """

    key_length, iv_length = 16, 4

    def __init__(self, make_aead):
        self.make_aead = make_aead

    def seal(self, key, iv, seq64, plaintext, additional_data):
        return seq64 + self.make_aead(key).seal(iv + seq64, plaintext, additional_data)

    def open(self, key, iv, seq64, fragment, additional_data):
        return self.make_aead(key).open(iv + fragment[:8], fragment[8:], additional_data)

    def expansion(self):
        return 8 + len(self.make_aead(bytes(16)).seal(bytes(12), b"", b"a"))


class XorNonce:
    """ChaCha20-Poly1305, RFC 7905 section 2.

    nonce = write_IV(12) XOR (four zero bytes || 64-bit sequence number); nothing is sent.
    """

    key_length, iv_length = 32, 12

    def seal(self, key, iv, seq64, plaintext, additional_data):
        return ChaCha20Poly1305(key).seal(xor(iv, bytes(4) + seq64), plaintext, additional_data)

    def open(self, key, iv, seq64, fragment, additional_data):
        return ChaCha20Poly1305(key).open(xor(iv, bytes(4) + seq64), fragment, additional_data)

    def expansion(self):
        return 16


CCM_8 = ExplicitNonce(lambda key: AesCcm(key, 8))
CCM = ExplicitNonce(lambda key: AesCcm(key, 16))
GCM = ExplicitNonce(AesGcm)
CHACHA = XorNonce()


# X25519, RFC 7748 section 5.

P25519 = 2**255 - 19


def x25519(scalar, u):
    k = bytearray(scalar)  # decodeScalar25519
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    x_1 = int.from_bytes(u, "little") % 2**255 % P25519
    x_2, z_2, x_3, z_3 = 1, 0, x_1, 1
    swap = 0
    for t in reversed(range(255)):
        k_t = (k >> t) & 1
        if swap ^ k_t:
            x_2, x_3, z_2, z_3 = x_3, x_2, z_3, z_2
        swap = k_t
        a, b, c, d = x_2 + z_2, x_2 - z_2, x_3 + z_3, x_3 - z_3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x_3 = (da + cb) ** 2 % P25519
        z_3 = x_1 * (da - cb) ** 2 % P25519
        x_2 = aa * bb % P25519
        z_2 = e * (aa + 121665 * e) % P25519
    if swap:
        x_2, z_2 = x_3, z_3
    return (x_2 * pow(z_2, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


# P-256 (secp256r1): FIPS 186-4 D.1.2.3; formulas as in RFC 6090 section 3.

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def on_curve(point):
    """The check of RFC 8422 5.11; a = -3."""
    x, y = point
    return 0 <= x < P and 0 <= y < P and (y * y - x**3 + 3 * x - B) % P == 0


def add(p, q):
    """Affine addition; None is the point at infinity."""
    if p is None or q is None:
        return q if p is None else p
    if p[0] == q[0]:
        if (p[1] + q[1]) % P == 0:
            return None
        slope = (3 * p[0] * p[0] - 3) * pow(2 * p[1], -1, P)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def multiply(scalar, point):
    total = None
    for bit in bin(scalar)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def encode_point(point):
    """Uncompressed form, RFC 8422 5.4.1."""
    return b"\x04" + uint(point[0], 32) + uint(point[1], 32)


def decode_point(data):
    require(len(data) == 65 and data[0] == 4, "uncompressed point")
    point = int.from_bytes(data[1:33], "big"), int.from_bytes(data[33:], "big")
    require(on_curve(point), "point on the curve")
    return point


# Groups: NamedCurve value (RFC 8422 5.1.1), ECPoint.point and the shared secret Z (5.4, 5.10).

class X25519:
    code = 29

    def public(self, private):
        return x25519(private, (9).to_bytes(32, "little"))

    def shared(self, private, peer_public):
        z = x25519(private, peer_public)
        require(any(z), "all-zero shared secret")  # RFC 8422 5.11: MUST abort
        return z


class Secp256r1:
    code = 23

    def public(self, private):
        return encode_point(multiply(int.from_bytes(private, "big"), G))

    def shared(self, private, peer_public):
        """The x-coordinate with its leading zeros."""
        point = multiply(int.from_bytes(private, "big"), decode_point(peer_public))
        return uint(point[0], 32)


# One sending side: handshake headers, records and record protection.

class Sender:
    def __init__(self, dtls):
        self.dtls = dtls
        self.version = b"\xfe\xfd" if dtls else b"\x03\x03"  # RFC 6347 4.1, RFC 5246 6.2.1
        self.message_seq = 0
        self.epoch = 0
        self.seq = 0
        self.cipher = None

    def handshake(self, msg_type, body):
        """RFC 5246 7.4; RFC 6347 4.2.2, unfragmented: offset 0, fragment_length = length."""
        message = uint(msg_type, 1) + uint(len(body), 3)
        if self.dtls:
            message += uint(self.message_seq, 2) + uint(0, 3) + uint(len(body), 3)
        self.message_seq += 1
        return message + body

    def change_cipher_spec(self, cipher, key, iv):
        """Sequence numbers start again at 0: RFC 5246 6.1, RFC 6347 4.1; a new epoch in DTLS."""
        self.cipher, self.key, self.iv = cipher, key, iv
        self.epoch += 1
        self.seq = 0

    def record(self, content_type, plaintext):
        seq64 = uint(self.epoch, 2) + uint(self.seq, 6) if self.dtls else uint(self.seq, 8)
        fragment = plaintext
        if self.cipher:
            # RFC 5246 6.2.3.3; in DTLS seq_num is epoch || sequence_number, RFC 6347 4.1.2.1.
            ad = seq64 + uint(content_type, 1) + self.version + uint(len(plaintext), 2)
            fragment = self.cipher.seal(self.key, self.iv, seq64, plaintext, ad)
        self.seq += 1
        header = uint(content_type, 1) + self.version + (seq64 if self.dtls else b"")
        return header + vector(fragment, 2)


# Handshake message bodies.

def client_hello(side, suite, group, cookie):
    """RFC 5246 7.4.1.2; with the cookie field of RFC 6347 4.2.1 in DTLS."""
    body = side.version + CLIENT_RANDOM
    body += vector(b"", 1)  # session_id
    if side.dtls:
        body += vector(cookie, 1)
    body += vector(uint(suite, 2) + uint(SCSV, 2), 2)  # cipher_suites
    body += vector(b"\x00", 1)  # compression_methods: null
    supported_groups = uint(10, 2) + vector(vector(uint(group.code, 2), 2), 2)  # RFC 8422 5.1.1
    body += vector(EXT_EXTENDED_MASTER_SECRET + supported_groups + EXT_EC_POINT_FORMATS, 2)
    return body


def server_hello(side, suite):
    """RFC 5246 7.4.1.3."""
    body = side.version + SERVER_RANDOM
    body += vector(b"", 1)  # session_id
    body += uint(suite, 2)
    body += b"\x00"  # compression_method: null
    extensions = EXT_RENEGOTIATION_INFO + EXT_EXTENDED_MASTER_SECRET + EXT_EC_POINT_FORMATS
    return body + vector(extensions, 2)


def server_key_exchange(group, public):
    """RFC 5489 section 2: psk_identity_hint (empty, but the message is always sent), then
    ServerECDHParams, RFC 8422 5.4: named_curve(3), NamedCurve, ECPoint."""
    return vector(b"", 2) + b"\x03" + uint(group.code, 2) + vector(public, 1)


def client_key_exchange(public):
    """RFC 5489 section 2: psk_identity, then ClientECDiffieHellmanPublic, RFC 8422 5.7."""
    return vector(IDENTITY, 2) + vector(public, 1)


def split_key_block(cipher, key_block):
    """client_write_key, server_write_key, client_write_IV, server_write_IV: RFC 5246 6.3."""
    k, v = cipher.key_length, cipher.iv_length
    return (
        key_block[:k], key_block[k:2 * k],
        key_block[2 * k:2 * k + v], key_block[2 * k + v:],
    )


def verify_data(master, label, messages):
    """RFC 5246 7.4.9, RFC 6347 4.2.6; 12 octets."""
    return prf(master, label, hashlib.sha256(messages).digest(), 12)


SUITES = [
    ("AES_128_GCM_SHA256", 0xD001, GCM),
    ("AES_128_CCM_8_SHA256", 0xD003, CCM_8),
    ("AES_128_CCM_SHA256", 0xD005, CCM),
    ("CHACHA20_POLY1305_SHA256", 0xCCAC, CHACHA),
]
CIPHERS = {suite: cipher for _, suite, cipher in SUITES}
GROUPS = [
    ("X25519", X25519(), X25519_CLIENT_PRIVATE, X25519_SERVER_PRIVATE),
    ("SECP256R1", Secp256r1(), P256_CLIENT_PRIVATE, P256_SERVER_PRIVATE),
]


def cases():
    """name, dtls, suite, cipher, group, the two private keys"""
    zero = Secp256r1(), P256_CLIENT_PRIVATE_LEADING_ZERO, P256_SERVER_PRIVATE
    for version, dtls in (("DTLS12", True), ("TLS12", False)):
        for suite_name, suite, cipher in SUITES:
            name = version + "_ECDHE_PSK_WITH_" + suite_name + "_"
            for group_name, group, client_private, server_private in GROUPS:
                yield name + group_name, dtls, suite, cipher, group, client_private, server_private
            if suite == 0xD003:
                yield name + "SECP256R1_LEADING_ZERO", dtls, suite, cipher, *zero


def transcript(dtls, suite, cipher, group, client_private, server_private):
    """All values of one case in print order; the *_record values in wire order."""
    client, server = Sender(dtls), Sender(dtls)
    client_public, server_public = group.public(client_private), group.public(server_private)
    values = [
        ("client_random", CLIENT_RANDOM),
        ("server_random", SERVER_RANDOM),
        ("psk", PSK),
        ("psk_identity", IDENTITY),
        ("client_private", client_private),
        ("client_public", client_public),
        ("server_private", server_private),
        ("server_public", server_public),
    ]
    if dtls:
        # RFC 6347 4.2.1: the first ClientHello has an empty cookie. Only the cookie changes.
        first = client.handshake(CLIENT_HELLO, client_hello(client, suite, group, b""))
        values += [("client_hello_1_record", client.record(HANDSHAKE, first))]
        verify = server.handshake(HELLO_VERIFY_REQUEST, b"\xfe\xff" + vector(COOKIE, 1))
        record = server.record(HANDSHAKE, verify)
        values += [
            ("hello_verify_request_record", record),
            # server_version stands behind 13 octets of record and 12 of handshake header.
            ("hello_verify_request_record_fefd", record[:25] + b"\xfe\xfd" + record[27:]),
        ]
    chello = client.handshake(CLIENT_HELLO, client_hello(client, suite, group, COOKIE))
    shello = server.handshake(SERVER_HELLO, server_hello(server, suite))
    ske = server.handshake(SERVER_KEY_EXCHANGE, server_key_exchange(group, server_public))
    done = server.handshake(SERVER_HELLO_DONE, b"")
    cke = client.handshake(CLIENT_KEY_EXCHANGE, client_key_exchange(client_public))
    values += [
        ("client_hello_2_record" if dtls else "client_hello_record",
            client.record(HANDSHAKE, chello)),
        ("server_hello_record", server.record(HANDSHAKE, shello)),
        ("server_key_exchange_record", server.record(HANDSHAKE, ske)),
        ("server_hello_done_record", server.record(HANDSHAKE, done)),
        ("client_key_exchange_record", client.record(HANDSHAKE, cke)),
    ]

    # RFC 7627 section 3: ClientHello up to and including ClientKeyExchange.
    messages = chello + shello + ske + done + cke
    session_hash = hashlib.sha256(messages).digest()
    # RFC 5489 section 2: uint16 length of Z, Z, uint16 length of the PSK, the PSK.
    shared_secret = group.shared(client_private, server_public)
    premaster = vector(shared_secret, 2) + vector(PSK, 2)
    # RFC 7627 section 4.
    master = prf(premaster, b"extended master secret", session_hash, 48)
    # RFC 5246 6.3; the server random comes first here.
    length = 2 * (cipher.key_length + cipher.iv_length)
    key_block = prf(master, b"key expansion", SERVER_RANDOM + CLIENT_RANDOM, length)
    client_key, server_key, client_iv, server_iv = split_key_block(cipher, key_block)

    # The server's hash also covers the client's Finished, RFC 5246 7.4.9.
    client_verify = verify_data(master, b"client finished", messages)
    client_finished = client.handshake(FINISHED, client_verify)
    server_verify = verify_data(master, b"server finished", messages + client_finished)
    server_finished = server.handshake(FINISHED, server_verify)
    values += [
        ("session_hash", session_hash),
        ("shared_secret", shared_secret),
        ("premaster_secret", premaster),
        ("master_secret", master),
        ("key_block", key_block),
        ("client_verify_data", client_verify),
        ("server_verify_data", server_verify),
    ]

    # RFC 5246 7.1: ChangeCipherSpec is one octet of value 1 and goes out under the old state.
    for name, side, key, iv, finished in (
        ("client", client, client_key, client_iv, client_finished),
        ("server", server, server_key, server_iv, server_finished),
    ):
        values += [(name + "_change_cipher_spec_record", side.record(CHANGE_CIPHER_SPEC, b"\x01"))]
        side.change_cipher_spec(cipher, key, iv)
        values += [(name + "_finished_record", side.record(HANDSHAKE, finished))]
    values += [
        ("client_application_data", CLIENT_APPLICATION_DATA),
        ("client_application_record", client.record(APPLICATION_DATA, CLIENT_APPLICATION_DATA)),
        ("server_application_data", SERVER_APPLICATION_DATA),
        ("server_application_record", server.record(APPLICATION_DATA, SERVER_APPLICATION_DATA)),
        ("client_close_notify_record", client.record(ALERT, CLOSE_NOTIFY)),
        ("server_close_notify_record", server.record(ALERT, CLOSE_NOTIFY)),
    ]
    return values


# Second pass: the records as the server reads them, with the PSK and its private key.

class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, length):
        require(length <= len(self.data), "truncated")
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def vector(self, size):
        return Reader(self.take(self.number(size)))

    def end(self):
        require(not self.data, "trailing bytes")


class Receiver:
    """What one side has received so far: the expected numbers and the read keys."""

    def __init__(self, dtls):
        self.dtls = dtls
        self.version = b"\xfe\xfd" if dtls else b"\x03\x03"
        self.epoch = self.seq = self.message_seq = 0
        self.cipher = None

    def record(self, record, content_type):
        reader = Reader(record)
        require(reader.number(1) == content_type, "content type")
        require(reader.take(2) == self.version, "record version")
        seq64 = self.epoch.to_bytes(2, "big") + self.seq.to_bytes(6, "big")
        if self.dtls:
            require(reader.take(8) == seq64, "epoch and sequence number")
        else:
            seq64 = self.seq.to_bytes(8, "big")
        fragment = reader.vector(2).data
        reader.end()
        self.seq += 1
        if not self.cipher:
            return fragment
        length = len(fragment) - self.cipher.expansion()
        ad = seq64 + bytes([content_type]) + self.version + length.to_bytes(2, "big")
        plaintext = self.cipher.open(self.key, self.iv, seq64, fragment, ad)
        require(plaintext is not None, "authentication tag")
        return plaintext

    def handshake(self, message, msg_type):
        reader = Reader(message)
        require(reader.number(1) == msg_type, "handshake type")
        length = reader.number(3)
        if self.dtls:
            require(reader.number(2) == self.message_seq, "message_seq")
            require(reader.number(3) == 0 and reader.number(3) == length, "fragment")
            self.message_seq += 1
        require(len(reader.data) == length, "handshake length")
        return reader


def read_hello(reader, version, server, dtls):
    hello = {}
    require(reader.take(2) == version, "hello version")
    hello["random"] = reader.take(32)
    require(reader.vector(1).data == b"", "session_id")
    if dtls and not server:
        hello["cookie"] = reader.vector(1).data
    suites = Reader(reader.take(2)) if server else reader.vector(2)
    hello["suite"] = suites.number(2)
    require(server or suites.number(2) == SCSV, "SCSV")
    suites.end()
    require((reader.take(1) if server else reader.vector(1).data) == b"\x00", "compression")
    block, extensions = reader.vector(2), []
    while block.data:
        extensions.append((block.number(2), block.vector(2).data))
    reader.end()
    hello["extensions"] = extensions
    return hello


def read_back(values, dtls):
    value = dict(values)
    client, server = Receiver(dtls), Receiver(dtls)  # what is received from each side

    def plain(side, name, msg_type):
        message = side.record(value[name + "_record"], HANDSHAKE)
        return message, side.handshake(message, msg_type)

    if dtls:
        hello_1 = read_hello(
            plain(client, "client_hello_1", CLIENT_HELLO)[1], client.version, False, True
        )
        require(hello_1.pop("cookie") == b"", "first cookie")
        body = plain(server, "hello_verify_request", HELLO_VERIFY_REQUEST)[1]
        require(body.take(2) == b"\xfe\xff", "HelloVerifyRequest version")
        cookie = body.vector(1).data
        body.end()
    chello, body = plain(client, "client_hello_2" if dtls else "client_hello", CLIENT_HELLO)
    hello = read_hello(body, client.version, False, dtls)
    if dtls:
        require(hello.pop("cookie") == cookie and hello == hello_1, "second ClientHello")
    require([number for number, _ in hello["extensions"]] == [0x17, 0x0A, 0x0B], "extensions")
    groups = Reader(dict(hello["extensions"])[0x0A]).vector(2)
    group = {29: X25519(), 23: Secp256r1()}[groups.number(2)]
    groups.end()

    shello, body = plain(server, "server_hello", SERVER_HELLO)
    answer = read_hello(body, server.version, True, dtls)
    require(answer["suite"] == hello["suite"], "suite")
    require(
        answer["extensions"] == [(0xFF01, b"\x00"), (0x17, b""), (0x0B, b"\x01\x00")],
        "server extensions",
    )
    ske, body = plain(server, "server_key_exchange", SERVER_KEY_EXCHANGE)
    require(body.vector(2).data == b"", "hint")
    require(body.number(1) == 3 and body.number(2) == group.code, "curve")
    require(body.vector(1).data == group.public(value["server_private"]), "server's point")
    body.end()
    done, body = plain(server, "server_hello_done", SERVER_HELLO_DONE)
    body.end()
    cke, body = plain(client, "client_key_exchange", CLIENT_KEY_EXCHANGE)
    psk = {IDENTITY: PSK}[body.vector(2).data]
    z = group.shared(value["server_private"], body.vector(1).data)
    body.end()

    premaster = len(z).to_bytes(2, "big") + z + len(psk).to_bytes(2, "big") + psk
    messages = chello + shello + ske + done + cke
    session_hash = hashlib.sha256(messages).digest()
    master = prf(premaster, b"extended master secret", session_hash, 48)
    require(master == value["master_secret"], "master secret")
    cipher = CIPHERS[hello["suite"]]
    length = 2 * (cipher.key_length + cipher.iv_length)
    keys = Reader(prf(master, b"key expansion", answer["random"] + hello["random"], length))
    client.key, server.key = keys.take(cipher.key_length), keys.take(cipher.key_length)
    client.iv, server.iv = keys.take(cipher.iv_length), keys.take(cipher.iv_length)
    keys.end()

    for name, side in (("client", client), ("server", server)):
        change = side.record(value[name + "_change_cipher_spec_record"], CHANGE_CIPHER_SPEC)
        require(change == b"\x01", "ChangeCipherSpec")
        side.epoch, side.seq, side.cipher = 1, 0, cipher
        finished = side.record(value[name + "_finished_record"], HANDSHAKE)
        label = name.encode() + b" finished"
        expected = prf(master, label, hashlib.sha256(messages).digest(), 12)
        require(side.handshake(finished, FINISHED).data == expected, "Finished")
        messages += finished
    for name, side in (("client", client), ("server", server)):
        data = side.record(value[name + "_application_record"], APPLICATION_DATA)
        require(data == value[name + "_application_data"], "application data")
        alert = side.record(value[name + "_close_notify_record"], ALERT)
        require(alert == CLOSE_NOTIFY, "close_notify")


def check_prf():
    """The widely used vector for P_SHA256 (no RFC has one)."""
    got = prf(
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        32,
    )
    expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a"
    require(got.hex() == expected, "PRF")


def check_aes_ccm():
    """FIPS 197 appendix C.1 and RFC 3610 section 8, packet vector 1."""
    aes = Aes128(bytes(range(16)))
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    require(aes.encrypt(block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a", "AES-128")
    got = AesCcm(bytes(range(0xC0, 0xD0)), 8).seal(
        bytes.fromhex("00000003020100a0a1a2a3a4a5"), bytes(range(8, 31)), bytes(range(8))
    )
    expected = "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"
    require(got.hex() == expected, "CCM")


def check_gcm():
    """Test case 4 of the GCM specification that SP 800-38D is based on."""
    got = AesGcm(bytes.fromhex("feffe9928665731c6d6a8f9467308308")).seal(
        bytes.fromhex("cafebabefacedbaddecaf888"),
        bytes.fromhex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ),
        bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    require(got[-16:].hex() == "5bc94fbc3221a5db94fae95ae7121a47", "GCM")


def check_chacha():
    """RFC 8439 2.8.2."""
    got = ChaCha20Poly1305(bytes(range(0x80, 0xA0))).seal(
        bytes.fromhex("070000004041424344454647"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it.",
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
    )
    require(got[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691", "ChaCha20-Poly1305")


def check_x25519():
    """RFC 7748 6.1; the two private keys are the ones used below."""
    group = X25519()
    require(
        group.public(X25519_CLIENT_PRIVATE).hex()
        == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        and group.public(X25519_SERVER_PRIVATE).hex()
        == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        and group.shared(
            X25519_CLIENT_PRIVATE, group.public(X25519_SERVER_PRIVATE)
        ).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        "X25519",
    )


def check_against_library():
    """Compare the AEADs with the cryptography package where it is installed."""
    try:
        from cryptography.hazmat.primitives.ciphers import aead
    except ImportError:
        return
    nonce, additional_data = bytes(range(12)), bytes(range(13))
    for length in (0, 1, 15, 16, 17, 64, 100):
        text = bytes(range(length))
        key = bytes(range(0x10, 0x20))
        for own, other in (
            (AesCcm(key, 8), aead.AESCCM(key, tag_length=8)),
            (AesCcm(key, 16), aead.AESCCM(key, tag_length=16)),
            (AesGcm(key), aead.AESGCM(key)),
            (ChaCha20Poly1305(key + key), aead.ChaCha20Poly1305(key + key)),
        ):
            sealed = own.seal(nonce, text, additional_data)
            require(sealed == other.encrypt(nonce, text, additional_data), "library comparison")
            require(own.open(nonce, sealed, additional_data) == text, "open")


def check_p256():
    """RFC 5903 8.1: x-coordinates of both public keys and of the shared point."""
    group = Secp256r1()
    i, r = group.public(P256_CLIENT_PRIVATE), group.public(P256_SERVER_PRIVATE)
    require(on_curve(G) and multiply(N, G) is None, "P-256 parameters")
    require(
        i[1:33].hex() == "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
        and r[1:33].hex() == "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
        and group.shared(P256_CLIENT_PRIVATE, r).hex()
        == "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
        "P-256",
    )
    z = group.shared(P256_CLIENT_PRIVATE_LEADING_ZERO, r)
    require(z[0] == 0, "leading zero of Z")


def main():
    check_prf()
    check_aes_ccm()
    check_gcm()
    check_chacha()
    check_x25519()
    check_p256()
    check_against_library()
    lines = ["# ecdhe_psk.py; RFC 5489, 8442, 7905, 8422, 7748, 6347, 5246, 4279, 7627, 5746"]
    for name, dtls, *parameters in cases():
        values = transcript(dtls, *parameters)
        read_back(values, dtls)
        lines.append("case " + name)
        lines += [key + " = " + value.hex() for key, value in values]
    path = Path(__file__).resolve().with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
