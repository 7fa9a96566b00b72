"""What a Python team would build instead of an exchange core: PostgreSQL, or Redis streams.

The same orders as those of `flopex bench exchange` go (a) through a PostgreSQL transaction that
holds the worst case in one UPDATE and writes the order in one INSERT, with synchronous commit, and
(b) into a Redis stream with `appendfsync always`. Neither matches, checks rules or replays: each
does the durable part only. Both servers are the installed ones, started here with folders of their
own, on a Unix socket. Clients wait for each answer before the next order, on several connections
at a time, so the figure is the throughput of a closed loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from exchange.client.loop_thread import LoopThread
from flopex.bench.flow import Flow
from flopex.bench.machine import machine

ACCOUNTS: Final = 1_000
FUNDS_NANOS: Final = 10**15
MFLOP_PER_CU: Final = 1_000_000
CONNECTIONS: Final = (1, 16, 64)
PIPELINE: Final = 128
"""Orders of one message, for the batched form of Redis."""
START_WITHIN_S: Final = 30.0
NOBODY: Final = 65_534
"""PostgreSQL refuses to run as root; then it runs as this user."""

SCHEMA: Final = """
CREATE TABLE accounts (
    account_id INTEGER PRIMARY KEY, available_nanos BIGINT NOT NULL, held_nanos BIGINT NOT NULL);
CREATE TABLE orders (
    order_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client_order_id BYTEA UNIQUE NOT NULL,
    account_id INTEGER NOT NULL, side SMALLINT NOT NULL, price_nanos BIGINT NOT NULL,
    quantity_mflop BIGINT NOT NULL, held_nanos BIGINT NOT NULL);
"""
HOLD: Final = (
    "UPDATE accounts SET available_nanos = available_nanos - %s, held_nanos = held_nanos + %s "
    "WHERE account_id = %s AND available_nanos >= %s"
)
PLACE: Final = (
    "INSERT INTO orders (client_order_id, account_id, side, price_nanos, quantity_mflop, "
    "held_nanos) VALUES (%s, %s, %s, %s, %s, %s)"
)

Report = Callable[[str, dict[str, Any]], None]


class Settings(NamedTuple):
    """Of a run.

    Attributes:
        directory: A folder on the disk to use.
        seconds: How long each row is measured.
        seed: Of the orders.
    """

    directory: Path
    seconds: float
    seed: int


class Order(NamedTuple):
    """What both are given of an order."""

    client_order_id: bytes
    account_id: int
    side: int
    price_nanos: int
    quantity_mflop: int

    @property
    def cost_nanos(self) -> int:
        """The worst case, rounded up."""
        return -(-self.price_nanos * self.quantity_mflop // MFLOP_PER_CU)


def run(settings: Settings, report: Report) -> dict[str, Any]:
    """Measure what is installed; a rival that is not is None.

    Raises:
        FileNotFoundError: the folder does not exist.
        RuntimeError: a server does not start, or lost an order.
        OSError: the folder cannot be used.
    """
    if not settings.directory.is_dir():
        raise FileNotFoundError(f"{settings.directory} is no folder: name one that exists")
    postgres = _measure("postgres", _postgres_server, _postgres_rows, settings, report)
    redis = _measure("redis", _redis_server, _redis_rows, settings, report)
    return {
        "machine": machine(),
        "settings": {**settings._asdict(), "directory": str(settings.directory)},
        "postgres_per_s": _best(postgres, batch=1),
        "redis_per_s": _best(redis, batch=1),
        "redis_batched_per_s": _best(redis, batch=PIPELINE),
        "postgres": postgres,
        "redis": redis,
    }


def _best(found: dict[str, Any] | None, batch: int) -> int | None:
    if found is None:
        return None
    return max(int(row["per_s"]) for row in found["rows"] if row["batch"] == batch)


def _measure(
    name: str,
    serve: Callable[[Path], contextlib.AbstractContextManager[str] | None],
    rows: Callable[[str, Settings, Report], Coroutine[Any, Any, list[dict[str, Any]]]],
    settings: Settings,
    report: Report,
) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory(prefix=f"flopex-{name}-", dir=settings.directory) as folder:
        server = serve(Path(folder).absolute())
        if server is None:
            return None
        with server as url:
            # A command calls this on the thread of its own loop, on which no other may run.
            with contextlib.closing(LoopThread()) as beside:
                found = beside.run(rows(url, settings, report))
            return {"version": _version(name), "rows": found}


# ---- PostgreSQL ----


def _binary(name: str) -> Path | None:
    """A server's program: on the path, or where Debian puts PostgreSQL's."""
    found = shutil.which(name)
    if found:
        return Path(found)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return places[-1] if places else None


def _version(name: str) -> str:
    program = _binary({"postgres": "postgres", "redis": "redis-server"}[name])
    asked = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def _postgres_server(folder: Path) -> contextlib.AbstractContextManager[str] | None:
    initdb, control = _binary("initdb"), _binary("pg_ctl")
    if initdb is None or control is None or not _has_module("psycopg"):
        return None
    return _running_postgres(folder, initdb, control)


@contextlib.contextmanager
def _running_postgres(folder: Path, initdb: Path, control: Path) -> Iterator[str]:
    user = NOBODY if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)

    def call(*arguments: str) -> None:
        done = subprocess.run(
            arguments, user=user, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            hint = "; started by root it runs as nobody, who must be able to enter the folder"
            raise RuntimeError(
                f"{arguments[0]} failed: {done.stderr.strip()}{hint if user else ''}"
            )

    data = folder / "data"
    call(str(initdb), "-D", str(data), "-U", "flopex", "--auth=trust")
    options = (
        f"-c listen_addresses='' -c unix_socket_directories='{folder}' "
        "-c synchronous_commit=on -c fsync=on -c max_connections=200"
    )
    log = str(folder / "log")
    # Its output goes to the log: with pipes for it, this would wait until the server ends.
    subprocess.run(
        [str(control), "-D", str(data), "-l", log, "-w", "-o", options, "start"],
        user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"postgresql://flopex@/postgres?host={folder}"
    finally:
        call(str(control), "-D", str(data), "-m", "fast", "-w", "stop")


async def _postgres_rows(url: str, settings: Settings, report: Report) -> list[dict[str, Any]]:
    import psycopg

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(SCHEMA.encode())
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO accounts VALUES (%s, %s, 0)",
                [(account_id, FUNDS_NANOS) for account_id in range(ACCOUNTS)],
            )
    rows = []
    placed = 0
    for number, connections in enumerate(CONNECTIONS):
        orders = [_orders(settings.seed, 100 * number + at) for at in range(connections)]
        async with contextlib.AsyncExitStack() as opened:
            placers = [
                await opened.enter_async_context(_postgres_placer(url)) for _ in range(connections)
            ]
            row = await _closed_loop(placers, orders, settings.seconds, 1)
        report("postgres", row)
        rows.append(row)
        placed += row["orders"]
    async with await psycopg.AsyncConnection.connect(url) as connection:
        counted = await (await connection.execute("SELECT COUNT(*) FROM orders")).fetchone()
    if counted != (placed,):
        raise RuntimeError(f"PostgreSQL holds {counted} orders of {placed}")
    return rows


Placer = Callable[[list[Order]], Awaitable[None]]


@contextlib.asynccontextmanager
async def _postgres_placer(url: str) -> AsyncIterator[Placer]:
    """One connection; both statements and the commit go out in one round trip."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

        async def place(orders: list[Order]) -> None:
            (order,) = orders
            cost = order.cost_nanos
            async with connection.pipeline(), connection.transaction():
                held = await connection.execute(HOLD, (cost, cost, order.account_id, cost))
                await connection.execute(PLACE, (*order, cost))
            if held.rowcount != 1:
                raise RuntimeError("an account has run out of money")

        yield place


# ---- Redis ----


def _redis_server(folder: Path) -> contextlib.AbstractContextManager[str] | None:
    program = _binary("redis-server")
    if program is None or not _has_module("redis"):
        return None
    return _running_redis(folder, program)


@contextlib.contextmanager
def _running_redis(folder: Path, program: Path) -> Iterator[str]:
    socket = folder / "socket"
    process = subprocess.Popen(
        [
            str(program), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
            "--save", "", "--appendonly", "yes", "--appendfsync", "always",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()


async def _redis_rows(url: str, settings: Settings, report: Report) -> list[dict[str, Any]]:
    from redis.asyncio import Redis

    rows = []
    placed = 0
    for number, (connections, batch) in enumerate(
        [*((count, 1) for count in CONNECTIONS), *((count, PIPELINE) for count in (1, 16))]
    ):
        orders = [_orders(settings.seed, 100 * number + at) for at in range(connections)]
        clients = [Redis.from_url(url) for _ in range(connections)]
        try:
            placers = [_redis_placer(client) for client in clients]
            row = await _closed_loop(placers, orders, settings.seconds, batch)
        finally:
            for client in clients:
                await client.aclose()
        report("redis", row)
        rows.append(row)
        placed += row["orders"]
    client = Redis.from_url(url)
    counted = await client.xlen("orders")
    await client.aclose()
    if counted != placed:
        raise RuntimeError(f"Redis holds {counted} orders of {placed}")
    return rows


def _redis_placer(client: Any) -> Placer:
    async def place(orders: list[Order]) -> None:
        if len(orders) == 1:
            await client.xadd("orders", _fields(orders[0]))
            return
        async with client.pipeline(transaction=False) as pipeline:
            for order in orders:
                pipeline.xadd("orders", _fields(order))
            await pipeline.execute()

    return place


def _fields(order: Order) -> dict[Any, Any]:
    return {
        "id": order.client_order_id,
        "account": order.account_id,
        "side": order.side,
        "price": order.price_nanos,
        "quantity": order.quantity_mflop,
    }


# ---- both ----


def _has_module(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _orders(seed: int, stream: int) -> Iterator[Order]:
    """Orders as the exchange's own benchmark makes them, of accounts at random."""
    flow = Flow(seed, stream % 256, 1)
    rng = random.Random(seed * 100_003 + stream)
    while True:
        made = flow.place()
        # Streams of several rows share a prefix; the database must see every id once.
        unique = made.client_order_id[:7] + stream.to_bytes(2) + made.client_order_id[9:]
        yield Order(
            unique, rng.randrange(ACCOUNTS), made.side, made.price_nanos, made.quantity_mflop
        )


async def _closed_loop(
    placers: list[Placer], orders: list[Iterator[Order]], seconds: float, batch: int
) -> dict[str, Any]:
    """All placers at once, each waiting for its answer, for so long; figures of the row."""
    latencies: list[float] = []
    began, cpu_began = time.perf_counter(), time.process_time()
    stop_at = began + seconds

    async def go_on(place: Placer, source: Iterator[Order]) -> None:
        while time.perf_counter() < stop_at:
            group = [next(source) for _ in range(batch)]
            sent = time.perf_counter()
            await place(group)
            latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*map(go_on, placers, orders))
    took, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    latencies.sort()
    count = len(latencies) * batch
    return {
        "connections": len(placers),
        "batch": batch,
        "orders": count,
        "per_s": round(count / took),
        "p50_ms": round(1e3 * latencies[len(latencies) // 2], 3),
        "p99_ms": round(1e3 * latencies[int(0.99 * len(latencies))], 3),
        "client_cpu_us_per_order": round(1e6 * cpu_s / count, 1),
    }
