#!/usr/bin/env python3
"""A client of connect-udp (RFC 9298) that shares no line with the gateway it talks to: HTTP/1.1 by
Python's own sockets, HTTP/2 by the package h2. It opens one tunnel, checks the response's fields, and
forwards between the tunnel and a UDP port on loopback, so that any DTLS client can use it:

    forward.py VERSION GATEWAY CERTIFICATE AUTHORIZATION TARGET LISTEN

VERSION is 1 or 2, GATEWAY and LISTEN are ADDRESS:PORT, TARGET is HOST/PORT as it stands in the path. It
prints `open` once it forwards, and `refused STATUS` with the fields if there is no tunnel. Capsules are
written and read here by RFC 9297 section 3 and RFC 9000 section 16; whatever isn't in their format ends
the program with 1. Some are written in longer forms than needed, and some of kinds that the gateway has
to skip, since both are legal.
"""

import select
import socket
import ssl
import sys


def varint(value, size=None):
    for octets, bits in ((1, 6), (2, 14), (4, 30), (8, 62)):
        if value < 1 << bits and size in (None, octets):
            form = value | {1: 0, 2: 1, 4: 2, 8: 3}[octets] << (octets * 8 - 2)
            return form.to_bytes(octets, "big")
    raise ValueError(value)


def read_varint(data):
    """Returns a value and what follows it, or None if it isn't all there."""
    if not data:
        return None
    size = 1 << (data[0] >> 6)
    if len(data) < size:
        return None
    return int.from_bytes(data[:size], "big") & ((1 << (size * 8 - 2)) - 1), data[size:]


def fail(text):
    print("FAULT: " + text, flush=True)
    sys.exit(1)


class Capsules:
    """Both directions of a tunnel's stream."""

    def __init__(self):
        self.data = b""
        self.sent = 0

    def encode(self, payload):
        self.sent += 1
        # Minimal first, then each integer in a longer form, in turn.
        sizes = [(None, None, None), (2, 4, 8), (8, 8, 1), (1, 8, 2)][self.sent % 4]
        value = varint(0, sizes[2]) + payload
        capsule = varint(0, sizes[0]) + varint(len(value), sizes[1]) + value
        if self.sent % 3 == 0:
            # A reserved type (RFC 9297 section 5.4), and a context that nobody has registered.
            capsule = varint(0x29 * self.sent + 0x17) + varint(3) + b"abc" + capsule
            unknown = varint(2 * self.sent) + b"context"
            capsule = varint(0) + varint(len(unknown)) + unknown + capsule
        return capsule

    def decode(self, data):
        self.data += data
        while True:
            head = read_varint(self.data)
            if head is None:
                return
            kind, rest = head
            head = read_varint(rest)
            if head is None:
                return
            length, rest = head
            if len(rest) < length:
                return
            value, self.data = rest[:length], rest[length:]
            if kind != 0:
                fail("a capsule of type %d, which this gateway has no reason to send" % kind)
            context = read_varint(value)
            if context is None or context[0] != 0:
                fail("a datagram without context 0: %s" % value.hex())
            if len(context[1]) > 65527:
                fail("a payload of %d bytes" % len(context[1]))
            yield context[1]


FORBIDDEN = ("content-length", "content-type", "transfer-encoding")


def check_fields(fields, expected):
    """RFC 9298 sections 3.3 and 3.5, RFC 9297 sections 3.2 and 3.4."""
    for name, value in expected:
        found = [other for field, other in fields if field == name]
        if [other.lower() for other in found] != [value.lower()]:
            fail("%s is %r, expected %r once" % (name, found, value))
    for name, _ in fields:
        if name in FORBIDDEN:
            fail("%s stands in a response that begins capsules" % name)


def refused(status, fields):
    if any(name == "capsule-protocol" for name, _ in fields):
        fail("capsule-protocol in a refusal")
    print("refused %d" % status, flush=True)
    for name, value in fields:
        print("%s: %s" % (name, value), flush=True)
    sys.exit(0)


class Http1:
    def __init__(self, connection, path, authority, authorization):
        self.connection = connection
        connection.sendall(
            (
                "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n"
                "Capsule-Protocol: ?1\r\nAuthorization: %s\r\n\r\n" % (path, authority, authorization)
            ).encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(4096)
            if not more:
                fail("closed within the head")
            head += more
        head, self.early = head.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        fields = [line.split(": ", 1) for line in lines[1:]]
        fields = [(name.lower(), value) for name, value in fields]
        status = int(lines[0].split(" ")[1])
        if status != 101:
            refused(status, fields)
        check_fields(
            fields,
            [("connection", "Upgrade"), ("upgrade", "connect-udp"), ("capsule-protocol", "?1")],
        )

    def receive(self):
        if self.early:
            early, self.early = self.early, b""
            return early
        return self.connection.recv(65536)

    def send(self, data):
        self.connection.sendall(data)


class Http2:
    def __init__(self, connection, path, authority, authorization):
        import h2.config
        import h2.connection
        import h2.events
        import h2.exceptions
        import h2.settings

        self.events, self.error = h2.events, h2.exceptions.ProtocolError
        self.connection = connection
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.http = h2.connection.H2Connection(config=config)
        self.http.initiate_connection()
        self.flush()
        self.early = b""
        self.is_over = False
        # RFC 8441 section 3: not before the server has said that it may be.
        code = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL
        while self.http.remote_settings.get(code) != 1:
            self.step()
        self.stream = self.http.get_next_available_stream_id()
        self.http.send_headers(
            self.stream,
            [
                (":method", "CONNECT"),
                (":protocol", "connect-udp"),
                (":scheme", "https"),
                (":path", path),
                (":authority", authority),
                ("capsule-protocol", "?1"),
                ("authorization", authorization),
            ],
        )
        self.flush()
        self.fields = None
        while self.fields is None:
            self.early += self.step()
        status = int(dict(self.fields)[":status"])
        fields = [(name, value) for name, value in self.fields if not name.startswith(":")]
        if status != 200:
            refused(status, fields)
        check_fields(fields, [("capsule-protocol", "?1")])

    def flush(self):
        self.connection.sendall(self.http.data_to_send())

    def step(self):
        """Reads what there is and returns the tunnel's bytes in it."""
        data = self.connection.recv(65536)
        if not data:
            self.is_over = True
            return b""
        bytes_of_stream = b""
        try:
            events = self.http.receive_data(data)
        except self.error:
            # h2 takes nothing more once it has seen a GOAWAY, be it only an announcement.
            if self.http.state_machine.state.name != "CLOSED":
                raise
            self.is_over = True
            return b""
        for event in events:
            if isinstance(event, self.events.ResponseReceived):
                self.fields = event.headers
            elif isinstance(event, self.events.DataReceived):
                bytes_of_stream += event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (self.events.StreamEnded, self.events.StreamReset)):
                self.is_over = True
        self.flush()
        return bytes_of_stream

    def receive(self):
        if self.early:
            early, self.early = self.early, b""
            return early
        while not self.is_over:
            data = self.step()
            if data or not self.connection.pending():
                return data if data or self.is_over else None
        return b""

    def send(self, data):
        while data:
            room = min(self.http.local_flow_control_window(self.stream), 16384)
            self.http.send_data(self.stream, data[:room])
            data = data[room:]
            self.flush()


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    version, gateway, certificate, authorization, target, listen = sys.argv[1:]
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2" if version == "2" else "http/1.1"])
    stream = socket.create_connection(address(gateway))
    stream = context.wrap_socket(stream, server_hostname=address(gateway)[0])
    make = {"1": Http1, "2": Http2}[version]
    path = "/.well-known/masque/udp/%s/" % target
    tunnel = make(stream, path, gateway, authorization)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(address(listen))
    capsules, peer, counts = Capsules(), None, [0, 0]
    print("open", flush=True)
    while True:
        waits = not stream.pending() and not tunnel.early
        ready, _, _ = select.select([stream, udp], [], [], None if waits else 0)
        if udp in ready:
            payload, peer = udp.recvfrom(65536)
            counts[0] += 1
            tunnel.send(capsules.encode(payload))
        if stream in ready or not waits:
            data = tunnel.receive()
            if data == b"":
                print("ended after %d up, %d down" % tuple(counts), flush=True)
                return
            for payload in capsules.decode(data or b""):
                counts[1] += 1
                if peer is not None:
                    udp.sendto(payload, peer)


main()
