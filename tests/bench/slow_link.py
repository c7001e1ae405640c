"""A line between two ends that is slow and far: ``python -m tests.bench.slow_link PORT TARGET DELAY_MS MBIT``.

Listens on PORT and passes every connection on to port TARGET. In each direction a byte takes DELAY_MS, and MBIT million
bits a second pass, those of all connections together; what waits for the line is bounded, as in a router. Delayed
acknowledgements are those of the system. Prints a line of JSON at each end of a connection: when the first connection
began and when the last byte passed (monotonic clock), how many bytes went to the target and back, how many connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass, field

PIECE = 1 << 14

# Seconds' worth of bytes that may wait for the line.
QUEUE_SECONDS = 0.05


@dataclass
class Line:
    """One direction of the line.

    Parameters
    ----------
    delay : float
        Seconds that a byte is on its way.
    rate : float
        Bytes a second.
    """

    delay: float
    rate: float
    count: int = 0
    _free: float = 0.0  # when the last byte will have entered the line

    async def enter(self, size: int) -> float:
        """Wait until there is room for `size` bytes; return when they arrive."""
        await asyncio.sleep(self._free - QUEUE_SECONDS - time.monotonic())
        self._free = max(self._free, time.monotonic()) + size / self.rate
        self.count += size
        return self._free + self.delay


@dataclass
class Seen:
    """What has passed."""

    began: float = 0.0
    ended: float = 0.0
    forth: int = 0
    back: int = 0
    connections: int = 0


@dataclass
class Link:
    """Both directions, and the connections that use them."""

    target: int
    forth: Line
    back: Line
    seen: Seen = field(default_factory=Seen)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection until both sides have closed it."""
        came = time.monotonic()
        await asyncio.sleep(self.forth.delay + self.back.delay)  # TCP's own way there and back
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        for end in (writer, there[1]):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = self.forth.count
        await asyncio.gather(self._pass(reader, there[1], self.forth), self._pass(there[0], writer, self.back))
        if self.forth.count == before:  # somebody has only looked whether there is anybody
            return
        self.seen.began = min(self.seen.began or came, came)
        self.seen.connections += 1
        self.seen.forth, self.seen.back = self.forth.count, self.back.count
        print(json.dumps(asdict(self.seen)), flush=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, writer))
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                under_way.put_nowait((await line.enter(len(data)), data))
        under_way.put_nowait((time.monotonic() + line.delay, b""))
        await arriving

    async def _arrive(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - time.monotonic())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
                self.seen.ended = time.monotonic()
        writer.close()


async def main(port: int, target: int, delay_ms: float, mbit: float) -> None:
    """Serve for ever."""
    lines = [Line(delay_ms / 1000, mbit * 1e6 / 8) for _ in range(2)]
    server = await asyncio.start_server(Link(target, *lines).connect, "127.0.0.1", port, limit=PIECE)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
