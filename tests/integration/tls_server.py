"""A database server whose TLS is asyncio's: it reads and writes the socket itself and hands OpenSSL the
bytes. Protocol and command line as in tls_server.c."""

import asyncio
import itertools
import socket
import ssl
import struct
import sys

PORT, KEY, CERT = sys.argv[1:]
IDS = itertools.count(1)


def packet(sequence, body):
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body


def greeting(number):
    return packet(0, b"\n9.9.9-tls\0" + struct.pack("<I", number) + b"scramble\0"
                  + b"\x08\xaa\x21\x02\x00\x08\x00\x15" + bytes(10) + b"scramble4321\0mysql_native_password\0")


def ok(sequence):
    return packet(sequence, b"\0\0\0\2\0\0\0")


async def read_packet(reader):
    header = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(header[:3], "little"))


async def serve(reader, writer):
    try:
        await read_packet(reader)
        writer.write(ok(3))
        while (body := await read_packet(reader))[:1] != b"\1":
            if body[1:].startswith(b"sleep "):
                await asyncio.sleep(int(body[7:]) / 1000)
            writer.write(ok(1))
    except (OSError, EOFError):
        pass
    writer.close()


async def begin(connection, context):
    """The greeting and the request for TLS, no byte more, then TLS."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, greeting(next(IDS)))
    left = 36
    while left:
        left -= len(await loop.sock_recv(connection, left))
    await loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve),
                                       connection, ssl=context)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERT, KEY)
    loop, tasks = asyncio.get_running_loop(), []
    with socket.create_server(("127.0.0.1", int(PORT))) as listener:
        listener.setblocking(False)
        print("ready", flush=True)
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            tasks.append(loop.create_task(begin(connection, context)))


asyncio.run(main())
