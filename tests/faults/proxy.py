#!/usr/bin/env python3
"""A TCP proxy that spoils connections, with the seven toxics of Toxiproxy.

  proxy.py --upstream PORT [--seed N] [--toxic NAME[:KEY=VALUE,…]]…

Prints "port N", then obeys lines on standard input, each answered with "ok":

  add NAME[:KEY=VALUE,…]   new connections and running ones get the toxic
  remove NAME | clear
  stop                     ends it (so does the end of the input)

Toxics (each with stream=down|up|both, down is towards the client, and
toxicity=0…1, the share of connections that get it):

  latency     latency, jitter (ms): every piece comes later, order kept
  down        connections are refused or cut at once
  bandwidth   rate (kB/s)
  slow_close  delay (ms): the end of a stream comes late
  timeout     timeout (ms): nothing passes; after it the connection is cut (0: never)
  slicer      average_size, size_variation (bytes), delay (us): small pieces
  limit_data  bytes: so many pass, then the connection is cut

All chance comes from --seed and the number of the connection.
"""
import argparse
import asyncio
import random
import socket
import struct
import sys

DEFAULTS = {
    "latency": {"latency": 100, "jitter": 0},
    "down": {},
    "bandwidth": {"rate": 10},
    "slow_close": {"delay": 1000},
    "timeout": {"timeout": 1000},
    "slicer": {"average_size": 16, "size_variation": 8, "delay": 100},
    "limit_data": {"bytes": 100},
}


def parse_toxic(text):
    name, _, pairs = text.partition(":")
    toxic = dict(DEFAULTS[name], stream="down", toxicity=1.0)
    for pair in filter(None, pairs.split(",")):
        key, value = pair.split("=")
        if key not in toxic:
            raise ValueError(f"{name} has no {key}")
        toxic[key] = value if key == "stream" else float(value)
    return name, toxic


class Cut(Exception):
    """The connection ends now."""


class Pipe:
    """One direction of a connection."""

    def __init__(self, proxy, connection, stream):
        self.proxy, self.stream, self.passed = proxy, stream, 0
        self.luck = {}
        self.random = random.Random(f"{proxy.seed} {connection} {stream}")

    def toxic(self, name):
        toxic = self.proxy.toxics.get(name)
        if not toxic or toxic["stream"] not in (self.stream, "both"):
            return None
        if self.luck.setdefault(name, self.random.random()) >= toxic["toxicity"]:
            return None
        return toxic

    def slices(self, data):
        toxic = self.toxic("slicer")
        if not toxic:
            yield data, 0
            return
        while data:
            size = toxic["average_size"] + self.random.uniform(-1, 1) * toxic["size_variation"]
            size = max(1, int(size))
            yield data[:size], toxic["delay"] / 1e6
            data = data[size:]

    async def write(self, writer, data):
        for piece, pause in self.slices(data):
            limit = self.toxic("limit_data")
            if limit:
                piece = piece[:max(0, int(limit["bytes"]) - self.passed)]
            writer.write(piece)
            await writer.drain()
            self.passed += len(piece)
            if limit and self.passed >= limit["bytes"]:
                raise Cut
            bandwidth = self.toxic("bandwidth")
            if bandwidth:
                pause += len(piece) / (bandwidth["rate"] * 1000)
            if pause:
                await asyncio.sleep(pause)

    async def stall(self):
        """While the timeout toxic is there nothing passes."""
        waited = 0.0
        while True:
            toxic = self.toxic("timeout")
            if not toxic:
                return
            if toxic["timeout"] and waited * 1000 >= toxic["timeout"]:
                raise Cut
            await asyncio.sleep(0.01)
            waited += 0.01

    async def run(self, reader, writer):
        while True:
            await self.stall()
            data = await reader.read(65536)
            if self.toxic("down"):
                raise Cut
            await self.stall()
            latency = self.toxic("latency")
            if latency and data:
                ms = latency["latency"] + self.random.uniform(-1, 1) * latency["jitter"]
                await asyncio.sleep(max(0, ms) / 1000)
            if not data:
                break
            await self.write(writer, data)
        slow = self.toxic("slow_close")
        if slow:
            await asyncio.sleep(slow["delay"] / 1000)
        if writer.can_write_eof():
            writer.write_eof()


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    def __init__(self, upstream, seed):
        self.upstream, self.seed = upstream, seed
        self.toxics, self.connections, self.open = {}, 0, set()

    async def accept(self, reader, writer):
        self.connections += 1
        number = self.connections
        if "down" in self.toxics:
            reset(writer)
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            reset(writer)
            return
        tasks = [asyncio.ensure_future(Pipe(self, number, "up").run(reader, up_writer)),
                 asyncio.ensure_future(Pipe(self, number, "down").run(up_reader, writer))]
        ends = (writer, up_writer)
        self.open.add(ends)
        try:
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:  # the proxy ends
            return
        cut = any(task.exception() for task in done)
        for task in rest:
            task.cancel()
        for end in ends:
            reset(end) if cut else end.close()
        self.open.discard(ends)

    def obey(self, line):
        verb, _, rest = line.strip().partition(" ")
        if verb == "add":
            name, toxic = parse_toxic(rest)
            self.toxics[name] = toxic
            if name == "down":
                for ends in list(self.open):
                    for end in ends:
                        reset(end)
        elif verb == "remove":
            self.toxics.pop(rest, None)
        elif verb == "clear":
            self.toxics.clear()
        else:
            raise ValueError(f"unknown verb {verb}")


async def run(options):
    proxy = Proxy(options.upstream, options.seed)
    for text in options.toxic:
        name, toxic = parse_toxic(text)
        proxy.toxics[name] = toxic
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, backlog=512)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while True:
        line = (await lines.readline()).decode()
        if not line or line.strip() == "stop":
            break
        try:
            proxy.obey(line)
            print("ok", flush=True)
        except (ValueError, KeyError) as error:
            print("error", error, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--toxic", action="append", default=[])
    asyncio.run(run(parser.parse_args()))


main()
