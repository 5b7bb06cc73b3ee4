#!/usr/bin/env python3
"""DTLS 1.2 records with a connection ID (tls12_cid), derived from RFC 9146.

RFC 9146 sections 3 to 5 (record, DTLSInnerPlaintext, additional data), RFC 6347 4.1 (record),
RFC 5246 6.2.3.3 (AEAD), RFC 6655 (CCM_8), RFC 5288 (GCM).

Writes cid_record.hex into the directory of this script. Only the standard library is needed; the
cryptography package, where present, serves to compare the AEADs.

No handshake: key and write_IV are fixed. Every case names all inputs and every intermediate value;
"record" is the result. Cases that begin with REJECT are records that a receiver who knows key,
write_iv and cid has to discard silently (RFC 9146 section 6, last paragraph, and RFC 6347 4.1.2.7);
the comment line before each says why. Some of them open correctly and are wrong inside; for those
RFC 8446 5.4, to which RFC 9146 section 4 refers, would have a fatal unexpected_message.

A value of length zero has no line (content in EMPTY_APPLICATION_DATA).
cid_length is not on the wire: the receiver knows it from the cid that it gave out.
"""

from pathlib import Path

KEY = bytes(range(0x10, 0x20))
WRITE_IV = bytes.fromhex("a0a1a2a3")

DTLS12 = b"\xfe\xfd"  # RFC 6347 4.1

# Content types: RFC 5246 6.2.1; tls12_cid: RFC 9146 section 4.
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23
TLS12_CID = 25


def uint(value, size):
    """Big-endian integer, RFC 5246 4.4."""
    return value.to_bytes(size, "big")


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def require(condition, what):
    if not condition:
        raise SystemExit("check failed: " + what)


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

    tag_length = 16

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


# Records.

def seal(aead, salt, seq64, plaintext, additional_data):
    """RFC 6655 section 3 and RFC 5288 section 3: nonce = write_IV || nonce_explicit, the latter
    sent in front; it is epoch || sequence_number here, RFC 9146 changes nothing about that."""
    return seq64 + aead.seal(salt + seq64, plaintext, additional_data)


def inner_plaintext(content, real_type, padding):
    """DTLSInnerPlaintext, RFC 9146 section 4: content, real_type, zeros."""
    return content + uint(real_type, 1) + bytes(padding)


def cid_additional_data(cid, seq64, inner_length):
    """RFC 9146 5.3; the version is that of the record, epoch and sequence_number as on the wire."""
    return (
        b"\xff" * 8  # seq_num_placeholder
        + uint(TLS12_CID, 1)
        + uint(len(cid), 1)  # cid_length
        + uint(TLS12_CID, 1)
        + DTLS12
        + seq64
        + cid
        + uint(inner_length, 2)  # length_of_DTLSInnerPlaintext
    )


def cid_record(cid, seq64, fragment):
    """DTLSCiphertext, RFC 9146 section 4, figure 3."""
    return uint(TLS12_CID, 1) + DTLS12 + seq64 + cid + uint(len(fragment), 2) + fragment


def open_record(make_aead, cid, record):
    """The receiver: (real_type, content), or None for a record to be discarded."""
    n = len(cid)
    if len(record) < 13 + n or record[0] != TLS12_CID or record[1:3] != DTLS12:
        return None
    seq64, end = record[3:11], 11 + n
    if record[11:end] != cid or int.from_bytes(record[end:end + 2], "big") != len(record) - end - 2:
        return None
    fragment = record[end + 2:]
    aead = make_aead(KEY)
    inner_length = len(fragment) - 8 - aead.tag_length
    if inner_length < 1:
        return None
    ad = b"\xff" * 8 + bytes([25, n, 25]) + record[1:end] + inner_length.to_bytes(2, "big")
    inner = aead.open(WRITE_IV + fragment[:8], fragment[8:], ad)
    if inner is None:
        return None
    inner = inner.rstrip(b"\x00")  # RFC 8446 5.4: the last octet that is not zero is the type
    if not inner or inner[-1] not in (ALERT, HANDSHAKE, APPLICATION_DATA):
        return None
    return inner[-1], inner[:-1]


FINISHED = uint(20, 1) + uint(12, 3) + uint(3, 2) + uint(0, 3) + uint(12, 3) + bytes(range(12))
LONG_CID = bytes(range(0xD0, 0xD8))
MAX_CID = bytes(range(255))

# name, cid, epoch, sequence_number, real_type, content, octets of padding
CASES = [
    ("APPLICATION_DATA_CID_1", b"\x64", 1, 5, APPLICATION_DATA, b"hedges", 0),
    ("APPLICATION_DATA_CID_8", LONG_CID, 1, 1, APPLICATION_DATA, b"over the hedge", 0),
    ("FINISHED_CID_1", b"\x64", 1, 0, HANDSHAKE, FINISHED, 0),
    ("CLOSE_NOTIFY_CID_1", b"\x64", 1, 2, ALERT, b"\x01\x00", 0),
    ("PADDED_CID_1", b"\x64", 1, 3, APPLICATION_DATA, b"over the hedge", 17),
    ("CONTENT_ENDS_IN_ZEROS_CID_8", LONG_CID, 1, 4, APPLICATION_DATA, b"hedge\x00\x00", 3),
    ("EMPTY_APPLICATION_DATA_CID_1", b"\x64", 1, 6, APPLICATION_DATA, b"", 0),
    ("LARGE_NUMBERS_CID_8", LONG_CID, 0x1234, 0xFEDCBA987654, APPLICATION_DATA, b"hedge", 0),
    ("CID_255", MAX_CID, 1, 7, APPLICATION_DATA, b"hedge", 0),
]


def case_values(make_aead, cid, epoch, sequence_number, real_type, content, padding):
    seq64 = uint(epoch, 2) + uint(sequence_number, 6)
    inner = inner_plaintext(content, real_type, padding)
    additional_data = cid_additional_data(cid, seq64, len(inner))
    fragment = seal(make_aead(KEY), WRITE_IV, seq64, inner, additional_data)
    record = cid_record(cid, seq64, fragment)
    require(open_record(make_aead, cid, record) == (real_type, content), "open")
    # Overhead against the bare content: 13 + cid + 8 + 1 + padding + tag.
    require(
        len(record) == len(content) + 22 + len(cid) + padding + make_aead(KEY).tag_length,
        "overhead",
    )
    return [
        ("key", KEY),
        ("write_iv", WRITE_IV),
        ("cid", cid),
        ("epoch", uint(epoch, 2)),
        ("sequence_number", uint(sequence_number, 6)),
        ("real_type", uint(real_type, 1)),
        ("content", content),
        ("inner_plaintext", inner),
        ("additional_data", additional_data),
        ("nonce", WRITE_IV + seq64),
        ("record", record),
    ]


def rejected(make_aead):
    """name, reason, record; all for cid = 64, epoch 1, sequence number 5."""
    cid, seq64, content = b"\x64", uint(1, 2) + uint(5, 6), b"over the hedge"
    aead = make_aead(KEY)

    def sealed(inner, additional_data):
        return seal(aead, WRITE_IV, seq64, inner, additional_data)

    inner = inner_plaintext(content, APPLICATION_DATA, 0)
    right = cid_additional_data(cid, seq64, len(inner))
    good = cid_record(cid, seq64, sealed(inner, right))
    header = seq64 + uint(APPLICATION_DATA, 1) + DTLS12
    plain = sealed(content, header + uint(len(content), 2))
    zeros = bytes(12)
    odd = inner_plaintext(content, TLS12_CID, 0)
    yield (
        "NO_CID", "RFC 9146 section 3: a record in the format of RFC 6347 where a CID is expected",
        uint(APPLICATION_DATA, 1) + DTLS12 + seq64 + uint(len(plain), 2) + plain,
    )
    yield (
        "OLD_ADDITIONAL_DATA", "section 5.3: additional data of RFC 6347, outer type tls12_cid",
        cid_record(cid, seq64, sealed(
            inner, seq64 + uint(TLS12_CID, 1) + DTLS12 + uint(len(inner), 2)
        )),
    )
    yield (
        "CID_LENGTH_TWO", "section 5.3: cid_length counted as two octets",
        cid_record(cid, seq64, sealed(
            inner, right[:9] + uint(len(cid), 2) + right[10:]
        )),
    )
    yield (
        "PLACEHOLDER_IS_SEQ_NUM", "section 5.3: epoch and sequence number instead of eight ff",
        cid_record(cid, seq64, sealed(inner, seq64 + right[8:])),
    )
    yield (
        "LENGTH_OF_CONTENT", "section 5.3: length of content instead of DTLSInnerPlaintext",
        cid_record(cid, seq64, sealed(inner, right[:-2] + uint(len(content), 2))),
    )
    yield (
        "OTHER_CID", "the CID has been exchanged on the way",
        good[:11] + b"\x65" + good[12:],
    )
    yield (
        "OTHER_SEQUENCE_NUMBER", "the number in the header has been changed, the nonce has not",
        good[:10] + b"\x06" + good[11:],
    )
    yield (
        "ONLY_ZEROS", "section 4, RFC 8446 5.4: only zeros, so no real_type; opens correctly",
        cid_record(cid, seq64, sealed(zeros, cid_additional_data(cid, seq64, len(zeros)))),
    )
    yield (
        "EMPTY_INNER_PLAINTEXT", "section 4: nothing, so no real_type; opens correctly",
        cid_record(cid, seq64, sealed(b"", cid_additional_data(cid, seq64, 0))),
    )
    yield (
        "REAL_TYPE_TLS12_CID", "section 4: tls12_cid is no type of content; opens correctly",
        cid_record(cid, seq64, sealed(odd, cid_additional_data(cid, seq64, len(odd)))),
    )


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


def check_against_library():
    """Compare the AEADs with the cryptography package where it is installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
    except ImportError:
        return
    for length in (0, 1, 15, 16, 17, 64, 100):
        nonce, text, ad = bytes(range(12)), bytes(range(length)), bytes(range(256)) + b"ad"
        for own, other in ((AesCcm(KEY, 8), AESCCM(KEY, tag_length=8)), (AesGcm(KEY), AESGCM(KEY))):
            require(own.seal(nonce, text, ad) == other.encrypt(nonce, text, ad), "library")


def main():
    check_aes_ccm()
    check_gcm()
    check_against_library()
    lines = ["# cid_record.py; RFC 9146, 6347, 5246, 6655, 5288"]
    suites = (("AES_128_CCM_8", lambda key: AesCcm(key, 8)), ("AES_128_GCM", AesGcm))
    for suite, make_aead in suites:
        for name, *parameters in CASES:
            lines.append("case " + suite + "_" + name)
            values = case_values(make_aead, *parameters)
            lines += [key + " = " + value.hex() for key, value in values if value]
        for name, reason, record in rejected(make_aead):
            require(open_record(make_aead, b"\x64", record) is None, "REJECT " + name)
            lines.append("# " + reason)
            lines.append("case REJECT_" + suite + "_" + name)
            values = (("key", KEY), ("write_iv", WRITE_IV), ("cid", b"\x64"), ("record", record))
            lines += [key + " = " + value.hex() for key, value in values]
    path = Path(__file__).resolve().with_suffix(".hex")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
