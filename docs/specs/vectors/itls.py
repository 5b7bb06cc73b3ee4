#!/usr/bin/env python3
"""Computes the vectors of docs/specs/itls.md from its text, with nothing but Python.

    python3 docs/specs/vectors/itls.py > docs/specs/vectors/itls.txt

AES, CCM and X25519 are here too, so that nothing is shared with the code; each is compared with a
known answer of its own standard before anything is computed with it.
"""

import hashlib
import hmac

INTERNET, DEVICE = 1, 2
INITIATOR, RESPONDER = 1, 2
KEY, SESSION = 1, 2
NONE, X25519 = 0x0000, 0x001D
DATA, ALERT, CONFIRMATION = 0, 1, 2


def u(value, length):
    return value.to_bytes(length, "big")


def vector(value):
    return u(len(value), 1) + value


def xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# AES-128, encryption alone (FIPS 197).

def gf(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def substitute(a):
    inverse = next((b for b in range(256) if gf(a, b) == 1), 0)
    out = 0x63
    for turn in range(5):
        out ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xFF
    return out


SBOX = bytes(substitute(a) for a in range(256))


def round_keys(key):
    words = [key[at:at + 4] for at in range(0, 16, 4)]
    constant = 1
    for at in range(4, 44):
        word = words[-1]
        if at % 4 == 0:
            word = bytes(SBOX[b] for b in word[1:] + word[:1])
            word = xor(word, u(constant, 1) + bytes(3))
            constant = gf(constant, 2)
        words.append(xor(words[-4], word))
    return [b"".join(words[at:at + 4]) for at in range(0, 44, 4)]


def aes(key, block):
    keys = round_keys(key)
    state = xor(block, keys[0])
    for number in range(1, 11):
        state = bytes(SBOX[b] for b in state)
        state = bytes(state[(at + 4 * (at % 4)) % 16] for at in range(16))
        if number < 10:
            mixed = b""
            for at in range(0, 16, 4):
                c = state[at:at + 4]
                mixed += bytes(gf(c[i], 2) ^ gf(c[(i + 1) % 4], 3) ^ c[(i + 2) % 4] ^ c[(i + 3) % 4]
                               for i in range(4))
            state = mixed
        state = xor(state, keys[number])
    return state


# CCM (RFC 3610).

def ccm_seal(key, nonce, additional, plaintext, tag_len):
    width = 15 - len(nonce)

    def blocks(data):
        return [data[at:at + 16].ljust(16, b"\0") for at in range(0, len(data), 16)]

    flags = (64 if additional else 0) + 8 * ((tag_len - 2) // 2) + width - 1
    mac = aes(key, u(flags, 1) + nonce + u(len(plaintext), width))
    authenticated = blocks(u(len(additional), 2) + additional) if additional else []
    for block in authenticated + blocks(plaintext):
        mac = aes(key, xor(mac, block))
    stream = [aes(key, u(width - 1, 1) + nonce + u(at, width))
              for at in range(1 + (len(plaintext) + 15) // 16)]
    out = bytes(a ^ b for a, b in zip(plaintext, b"".join(stream[1:])))
    return out + xor(mac, stream[0])[:tag_len]


# X25519 (RFC 7748).

def x25519(scalar, point):
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & ~(7 | 1 << 255) | 1 << 254
    u1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, u1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a, c * b
        x3, z3 = (da + cb)**2 % p, u1 * (da - cb)**2 % p
        aa, bb = a * a, b * b
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


BASE = u(9, 1) + bytes(31)


def check_known_answers():
    sequence = bytes(range(16))
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes(sequence, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"  # FIPS 197 C.1
    packet = bytes(range(0x1F))  # RFC 3610 packet vector 1
    sealed = ccm_seal(bytes(range(0xC0, 0xD0)), bytes.fromhex("00000003020100a0a1a2a3a4a5"),
                      packet[:8], packet[8:], 8)
    assert sealed.hex() == ("588c979a61c663d2f066d0c2c0f989806d5f6b61dac384"
                            "17e8d12cfdf926e0")
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc099"
                          "2ab177fba51db92c2a")  # RFC 7748 section 6.1
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    assert x25519(alice, BASE).hex().startswith("8520f0098930a754748b7ddcb43ef75a")
    assert x25519(alice, x25519(bob, BASE)).hex() == (
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    key = extract(bytes(range(13)), b"\x0b" * 22)  # RFC 5869 A.1
    assert expand(key, bytes(range(0xF0, 0xFA)), 42).hex().startswith("3cb25f25faacd57a90434f64")


# The key schedule.

def sha256(data):
    return hashlib.sha256(data).digest()


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def extract(salt, key):
    return mac(salt, key)


def expand(key, info, length):
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = mac(key, block + info + u(count, 1))
        out, count = out + block, count + 1
    return out[:length]


def expand_label(secret, label, context, length):
    return expand(secret, u(length, 2) + vector(b"itls1 " + label) + vector(context), length)


def derive_secret(secret, label, messages):
    return expand_label(secret, label, sha256(messages), 32)


def finished(secret, transcript):
    return mac(expand_label(secret, b"finished", b"", 32), sha256(transcript))[:16]


class Handshake:
    def __init__(self, psk, what, identity, suites, suite, group, initiator_is=INTERNET):
        responder_is = INTERNET + DEVICE - initiator_is
        tag = sha256(psk + identity)[0]  # only so that cases differ
        randoms = [bytes((tag + at + offset) % 256 for at in range(32)) for offset in (0, 0x40)]
        bindings = [bytes((tag + 7 * at + offset) % 256 for at in range(32)) for offset in (0x80, 0xC0)]
        self.private = [bytes(range(offset, offset + 32)) for offset in (1, 0x21)]
        if group == X25519:
            shares = [x25519(key, BASE) for key in self.private]
            shared = x25519(self.private[0], shares[1])
        else:
            shares, shared = [b"", b""], bytes(32)

        early = extract(bytes(32), psk)
        binder = derive_secret(early, b"ext binder" if what == KEY else b"res binder", b"")
        i = (bytes([1, 1, initiator_is, what]) + randoms[0] + bindings[0] + vector(bytes(suites))
             + u(group, 2) + vector(shares[0]) + vector(identity))
        im = i + finished(binder, i)
        handshake = extract(derive_secret(early, b"derived", b""), shared)
        r = (bytes([2, 1, responder_is, suite]) + randoms[1] + bindings[1]
             + u(group, 2) + vector(shares[1]))
        rm = r + finished(derive_secret(handshake, b"r hs traffic", im + r), im + r)
        master = extract(derive_secret(handshake, b"derived", b""), bytes(32))
        t = im + rm
        self.psk, self.identity, self.what, self.group = psk, identity, what, group
        self.suite, self.suites, self.initiator_is = suite, suites, initiator_is
        self.randoms, self.bindings, self.hellos = randoms, bindings, (im, rm)
        self.secrets = [derive_secret(master, label, t) for label in (b"i ap traffic", b"r ap traffic")]
        self.resumption = [derive_secret(master, label, t) for label in (b"i res", b"r res")]
        self.session = expand_label(master, b"session id", sha256(t), 8)

    def key_and_iv(self, sender):
        secret = self.secrets[sender - 1]
        return expand_label(secret, b"key", b"", 16), expand_label(secret, b"iv", b"", 12)

    def logged(self):
        both = self.key_and_iv(INITIATOR) + self.key_and_iv(RESPONDER)
        return self.session + b"".join(both)

    def seal(self, sender, kind, number, plaintext):
        key, iv = self.key_and_iv(sender)
        width = shortest(number)
        first = bytes([0x80 | kind << 5 | width])
        additional = self.session + u(sender, 1) + first + u(number, 6) + u(len(plaintext), 2)
        tag_len = {1: 8, 2: 16}[self.suite]
        return first + u(number, width) + ccm_seal(key, xor(iv, u(number, 12)), additional, plaintext,
                                                   tag_len)

    def print(self, name):
        print(f"handshake {name}")
        values = {
            "psk": self.psk, "identity": self.identity, "what": u(self.what, 1),
            "end": u(self.initiator_is, 1), "suites": bytes(self.suites), "suite": u(self.suite, 1),
            "group": u(self.group, 2), "initiator_private": self.private[0],
            "responder_private": self.private[1], "initiator_random": self.randoms[0],
            "responder_random": self.randoms[1], "initiator_binding": self.bindings[0],
            "responder_binding": self.bindings[1], "initiator_hello": self.hellos[0],
            "responder_hello": self.hellos[1], "initiator_secret": self.secrets[0],
            "responder_secret": self.secrets[1], "initiator_resumption": self.resumption[0],
            "responder_resumption": self.resumption[1], "session": self.session,
            "key_log": self.logged(),
        }
        for key, value in values.items():
            print(f"{key} = {value.hex()}")
        for sender, kind, number, plaintext in (
                (INITIATOR, DATA, 0, b"first data"), (RESPONDER, DATA, 0, b""),
                (RESPONDER, DATA, 1, bytes(range(64))), (INITIATOR, CONFIRMATION, 1, b""),
                (INITIATOR, DATA, 255, b"x"), (INITIATOR, DATA, 256, b"x"),
                (RESPONDER, DATA, 65_536, b"yz"), (INITIATOR, DATA, 2**23 - 1, b"last"),
                (RESPONDER, ALERT, 2**23 - 1, b"\0")):
            sealed = self.seal(sender, kind, number, plaintext)
            print(f"message {sender} {kind} {number} = {plaintext.hex()} {sealed.hex()}")


def shortest(number):
    return max(1, (number.bit_length() + 7) // 8)


# What the gateway reads.

def header(flow, is_control=False):
    first = 0xC0 | (0x20 if is_control else 0) | min(flow, 31)
    return u(first, 1) + (b"" if flow < 31 else u(flow, 2))


def routed():
    inner = b"\x81\x00abc"
    yield "inner", header(0) + inner
    yield "inner_30", header(30) + inner
    yield "inner_31", header(31) + inner
    yield "inner_65535", header(65_535) + inner
    yield "open", header(2, True) + b"\x01\x00" + vector(b"thermometer") + b"\x01\x01"
    yield "open_light", header(2, True) + b"\x01\x01" + vector(b"a") + b"\x01\x01"
    yield "open_without_name", header(300, True) + b"\x01\x00" + vector(b"")
    yield "close", header(2, True) + b"\x02\x02"
    yield "too_long", header(2, True) + b"\x03" + u(1400, 2)
    yield "user", header(0, True) + b"\x04\x01" + b"Bearer mF_9.B5f-4.1JqM"


def malformed():
    yield "empty", b""
    yield "coap", b"\x40\x01\x00\x01"
    yield "leg", b"\x90\x00\x00\x00\x01"
    yield "inner_without_octets", header(0)
    yield "flow_cut_off", b"\xdf\x01"
    yield "flow_30_in_two_octets", b"\xdf\x00\x1e\x81\x00abc"
    yield "control_without_type", header(2, True)
    yield "control_of_unknown_type", header(2, True) + b"\x09"
    yield "open_cut_off", header(2, True) + b"\x01\x00\x05abc"
    yield "open_with_64_octets", header(2, True) + b"\x01\x00" + vector(b"a" * 64)
    yield "close_without_reason", header(2, True) + b"\x02"
    yield "close_with_more", header(2, True) + b"\x02\x00\x00"
    yield "too_long_cut_off", header(2, True) + b"\x03\x05"
    yield "user_without_options", header(0, True) + b"\x04"
    yield "user_with_1025_octets", header(0, True) + b"\x04\x00" + b"a" * 1025


def light():
    """Two messages of the outer client and one of the server."""
    material = bytes(range(0x60, 0x60 + 56))
    print(f"light material = {material.hex()}")
    keys = {"client": (material[:16], material[32:44]), "server": (material[16:32], material[44:])}
    for sender, flow, number in (("client", 3, 0), ("client", 3, 256), ("server", 700, 5)):
        key, iv = keys[sender]
        inner = b"\x81\x07" + bytes(range(20))
        width = shortest(number)
        front = header(flow) + u(width, 1) + u(number, width) + inner
        tag = ccm_seal(key, xor(iv, u(number, 12)), front, b"", 8)
        print(f"light {sender} {flow} {number} = {inner.hex()} {(front + tag).hex()}")


def main():
    check_known_answers()
    print("# itls.py; docs/specs/itls.md")
    psk = bytes(range(0xA0, 0xB0))
    ephemeral = Handshake(psk, KEY, b"sensor-7", [1, 2], 1, X25519)
    ephemeral.print("x25519_ccm_8")
    Handshake(psk, KEY, b"", [2], 2, NONE, DEVICE).print("plain_ccm")
    # The device's outer session is new: it resumes with the responder's secret.
    resumed = Handshake(ephemeral.resumption[1], SESSION, ephemeral.session, [1], 1, NONE, DEVICE)
    resumed.print("resumed_by_the_responder")
    for name, value in routed():
        print(f"routed {name} = {value.hex()}")
    for name, value in malformed():
        print(f"malformed {name} = {value.hex()}")
    light()


main()
