"""Messages over a socket between a driver and its worker process: eight bytes of length, then the
bytes. Both ends are ours, of one version, on one machine."""

from __future__ import annotations

import socket
import struct

_LENGTH = struct.Struct("!Q")
# One write up to here; beyond it a copy to join length and bytes costs more than a second call.
_JOIN_BYTES = 1 << 16


def send(sock: socket.socket, data: bytes) -> None:
    length = _LENGTH.pack(len(data))
    if len(data) <= _JOIN_BYTES:
        sock.sendall(length + data)
    else:
        sock.sendall(length)
        sock.sendall(data)


def receive(sock: socket.socket) -> bytes:
    """The next message. Raises EOFError when the other end is gone."""
    return _exactly(sock, _LENGTH.unpack(_exactly(sock, _LENGTH.size))[0])


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    view, have = memoryview(data), 0
    while have < size:
        try:
            got = sock.recv_into(view[have:])
        except ConnectionResetError:  # the other end died with something of ours unread
            got = 0
        if not got:
            raise EOFError
        have += got
    return bytes(data)
