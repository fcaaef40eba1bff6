"""OceanBase 2.0 frames (protocol.md 2.5), both ways: what its drivers and ODP send after login, and what an
observer answers."""

import struct

EXTRA, LAST = 1, 2
HEADER, TAIL = 31, 4


def frame(packets, seq=0, connection=0, request=0, flags=LAST, extra=None):
    """MySQL packets in one frame; with extra information in front if there is some."""
    payload = packets
    if extra is not None:
        payload = struct.pack("<I", len(extra)) + extra + packets
        flags |= EXTRA
    head = struct.pack("<HHI", 0x20AB, 20, connection) + request.to_bytes(3, "little")
    head += struct.pack("<BIIHH", seq & 255, len(payload), flags, 0, 0)
    length = len(payload) + len(head) + TAIL
    return length.to_bytes(3, "little") + bytes([seq & 255]) + b"\0\0\0" + head + payload + b"\0\0\0\0"


def take(data):
    """The first frame of data: (its packets, flags, bytes that it took); None when it is not whole."""
    if len(data) < HEADER:
        return None
    size, flags = struct.unpack_from("<II", data, 19)
    whole = HEADER + size + TAIL
    if len(data) < whole:
        return None
    payload = data[HEADER:HEADER + size]
    if flags & EXTRA:
        payload = payload[4 + struct.unpack_from("<I", payload)[0]:]
    return payload, flags, whole
