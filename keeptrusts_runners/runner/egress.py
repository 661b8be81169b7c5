"""The harness's way out: a proxy on loopback that lets a connection pass under a grant only.

It speaks CONNECT and plain HTTP, one request a connection. Each connection needs a grant
``network.egress:HOST:PORT`` of the session, is recorded as a use of it, and is cut when that grant
or the lease ends. One event loop on a thread of its own serves one harness process; what blocks,
the control plane and the look-up of names, is asked on threads that nobody waits for at the end.
"""

import asyncio
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

from keeptrusts_runners.runner.egress_grants import Grants, Pass
from keeptrusts_runners.runner.egress_notes import Note, Notes
from keeptrusts_runners.runner.egress_request import HEAD_LIMIT, Refused, Request, read_request
from keeptrusts_runners.runner.egress_target import Address, BadTarget, Target, permitted
from keeptrusts_runners.runner.events import EventStream
from keeptrusts_runners.runner.lease import Lease, now

CONNECTIONS = 64
POLL_SECONDS = 2.0
HEAD_SECONDS = 5.0
CONNECT_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0
_CHUNK = 65536

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class EgressProxy:
    """Serves from ``with`` to its end; then every connection is closed, in both directions."""

    def __init__(
        self,
        grants: Grants,
        lease: Lease,
        events: EventStream,
        url: str,
        private_names: list[str],
    ) -> None:
        self._grants = grants
        self._lease = lease
        self._private_names = private_names
        self._control_plane = urlsplit(url).netloc
        self._free = _target_of(url)
        self._password = secrets.token_urlsafe(18)
        self._notes = Notes(events.put)
        self._open: set[_Connection] = set()
        self._stopped = asyncio.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="egress", daemon=True)

    def environment(self) -> dict[str, str]:
        """The variables that lead a harness here, and directly to the control plane."""
        port = self._listener.getsockname()[1]
        here = f"http://session:{self._password}@127.0.0.1:{port}"
        return {
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), here),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), self._control_plane),
        }

    def __enter__(self) -> "EgressProxy":
        self._lease.on_lost = self._stop
        self._thread.start()
        if self._lease.lost is not None:
            self._stop()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join()
        self._notes.close(give_up=lambda: self._lease.lost is not None)

    def _stop(self) -> None:
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._stopped.set)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        """Whatever is still open when this returns is cancelled, and so cut."""
        server = await asyncio.start_server(self._accept, sock=self._listener, limit=HEAD_LIMIT)
        poll = asyncio.create_task(self._poll())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            # However the poll ends, nothing may stay open without it.
            await asyncio.wait((poll, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.close()

    async def _accept(self, *client: Any) -> None:
        connection = _Connection(*client)
        if len(self._open) >= CONNECTIONS:
            message = f"{CONNECTIONS} connections are open already"
            self._notes.add(Note("refused", "connections"))
            connection.answer(Refused(503, "connections", message))
            return
        self._open.add(connection)
        try:
            await self._let_pass(connection)
        except Refused as refusal:
            if refusal.reason:
                self._notes.add(Note("refused", refusal.reason, connection.target))
            await connection.take_leave(refusal)
        except (OSError, EOFError):
            pass
        finally:
            self._open.discard(connection)
            connection.cut()

    async def _let_pass(self, connection: "_Connection") -> None:
        request = await connection.read(self._password)
        target = connection.target = request.target
        if target == self._free:
            allowed = Pass("", float("inf"), single_use=True)
            addresses = await _look_up(target)
        else:
            # A name is looked up only once it is granted: a look-up carries it out of the house.
            await _apart(lambda: self._grants.require(target))
            addresses = await self._permitted(target)
            allowed = await _apart(lambda: self._grants.use(target))
        try:
            async with asyncio.timeout(_finite(allowed.ends_at - now())) as end:
                connection.hold(allowed, end)
                await connection.serve(request, addresses)
        except TimeoutError:
            if end.expired():
                self._notes.add(Note("cut", connection.cut_because, target))

    async def _permitted(self, target: Target) -> list[str]:
        if target.address is not None:
            return [str(target.address)]
        found = await _look_up(target)
        addresses = permitted(target, [_address(text) for text in found], self._private_names)
        if not addresses:
            message = f"{target.host} leads to {found[0]}, which a name may not; grant the address"
            raise Refused(403, "private_address", message)
        return addresses

    async def _poll(self) -> None:
        """Notice grants that end early, or later than before; asks only while something is open."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            # From before the question: what was allowed since is not in its answer.
            held = [connection for connection in self._open if connection.is_watched]
            if not held:
                continue
            with suppress(Refused):
                active = await _apart(self._grants.active)
                for connection in held:
                    if connection.grant_id in active:
                        connection.end_at(active[connection.grant_id])
                    else:
                        connection.end_now("grant_ended")


class _Connection:
    """One client, and once it is allowed the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client = (reader, writer)
        self._sides = [writer]
        self._allowed: Pass | None = None
        self._end: asyncio.Timeout | None = None
        self.target: Target | None = None
        self.cut_because = "grant_expired"

    @property
    def grant_id(self) -> str:
        return self._allowed.grant_id if self._allowed else ""

    @property
    def is_watched(self) -> bool:
        return self._allowed is not None and not self._allowed.single_use

    async def read(self, password: str) -> Request:
        """Raises Refused; EOFError where the client said nothing."""
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                return read_request(await self._client[0].readuntil(b"\r\n\r\n"), password)
        except TimeoutError:
            raise Refused(408, "malformed", f"no request within {HEAD_SECONDS:g} s") from None
        except asyncio.LimitOverrunError:
            raise Refused(431, "malformed", f"a head of more than {HEAD_LIMIT} bytes") from None
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise
            raise Refused(400, "malformed", "the request ends within its head") from None

    def hold(self, allowed: Pass, end: asyncio.Timeout) -> None:
        """From now on `end_now` ends it."""
        self._allowed, self._end = allowed, end

    def end_at(self, moment: float) -> None:
        """By the lease's clock: its grant may have been renewed."""
        left = _finite(moment - now())
        if self._end is not None and left is not None:
            with suppress(RuntimeError):  # it is ending
                self._end.reschedule(asyncio.get_running_loop().time() + left)

    def end_now(self, reason: str) -> None:
        if self._end is not None:
            self.cut_because = reason
            with suppress(RuntimeError):  # it is ending
                self._end.reschedule(0)

    async def serve(self, request: Request, addresses: list[str]) -> None:
        """Connect and relay until both sides are done. Raises Refused when nobody answers."""
        upstream = await _connect(addresses, request.target)
        self._sides.append(upstream[1])
        reader, writer = self._client
        if request.head is None:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ways = [_pump(reader, upstream[1]), _pump(upstream[0], writer)]
            await _together(ways, asyncio.FIRST_EXCEPTION)
        else:
            upstream[1].write(request.head)
            ways = [_send_body(reader, upstream[1], request.body_bytes), _pump(upstream[0], writer)]
            await _together(ways, asyncio.FIRST_COMPLETED)
        for side in self._sides:
            side.close()
            await side.wait_closed()

    def answer(self, refusal: Refused) -> None:
        """Write the refusal and close when it is written."""
        writer = self._client[1]
        writer.write(_answer(refusal))
        writer.close()

    async def take_leave(self, refusal: Refused) -> None:
        """Write the refusal, and hear the client out for a moment: bytes that are still on their
        way would have the system take the answer back."""
        reader, writer = self._client
        writer.write(_answer(refusal))
        with suppress(OSError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await writer.drain()
                writer.write_eof()
                while await reader.read(_CHUNK):
                    pass

    def cut(self) -> None:
        """Close both sides at once, whatever is on its way."""
        for side in self._sides:
            side.transport.abort()


def _answer(refusal: Refused) -> bytes:
    body = f"{refusal}\n".encode()
    fields = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    if refusal.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        fields["Proxy-Authenticate"] = 'Basic realm="session"'
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    phrase = HTTPStatus(refusal.status).phrase
    return f"HTTP/1.1 {refusal.status} {phrase}\r\n{head}\r\n".encode() + body


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Bytes as they come, and then the end of them."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    sink.write_eof()


async def _send_body(source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int) -> None:
    """So many bytes and no more; then wait for the client to leave."""
    while left and (data := await source.read(min(left, _CHUNK))):
        sink.write(data)
        await sink.drain()
        left -= len(data)
    while await source.read(_CHUNK):
        pass


async def _together(ways: Iterable[Coroutine[Any, Any, None]], until: str) -> None:
    """Run all until `until`; a broken connection ends it as a closed one does."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=until)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connect(addresses: list[str], target: Target) -> Streams:
    """To the first address that answers, by itself: nothing is looked up again."""
    last: OSError = OSError("no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(address, target.port)
        except OSError as error:
            last = error
    why = "no answer in time" if isinstance(last, TimeoutError) else str(last)
    raise Refused(502, "", f"{target} cannot be reached: {why}")


async def _look_up(target: Target) -> list[str]:
    if target.address is not None:
        return [str(target.address)]
    try:
        found = await _apart(
            lambda: socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        )
    except (OSError, UnicodeError) as error:
        raise Refused(502, "", f"{target.host} cannot be looked up: {error}") from None
    return [str(entry[4][0]) for entry in found]


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _target_of(url: str) -> Target | None:
    """Where the control plane is; None where that is no name that could be asked for."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    with suppress(BadTarget):
        return Target.of(f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}")
    return None


def _finite(seconds: float) -> float | None:
    return None if seconds == float("inf") else seconds


async def _apart(work: Callable[[], T]) -> T:
    """The result of what blocks, from a daemon thread: one that hangs holds up no end."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(take: Callable[[Any], None], value: Any) -> None:
        def take_unless_gone() -> None:
            if not result.done():
                take(value)

        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(take_unless_gone)

    def run() -> None:
        try:
            settle(result.set_result, work())
        except Exception as error:
            settle(result.set_exception, error)

    threading.Thread(target=run, name="egress asks", daemon=True).start()
    return await result
