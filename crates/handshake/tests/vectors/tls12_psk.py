#!/usr/bin/env python3
"""Deterministic TLS 1.2 plain-PSK handshake vectors, derived from the RFCs.

RFC 5246 (TLS 1.2), RFC 4279 (PSK), RFC 6655 (CCM), RFC 5487 and RFC 5288 (GCM),
RFC 7905 (ChaCha20-Poly1305), RFC 7627 (extended master secret), RFC 5746 (renegotiation_info).

Writes tls12_psk.hex into the directory of this script. Only the standard library is needed; the
cryptography package, where present, serves to compare the AEADs.

Every case is a full handshake, one application_data record each way and close_notify each way,
in the order of the *_record lines. Each handshake message has a record of its own. Afterwards a
second pass reads the records as a peer would, with the PSK alone, and recomputes everything.

ClientHello: one suite, then the SCSV 0x00ff; null compression; empty session_id;
    extensions: extended_master_secret only; no extensions block at all in the NO_EMS case.
ServerHello: empty session_id;
    extensions: renegotiation_info (empty), then extended_master_secret (not in the NO_EMS case).
client_hello_record_0301 is client_hello_record with the record version 03 01, which a server
has to accept too (RFC 5246 E.1). It is no other handshake: nothing else depends on it.
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
HINT = b"Server_hint"
CLIENT_APPLICATION_DATA = b"over the hedge"
SERVER_APPLICATION_DATA = b"and back again"

TLS12 = b"\x03\x03"  # RFC 5246 6.2.1
SCSV = 0x00FF  # RFC 5746 3.3

# Content types, RFC 5246 6.2.1.
CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

# Handshake types, RFC 5246 7.4.
CLIENT_HELLO = 1
SERVER_HELLO = 2
SERVER_KEY_EXCHANGE = 12
SERVER_HELLO_DONE = 14
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

# Complete encodings: RFC 7627 5.1 and RFC 5746 3.2.
EXT_EXTENDED_MASTER_SECRET = bytes.fromhex("00170000")
EXT_RENEGOTIATION_INFO = bytes.fromhex("ff01000100")

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


# Handshake messages.

def handshake(msg_type, body):
    """RFC 5246 7.4."""
    return uint(msg_type, 1) + vector(body, 3)


def client_hello(suite, ems):
    """RFC 5246 7.4.1.2; the SCSV after the suite, RFC 5746 3.4."""
    body = TLS12 + CLIENT_RANDOM
    body += vector(b"", 1)  # session_id
    body += vector(uint(suite, 2) + uint(SCSV, 2), 2)  # cipher_suites
    body += vector(b"\x00", 1)  # compression_methods: null
    if ems:
        body += vector(EXT_EXTENDED_MASTER_SECRET, 2)
    return handshake(CLIENT_HELLO, body)


def server_hello(suite, ems):
    """RFC 5246 7.4.1.3; the empty renegotiation_info answers the SCSV, RFC 5746 3.6."""
    extensions = EXT_RENEGOTIATION_INFO
    if ems:
        extensions += EXT_EXTENDED_MASTER_SECRET
    body = TLS12 + SERVER_RANDOM
    body += vector(b"", 1)  # session_id
    body += uint(suite, 2)
    body += b"\x00"  # compression_method: null
    body += vector(extensions, 2)
    return handshake(SERVER_HELLO, body)


def server_key_exchange(hint):
    """RFC 4279 section 2: psk_identity_hint<0..2^16-1>; no message without a hint."""
    return handshake(SERVER_KEY_EXCHANGE, vector(hint, 2))


def client_key_exchange():
    """RFC 4279 section 2: psk_identity<0..2^16-1>."""
    return handshake(CLIENT_KEY_EXCHANGE, vector(IDENTITY, 2))


# Key schedule.

def premaster_secret(psk):
    """RFC 4279 section 2: N || N zero octets || N || PSK."""
    return vector(bytes(len(psk)), 2) + vector(psk, 2)


def master_secret(premaster, ems, session_hash, client_random, server_random):
    if ems:  # RFC 7627 section 4
        return prf(premaster, b"extended master secret", session_hash, 48)
    return prf(premaster, b"master secret", client_random + server_random, 48)  # RFC 5246 8.1


def make_key_block(cipher, master, client_random, server_random):
    """RFC 5246 6.3; the server random comes first here."""
    length = 2 * (cipher.key_length + cipher.iv_length)
    return prf(master, b"key expansion", server_random + client_random, length)


def split_key_block(cipher, key_block):
    """client_write_key, server_write_key, client_write_IV, server_write_IV: RFC 5246 6.3."""
    k, v = cipher.key_length, cipher.iv_length
    return (
        key_block[:k], key_block[k:2 * k],
        key_block[2 * k:2 * k + v], key_block[2 * k + v:],
    )


def verify_data(master, label, messages):
    """RFC 5246 7.4.9; 12 octets."""
    return prf(master, label, hashlib.sha256(messages).digest(), 12)


# Records.

def plain_record(content_type, fragment, version=TLS12):
    """TLSPlaintext, RFC 5246 6.2.1."""
    return uint(content_type, 1) + version + vector(fragment, 2)


def additional_data(seq, content_type, plaintext_length):
    """seq_num + type + version + length, RFC 5246 6.2.3.3."""
    return uint(seq, 8) + uint(content_type, 1) + TLS12 + uint(plaintext_length, 2)


class WriteState:
    """One direction after ChangeCipherSpec; the sequence number starts at 0, RFC 5246 6.1."""

    def __init__(self, cipher, key, iv):
        self.cipher, self.key, self.iv, self.seq = cipher, key, iv, 0

    def record(self, content_type, plaintext):
        """TLSCiphertext with a GenericAEADCipher, RFC 5246 6.2.3.3."""
        ad = additional_data(self.seq, content_type, len(plaintext))
        fragment = self.cipher.seal(self.key, self.iv, uint(self.seq, 8), plaintext, ad)
        self.seq += 1
        return uint(content_type, 1) + TLS12 + vector(fragment, 2)


# name, cipher suite, cipher, extended master secret, PSK identity hint
CASES = [
    ("TLS_PSK_WITH_AES_128_CCM_8_EMS", 0xC0A8, CCM_8, True, None),
    ("TLS_PSK_WITH_AES_128_CCM_EMS", 0xC0A4, CCM, True, None),
    ("TLS_PSK_WITH_AES_128_GCM_SHA256_EMS", 0x00A8, GCM, True, None),
    ("TLS_PSK_WITH_CHACHA20_POLY1305_SHA256_EMS", 0xCCAB, CHACHA, True, None),
    ("TLS_PSK_WITH_AES_128_CCM_8_NO_EMS", 0xC0A8, CCM_8, False, None),
    ("TLS_PSK_WITH_AES_128_CCM_8_EMS_HINT", 0xC0A8, CCM_8, True, HINT),
]
CIPHERS = {suite: cipher for _, suite, cipher, _, _ in CASES}


def transcript(suite, cipher, ems, hint):
    """All values of one case in print order; the *_record values in wire order."""
    chello = client_hello(suite, ems)
    shello = server_hello(suite, ems)
    ske = b"" if hint is None else server_key_exchange(hint)
    done = handshake(SERVER_HELLO_DONE, b"")
    cke = client_key_exchange()

    # RFC 7627 section 3: ClientHello up to and including ClientKeyExchange.
    messages = chello + shello + ske + done + cke
    session_hash = hashlib.sha256(messages).digest()
    premaster = premaster_secret(PSK)
    master = master_secret(premaster, ems, session_hash, CLIENT_RANDOM, SERVER_RANDOM)
    key_block = make_key_block(cipher, master, CLIENT_RANDOM, SERVER_RANDOM)
    client_key, server_key, client_iv, server_iv = split_key_block(cipher, key_block)
    client = WriteState(cipher, client_key, client_iv)
    server = WriteState(cipher, server_key, server_iv)

    # The server's hash also covers the client's Finished, RFC 5246 7.4.9.
    client_verify = verify_data(master, b"client finished", messages)
    client_finished = handshake(FINISHED, client_verify)
    server_verify = verify_data(master, b"server finished", messages + client_finished)
    server_finished = handshake(FINISHED, server_verify)

    change = plain_record(CHANGE_CIPHER_SPEC, b"\x01")  # RFC 5246 7.1
    values = [
        ("client_random", CLIENT_RANDOM),
        ("server_random", SERVER_RANDOM),
        ("psk", PSK),
        ("psk_identity", IDENTITY),
        ("client_hello_record", plain_record(HANDSHAKE, chello)),
        ("client_hello_record_0301", plain_record(HANDSHAKE, chello, b"\x03\x01")),
        ("server_hello_record", plain_record(HANDSHAKE, shello)),
    ]
    if ske:
        values += [("server_key_exchange_record", plain_record(HANDSHAKE, ske))]
    values += [
        ("server_hello_done_record", plain_record(HANDSHAKE, done)),
        ("client_key_exchange_record", plain_record(HANDSHAKE, cke)),
        ("session_hash", session_hash),
        ("premaster_secret", premaster),
        ("master_secret", master),
        ("key_block", key_block),
        ("client_verify_data", client_verify),
        ("server_verify_data", server_verify),
        ("client_change_cipher_spec_record", change),
        ("client_finished_record", client.record(HANDSHAKE, client_finished)),
        ("server_change_cipher_spec_record", change),
        ("server_finished_record", server.record(HANDSHAKE, server_finished)),
        ("client_application_data", CLIENT_APPLICATION_DATA),
        ("client_application_record", client.record(APPLICATION_DATA, CLIENT_APPLICATION_DATA)),
        ("server_application_data", SERVER_APPLICATION_DATA),
        ("server_application_record", server.record(APPLICATION_DATA, SERVER_APPLICATION_DATA)),
        ("client_close_notify_record", client.record(ALERT, CLOSE_NOTIFY)),
        ("server_close_notify_record", server.record(ALERT, CLOSE_NOTIFY)),
    ]
    return values


# Second pass: the records as a peer reads them, with the PSK and nothing else.

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


def read_record(record, content_type, version=TLS12):
    reader = Reader(record)
    require(reader.number(1) == content_type, "content type")
    require(reader.take(2) == version, "record version")
    fragment = reader.vector(2).data
    reader.end()
    return fragment


def read_handshake(message, msg_type):
    reader = Reader(message)
    require(reader.number(1) == msg_type, "handshake type")
    body = reader.vector(3)
    reader.end()
    return body


def read_extensions(body):
    extensions = {}
    if body.data:
        block = body.vector(2)
        while block.data:
            extension_type = block.number(2)
            require(extension_type not in extensions, "extension twice")
            extensions[extension_type] = block.vector(2).data
    body.end()
    return extensions


def read_back(values):
    value = dict(values)
    wire = [(name, data) for name, data in values if name.endswith("_record")]
    plain = {
        name: read_record(data, HANDSHAKE)
        for name, data in wire
        if name.split("_record")[0] in (
            "client_hello", "server_hello", "server_key_exchange", "server_hello_done",
            "client_key_exchange",
        )
    }
    messages = b"".join(plain.values())
    require(
        read_record(value["client_hello_record_0301"], HANDSHAKE, b"\x03\x01")
        == plain["client_hello_record"],
        "ClientHello in a 03 01 record",
    )

    body = read_handshake(plain["client_hello_record"], CLIENT_HELLO)
    require(body.take(2) == TLS12, "client_version")
    client_random = body.take(32)
    require(body.vector(1).data == b"", "session_id")
    suites = body.vector(2)
    suite = suites.number(2)
    require(suites.number(2) == SCSV, "SCSV")
    suites.end()
    require(body.vector(1).data == b"\x00", "compression_methods")
    offered = read_extensions(body)

    body = read_handshake(plain["server_hello_record"], SERVER_HELLO)
    require(body.take(2) == TLS12, "server_version")
    server_random = body.take(32)
    require(body.vector(1).data == b"", "session_id")
    require(body.number(2) == suite, "cipher_suite")
    require(body.number(1) == 0, "compression_method")
    answered = read_extensions(body)
    require(answered.pop(0xFF01) == b"\x00", "renegotiation_info")
    require(answered == offered and set(offered) <= {0x17}, "extensions")
    ems = 0x17 in offered

    if "server_key_exchange_record" in plain:
        body = read_handshake(plain["server_key_exchange_record"], SERVER_KEY_EXCHANGE)
        require(body.vector(2).data == HINT, "hint")
        body.end()
    read_handshake(plain["server_hello_done_record"], SERVER_HELLO_DONE).end()
    body = read_handshake(plain["client_key_exchange_record"], CLIENT_KEY_EXCHANGE)
    psk = {IDENTITY: PSK}[body.vector(2).data]
    body.end()

    n = len(psk).to_bytes(2, "big")
    premaster = n + b"\x00" * len(psk) + n + psk
    if ems:
        label, seed = b"extended master secret", hashlib.sha256(messages).digest()
    else:
        label, seed = b"master secret", client_random + server_random
    master = prf(premaster, label, seed, 48)
    require(master == value["master_secret"], "master secret")

    cipher = CIPHERS[suite]
    length = 2 * (cipher.key_length + cipher.iv_length)
    keys = Reader(prf(master, b"key expansion", server_random + client_random, length))
    key = {"client": keys.take(cipher.key_length), "server": keys.take(cipher.key_length)}
    iv = {"client": keys.take(cipher.iv_length), "server": keys.take(cipher.iv_length)}
    keys.end()
    seq = {}  # the read sequence number of each direction, once its ChangeCipherSpec has come

    for name, record in wire:
        if name in plain:
            continue
        side, kind = name[:6], name[7:-7]
        if kind == "change_cipher_spec":
            require(read_record(record, CHANGE_CIPHER_SPEC) == b"\x01", name)
            seq[side] = 0
            continue
        content_type = {"finished": HANDSHAKE, "application": APPLICATION_DATA}.get(kind, ALERT)
        fragment = read_record(record, content_type)
        ad = additional_data(seq[side], content_type, len(fragment) - cipher.expansion())
        opened = cipher.open(key[side], iv[side], uint(seq[side], 8), fragment, ad)
        require(opened is not None, "tag of " + name)
        seq[side] += 1
        if kind == "finished":
            label = side.encode() + b" finished"
            expected = prf(master, label, hashlib.sha256(messages).digest(), 12)
            require(read_handshake(opened, FINISHED).data == expected, name)
            messages += opened
        elif kind == "application":
            require(opened == value[side + "_application_data"], name)
        else:
            require(opened == CLOSE_NOTIFY, name)
    require(seq == {"client": 3, "server": 3}, "number of protected records")


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


def main():
    check_prf()
    check_aes_ccm()
    check_gcm()
    check_chacha()
    check_against_library()
    lines = ["# tls12_psk.py; RFC 5246, 4279, 6655, 5487, 5288, 7905, 7627, 5746"]
    for name, suite, cipher, ems, hint in CASES:
        values = transcript(suite, cipher, ems, hint)
        read_back(values)
        lines.append("case " + name)
        lines += [key + " = " + value.hex() for key, value in values]
    path = Path(__file__).resolve().with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
