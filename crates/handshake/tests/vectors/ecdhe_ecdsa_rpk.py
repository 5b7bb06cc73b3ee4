#!/usr/bin/env python3
"""Deterministic DTLS 1.2 handshake vectors with raw public keys on both sides.

TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8: RFC 7251 (suite), RFC 8422 (ECDHE_ECDSA), RFC 7250 (raw public
keys), RFC 6347 (DTLS 1.2), RFC 5246 (TLS 1.2), RFC 6655 (CCM), RFC 7627 (extended master secret),
RFC 5746 (renegotiation_info), RFC 6979 (deterministic ECDSA), RFC 5480 (SubjectPublicKeyInfo).

Writes ecdhe_ecdsa_rpk.hex into the directory of this script. Only the standard library is needed;
the cryptography package, where present, serves to compare the primitives.

One full handshake with mutual authentication, one application_data record each way and close_notify
each way, in the order of the *_record lines; each handshake message in a record of its own. A
second pass then reads the records as the server would, checks both signatures with the keys off the
wire, and recomputes everything.

Extensions and their order (any order is right, RFC 5246 7.4.1.4; this one is ours):
    ClientHello: extended_master_secret, supported_groups (secp256r1), ec_point_formats
        (uncompressed), signature_algorithms (sha256 with ecdsa; without it a server would have to
        take SHA-1, RFC 5246 7.4.1.4.1), client_certificate_type (RawPublicKey),
        server_certificate_type (RawPublicKey).
    ServerHello: renegotiation_info (empty, answering the SCSV), extended_master_secret,
        ec_point_formats, client_certificate_type (RawPublicKey; it has to be there because a
        CertificateRequest follows, RFC 7250 4.2), server_certificate_type (RawPublicKey).

Order of the server's messages: RFC 5246 7.3 and 7.4.4, CertificateRequest behind ServerKeyExchange
(figure 7 of RFC 7250 shows it in front, figure 5 behind; RFC 7250 section 4 changes no message but
the hellos). Figure 7 also leaves out CertificateVerify, which RFC 5246 7.4.8 requires.

The first ClientHello and the HelloVerifyRequest are left out of every hash (RFC 6347 4.2.1, 4.2.6).
All records have version fe fd; the HelloVerifyRequest says server_version fe ff (RFC 6347 4.2.1).
"""

import hashlib
import hmac
from pathlib import Path

# Fixed inputs.
CLIENT_RANDOM = bytes(range(0x00, 0x20))
SERVER_RANDOM = bytes(range(0x20, 0x40))
COOKIE = bytes(range(0xC0, 0xD0))
CLIENT_APPLICATION_DATA = b"over the hedge"
SERVER_APPLICATION_DATA = b"and back again"

# Long-term P-256 keys; the server's is the one of RFC 6979 A.2.5.
CLIENT_STATIC_PRIVATE = bytes(range(0x40, 0x60))
SERVER_STATIC_PRIVATE = bytes.fromhex(
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"
)
# Ephemeral P-256 keys: the scalars i and r of RFC 5903 8.1.
CLIENT_EPHEMERAL_PRIVATE = bytes.fromhex(
    "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433"
)
SERVER_EPHEMERAL_PRIVATE = bytes.fromhex(
    "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53"
)

SUITE = 0xC0AE  # TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, RFC 7251 section 2
SCSV = 0x00FF  # RFC 5746 3.3
SECP256R1 = 23  # RFC 8422 5.1.1
RAW_PUBLIC_KEY = 2  # RFC 7250 section 7
SHA256_ECDSA = b"\x04\x03"  # RFC 5246 7.4.1.4.1
ECDSA_SIGN = 64  # RFC 8422 5.5

# Content types, RFC 5246 6.2.1.
CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

# Handshake types, RFC 5246 7.4 and RFC 6347 4.3.2.
CLIENT_HELLO = 1
SERVER_HELLO = 2
HELLO_VERIFY_REQUEST = 3
CERTIFICATE = 11
SERVER_KEY_EXCHANGE = 12
CERTIFICATE_REQUEST = 13
SERVER_HELLO_DONE = 14
CERTIFICATE_VERIFY = 15
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

# Extension types; 13: RFC 5246 7.4.1.4, 19 and 20: RFC 8446 4.2 lists them for RFC 7250.
EC_POINT_FORMATS = 11
SIGNATURE_ALGORITHMS = 13
CLIENT_CERTIFICATE_TYPE = 19
SERVER_CERTIFICATE_TYPE = 20
SUPPORTED_GROUPS = 10
EXTENDED_MASTER_SECRET = 23
RENEGOTIATION_INFO = 0xFF01

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


# How the suite uses its AEAD: RFC 5246 6.2.3.3 and 6.3. There are no MAC keys.

class ExplicitNonce:
    """AES-CCM, RFC 6655 section 3.

    nonce = write_IV(4) || nonce_explicit(8). nonce_explicit is the 64-bit sequence number here
    (RFC 6655 says MAY) and travels in front of the ciphertext.
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


CCM_8 = ExplicitNonce(lambda key: AesCcm(key, 8))


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


# ECDSA with SHA-256, RFC 8422 5.10; k as in RFC 6979 3.2.

def deterministic_k(private, digest):
    """RFC 6979 3.2; the digest and the group order both have 256 bits."""
    seed = private + uint(int.from_bytes(digest, "big") % N, 32)  # int2octets, bits2octets

    def mac(key, data):
        return hmac.new(key, data, hashlib.sha256).digest()

    v, key = b"\x01" * 32, bytes(32)
    for octet in (b"\x00", b"\x01"):
        key = mac(key, v + octet + seed)
        v = mac(key, v)
    while True:
        v = mac(key, v)
        k = int.from_bytes(v, "big")
        if 0 < k < N:
            return k
        key = mac(key, v + b"\x00")
        v = mac(key, v)


def ecdsa_sign(private, message):
    """(r, s); s is left as it comes out, neither RFC asks for the smaller one."""
    digest = hashlib.sha256(message).digest()
    k = deterministic_k(private, digest)
    r = multiply(k, G)[0] % N
    e = int.from_bytes(digest, "big")
    s = pow(k, -1, N) * (e + r * int.from_bytes(private, "big")) % N
    return r, s


def ecdsa_verify(point, message, r, s):
    require(0 < r < N and 0 < s < N, "range of the signature")
    e = int.from_bytes(hashlib.sha256(message).digest(), "big")
    w = pow(s, -1, N)
    sum_point = add(multiply(e * w % N, G), multiply(r * w % N, point))
    return sum_point[0] % N == r


def der(tag, content):
    """Short and one-octet long form, enough for P-256 keys and signatures."""
    require(len(content) < 128, "DER length")
    return uint(tag, 1) + uint(len(content), 1) + content


def der_signature(r, s):
    """Ecdsa-Sig-Value, RFC 8422 5.4: SEQUENCE of two INTEGERs in their shortest form."""
    return der(0x30, b"".join(der(2, uint(x, x.bit_length() // 8 + 1)) for x in (r, s)))


def subject_public_key_info(private):
    """RFC 7250 section 3, RFC 5480 section 2: id-ecPublicKey, secp256r1, BIT STRING."""
    id_ec_public_key = der(6, bytes.fromhex("2a8648ce3d0201"))
    secp256r1 = der(6, bytes.fromhex("2a8648ce3d030107"))
    point = encode_point(multiply(int.from_bytes(private, "big"), G))
    return der(0x30, der(0x30, id_ec_public_key + secp256r1) + der(3, b"\x00" + point))


# One sending side: handshake headers, records and record protection.

class Sender:
    version = b"\xfe\xfd"  # RFC 6347 4.1

    def __init__(self):
        self.message_seq = 0
        self.epoch = 0
        self.seq = 0
        self.cipher = None

    def handshake(self, msg_type, body):
        """RFC 6347 4.2.2, unfragmented: offset 0, fragment_length = length."""
        header = uint(msg_type, 1) + uint(len(body), 3) + uint(self.message_seq, 2)
        self.message_seq += 1
        return header + uint(0, 3) + uint(len(body), 3) + body

    def change_cipher_spec(self, cipher, key, iv):
        """A new epoch, whose sequence numbers start at 0: RFC 6347 4.1."""
        self.cipher, self.key, self.iv = cipher, key, iv
        self.epoch += 1
        self.seq = 0

    def record(self, content_type, plaintext):
        seq64 = uint(self.epoch, 2) + uint(self.seq, 6)
        fragment = plaintext
        if self.cipher:
            # RFC 5246 6.2.3.3; seq_num is epoch || sequence_number, RFC 6347 4.1.2.1.
            ad = seq64 + uint(content_type, 1) + self.version + uint(len(plaintext), 2)
            fragment = self.cipher.seal(self.key, self.iv, seq64, plaintext, ad)
        self.seq += 1
        return uint(content_type, 1) + self.version + seq64 + vector(fragment, 2)


# Handshake message bodies.

def extensions(*entries):
    """RFC 5246 7.4.1.4."""
    return vector(b"".join(uint(number, 2) + vector(data, 2) for number, data in entries), 2)


def client_hello(cookie):
    """RFC 5246 7.4.1.2; with the cookie field of RFC 6347 4.2.1."""
    body = Sender.version + CLIENT_RANDOM
    body += vector(b"", 1)  # session_id
    body += vector(cookie, 1)
    body += vector(uint(SUITE, 2) + uint(SCSV, 2), 2)  # cipher_suites
    body += vector(b"\x00", 1)  # compression_methods: null
    raw_public_key = vector(uint(RAW_PUBLIC_KEY, 1), 1)  # a list, RFC 7250 section 3
    return body + extensions(
        (EXTENDED_MASTER_SECRET, b""),  # RFC 7627 5.1
        (SUPPORTED_GROUPS, vector(uint(SECP256R1, 2), 2)),  # RFC 8422 5.1.1
        (EC_POINT_FORMATS, vector(b"\x00", 1)),  # RFC 8422 5.1.2
        (SIGNATURE_ALGORITHMS, vector(SHA256_ECDSA, 2)),  # RFC 5246 7.4.1.4.1
        (CLIENT_CERTIFICATE_TYPE, raw_public_key),
        (SERVER_CERTIFICATE_TYPE, raw_public_key),
    )


def server_hello():
    """RFC 5246 7.4.1.3."""
    body = Sender.version + SERVER_RANDOM
    body += vector(b"", 1)  # session_id
    body += uint(SUITE, 2)
    body += b"\x00"  # compression_method: null
    raw_public_key = uint(RAW_PUBLIC_KEY, 1)  # a single value, RFC 7250 section 3
    return body + extensions(
        (RENEGOTIATION_INFO, b"\x00"),  # RFC 5746 3.2
        (EXTENDED_MASTER_SECRET, b""),
        (EC_POINT_FORMATS, vector(b"\x00", 1)),  # RFC 8422 5.2
        (CLIENT_CERTIFICATE_TYPE, raw_public_key),
        (SERVER_CERTIFICATE_TYPE, raw_public_key),
    )


def certificate(private):
    """RFC 7250 section 3: one ASN.1_subjectPublicKeyInfo<1..2^24-1> and no list around it."""
    return vector(subject_public_key_info(private), 3)


def digitally_signed(private, message):
    """RFC 5246 4.7: SignatureAndHashAlgorithm, then signature<0..2^16-1>."""
    return SHA256_ECDSA + vector(der_signature(*ecdsa_sign(private, message)), 2)


def server_ecdh_params():
    """RFC 8422 5.4: named_curve(3), NamedCurve, ECPoint."""
    point = multiply(int.from_bytes(SERVER_EPHEMERAL_PRIVATE, "big"), G)
    return b"\x03" + uint(SECP256R1, 2) + vector(encode_point(point), 1)


def certificate_request():
    """RFC 5246 7.4.4, RFC 8422 5.5; no certificate_authorities: there are none to name."""
    return vector(uint(ECDSA_SIGN, 1), 1) + vector(SHA256_ECDSA, 2) + vector(b"", 2)


def client_key_exchange():
    """RFC 8422 5.7: ECPoint."""
    point = multiply(int.from_bytes(CLIENT_EPHEMERAL_PRIVATE, "big"), G)
    return vector(encode_point(point), 1)


def verify_data(master, label, messages):
    """RFC 5246 7.4.9, RFC 6347 4.2.6; 12 octets."""
    return prf(master, label, hashlib.sha256(messages).digest(), 12)


def transcript():
    """All values in print order; the *_record values in wire order."""
    client, server = Sender(), Sender()
    cipher = CCM_8
    first = client.handshake(CLIENT_HELLO, client_hello(b""))
    verify_request = server.handshake(HELLO_VERIFY_REQUEST, b"\xfe\xff" + vector(COOKIE, 1))
    chello = client.handshake(CLIENT_HELLO, client_hello(COOKIE))
    shello = server.handshake(SERVER_HELLO, server_hello())
    scert = server.handshake(CERTIFICATE, certificate(SERVER_STATIC_PRIVATE))
    # RFC 8422 5.4: the signature covers ClientHello.random, ServerHello.random and the params.
    params = server_ecdh_params()
    ske_signed = CLIENT_RANDOM + SERVER_RANDOM + params
    ske = server.handshake(
        SERVER_KEY_EXCHANGE, params + digitally_signed(SERVER_STATIC_PRIVATE, ske_signed)
    )
    request = server.handshake(CERTIFICATE_REQUEST, certificate_request())
    done = server.handshake(SERVER_HELLO_DONE, b"")
    ccert = client.handshake(CERTIFICATE, certificate(CLIENT_STATIC_PRIVATE))
    cke = client.handshake(CLIENT_KEY_EXCHANGE, client_key_exchange())

    # RFC 7627 section 3: ClientHello up to and including ClientKeyExchange. CertificateVerify signs
    # the same octets (RFC 5246 7.4.8, RFC 6347 4.2.6), so its digest equals the session_hash.
    messages = chello + shello + scert + ske + request + done + ccert + cke
    session_hash = hashlib.sha256(messages).digest()
    verify = client.handshake(
        CERTIFICATE_VERIFY, digitally_signed(CLIENT_STATIC_PRIVATE, messages)
    )

    # RFC 8422 5.10: the premaster secret is the x-coordinate with its leading zeros.
    server_point = decode_point(params[4:])
    shared = multiply(int.from_bytes(CLIENT_EPHEMERAL_PRIVATE, "big"), server_point)
    premaster = uint(shared[0], 32)
    master = prf(premaster, b"extended master secret", session_hash, 48)  # RFC 7627 section 4
    # RFC 5246 6.3; the server random comes first here.
    k, v = cipher.key_length, cipher.iv_length
    key_block = prf(master, b"key expansion", SERVER_RANDOM + CLIENT_RANDOM, 2 * (k + v))

    # Both Finished hashes include CertificateVerify; the server's also the client's Finished.
    messages += verify
    client_verify = verify_data(master, b"client finished", messages)
    client_finished = client.handshake(FINISHED, client_verify)
    server_verify = verify_data(master, b"server finished", messages + client_finished)
    server_finished = server.handshake(FINISHED, server_verify)

    values = [
        ("client_random", CLIENT_RANDOM),
        ("server_random", SERVER_RANDOM),
        ("client_static_private", CLIENT_STATIC_PRIVATE),
        ("client_spki", subject_public_key_info(CLIENT_STATIC_PRIVATE)),
        ("server_static_private", SERVER_STATIC_PRIVATE),
        ("server_spki", subject_public_key_info(SERVER_STATIC_PRIVATE)),
        ("client_ephemeral_private", CLIENT_EPHEMERAL_PRIVATE),
        ("server_ephemeral_private", SERVER_EPHEMERAL_PRIVATE),
        ("client_hello_1_record", client.record(HANDSHAKE, first)),
        ("hello_verify_request_record", server.record(HANDSHAKE, verify_request)),
        ("client_hello_2_record", client.record(HANDSHAKE, chello)),
        ("server_hello_record", server.record(HANDSHAKE, shello)),
        ("server_certificate_record", server.record(HANDSHAKE, scert)),
        ("server_key_exchange_signed", ske_signed),
        ("server_key_exchange_signature", ske[12 + len(params) + 4:]),
        ("server_key_exchange_record", server.record(HANDSHAKE, ske)),
        ("certificate_request_record", server.record(HANDSHAKE, request)),
        ("server_hello_done_record", server.record(HANDSHAKE, done)),
        ("client_certificate_record", client.record(HANDSHAKE, ccert)),
        ("client_key_exchange_record", client.record(HANDSHAKE, cke)),
        ("session_hash", session_hash),
        ("certificate_verify_signature", verify[12 + 4:]),
        ("certificate_verify_record", client.record(HANDSHAKE, verify)),
        ("premaster_secret", premaster),
        ("master_secret", master),
        ("key_block", key_block),
        ("client_verify_data", client_verify),
        ("server_verify_data", server_verify),
    ]
    # RFC 5246 7.1: ChangeCipherSpec is one octet of value 1 and goes out under the old state.
    for name, side, key, iv, finished in (
        ("client", client, key_block[:k], key_block[2 * k:2 * k + v], client_finished),
        ("server", server, key_block[k:2 * k], key_block[2 * k + v:], server_finished),
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


# Second pass: the records as the server reads them, with its ephemeral private key.

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

    def __init__(self):
        self.epoch = self.seq = self.message_seq = 0
        self.cipher = None

    def record(self, record, content_type):
        reader = Reader(record)
        require(reader.number(1) == content_type, "content type")
        version = reader.take(2)
        require(version == b"\xfe\xfd", "record version")
        seq64 = reader.take(8)
        require(seq64 == self.epoch.to_bytes(2, "big") + self.seq.to_bytes(6, "big"), "number")
        fragment = reader.vector(2).data
        reader.end()
        self.seq += 1
        if not self.cipher:
            return fragment
        length = len(fragment) - self.cipher.expansion()
        ad = seq64 + bytes([content_type]) + version + length.to_bytes(2, "big")
        plaintext = self.cipher.open(self.key, self.iv, seq64, fragment, ad)
        require(plaintext is not None, "authentication tag")
        return plaintext

    def handshake(self, message, msg_type):
        reader = Reader(message)
        require(reader.number(1) == msg_type, "handshake type")
        length = reader.number(3)
        require(reader.number(2) == self.message_seq, "message_seq")
        require(reader.number(3) == 0 and reader.number(3) == length, "fragment")
        require(len(reader.data) == length, "handshake length")
        self.message_seq += 1
        return reader


def read_extensions(body):
    block, found = body.vector(2), []
    while block.data:
        found.append((block.number(2), block.vector(2).data.hex()))
    body.end()
    return found


def read_public_key(body):
    """Certificate with a P-256 SubjectPublicKeyInfo; the 26 octets in front of the point."""
    spki = body.vector(3)
    body.end()
    require(
        spki.take(26).hex() == "3059301306072a8648ce3d020106082a8648ce3d030107034200",
        "SubjectPublicKeyInfo",
    )
    return decode_point(spki.data)


def read_signature(body):
    require(body.take(2) == b"\x04\x03", "signature algorithm")
    outer = body.vector(2)
    body.end()
    require(outer.number(1) == 0x30, "SEQUENCE")
    sequence = outer.vector(1)
    outer.end()
    numbers = []
    for _ in "rs":
        require(sequence.number(1) == 2, "INTEGER")
        data = sequence.vector(1).data
        require(data[0] < 128 and (data[0] or data[1] >= 128), "shortest INTEGER")
        numbers.append(int.from_bytes(data, "big"))
    sequence.end()
    return numbers


def read_back(values):
    value = dict(values)
    client, server = Receiver(), Receiver()  # what is received from each side

    def plain(side, name, msg_type):
        message = side.record(value[name + "_record"], HANDSHAKE)
        return message, side.handshake(message, msg_type)

    hello_1 = plain(client, "client_hello_1", CLIENT_HELLO)[1].data
    body = plain(server, "hello_verify_request", HELLO_VERIFY_REQUEST)[1]
    require(body.take(2) == b"\xfe\xff", "HelloVerifyRequest version")
    cookie = body.vector(1).data
    body.end()
    chello, body = plain(client, "client_hello_2", CLIENT_HELLO)
    # The cookie stands behind version(2), random(32) and the empty session_id(1).
    require(
        hello_1 == body.data[:35] + b"\x00" + body.data[36 + len(cookie):]
        and body.data[35:36 + len(cookie)] == bytes([len(cookie)]) + cookie,
        "second ClientHello",
    )
    require(body.take(2) == b"\xfe\xfd", "client_version")
    client_random = body.take(32)
    require(body.take(1) == b"\x00" and body.vector(1).data == cookie, "session_id, cookie")
    require(body.take(8).hex() == "0004c0ae00ff0100", "suites and compression")
    require(
        read_extensions(body) == [
            (23, ""), (10, "00020017"), (11, "0100"), (13, "00020403"), (19, "0102"), (20, "0102"),
        ],
        "ClientHello extensions",
    )
    shello, body = plain(server, "server_hello", SERVER_HELLO)
    require(body.take(2) == b"\xfe\xfd", "server_version")
    server_random = body.take(32)
    require(body.take(4).hex() == "00c0ae00", "session_id, suite, compression")
    require(
        read_extensions(body) == [(0xFF01, "00"), (23, ""), (11, "0100"), (19, "02"), (20, "02")],
        "ServerHello extensions",
    )
    scert, body = plain(server, "server_certificate", CERTIFICATE)
    server_key = read_public_key(body)
    ske, body = plain(server, "server_key_exchange", SERVER_KEY_EXCHANGE)
    params = body.take(4 + 65)
    require(params[:4].hex() == "03001741", "ServerECDHParams")
    require(
        ecdsa_verify(server_key, client_random + server_random + params, *read_signature(body)),
        "signature of ServerKeyExchange",
    )
    request, body = plain(server, "certificate_request", CERTIFICATE_REQUEST)
    require(body.data.hex() == "0140000204030000", "CertificateRequest")
    done, body = plain(server, "server_hello_done", SERVER_HELLO_DONE)
    body.end()
    ccert, body = plain(client, "client_certificate", CERTIFICATE)
    client_key = read_public_key(body)
    cke, body = plain(client, "client_key_exchange", CLIENT_KEY_EXCHANGE)
    client_point = decode_point(body.vector(1).data)
    body.end()
    messages = chello + shello + scert + ske + request + done + ccert + cke
    session_hash = hashlib.sha256(messages).digest()
    verify, body = plain(client, "certificate_verify", CERTIFICATE_VERIFY)
    require(
        ecdsa_verify(client_key, messages, *read_signature(body)),
        "signature of CertificateVerify",
    )
    messages += verify

    scalar = int.from_bytes(value["server_ephemeral_private"], "big")
    require(encode_point(multiply(scalar, G)) == params[4:], "server's ephemeral key")
    premaster = multiply(scalar, client_point)[0].to_bytes(32, "big")
    master = prf(premaster, b"extended master secret", session_hash, 48)
    require(master == value["master_secret"], "master secret")
    keys = Reader(prf(master, b"key expansion", server_random + client_random, 40))
    client.key, server.key = keys.take(16), keys.take(16)
    client.iv, server.iv = keys.take(4), keys.take(4)

    for name, side in (("client", client), ("server", server)):
        change = side.record(value[name + "_change_cipher_spec_record"], CHANGE_CIPHER_SPEC)
        require(change == b"\x01", "ChangeCipherSpec")
        side.epoch, side.seq, side.cipher = 1, 0, CCM_8
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


def check_ecdsa():
    """RFC 6979 A.2.5, SHA-256, message "sample"."""
    require(on_curve(G) and multiply(N, G) is None, "P-256 parameters")
    r, s = ecdsa_sign(SERVER_STATIC_PRIVATE, b"sample")
    require(
        f"{r:064x}" == "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        and f"{s:064x}" == "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        "ECDSA",
    )
    point = multiply(int.from_bytes(SERVER_STATIC_PRIVATE, "big"), G)
    require(ecdsa_verify(point, b"sample", r, s), "ECDSA verification")
    require(not ecdsa_verify(point, b"simple", r, s), "ECDSA rejection")


def check_against_library(values):
    """Compare with the cryptography package where it is installed."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM
    except ImportError:
        return
    value = dict(values)
    key, nonce, additional_data = bytes(range(16)), bytes(range(12)), bytes(range(13))
    for length in (0, 1, 15, 16, 17, 64, 100):
        text = bytes(range(length))
        sealed = AesCcm(key, 8).seal(nonce, text, additional_data)
        other = AESCCM(key, tag_length=8).encrypt(nonce, text, additional_data)
        require(sealed == other, "library comparison of CCM_8")
    server_key = serialization.load_der_public_key(value["server_spki"])
    server_key.verify(
        value["server_key_exchange_signature"],
        value["server_key_exchange_signed"],
        ec.ECDSA(hashes.SHA256()),
    )
    private = ec.derive_private_key(
        int.from_bytes(value["client_ephemeral_private"], "big"), ec.SECP256R1()
    )
    peer = ec.derive_private_key(
        int.from_bytes(value["server_ephemeral_private"], "big"), ec.SECP256R1()
    ).public_key()
    require(private.exchange(ec.ECDH(), peer) == value["premaster_secret"], "library ECDH")


def main():
    check_prf()
    check_aes_ccm()
    check_ecdsa()
    values = transcript()
    read_back(values)
    check_against_library(values)
    lines = ["# ecdhe_ecdsa_rpk.py; RFC 7251, 8422, 7250, 6347, 5246, 6655, 7627, 5746, 6979"]
    lines.append("case DTLS12_ECDHE_ECDSA_WITH_AES_128_CCM_8_RAW_PUBLIC_KEYS")
    lines += [key + " = " + value.hex() for key, value in values]
    path = Path(__file__).resolve().with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
