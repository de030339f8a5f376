import asyncio

from component.http2 import frames
from component.http2.hpack import literal
from lab.bench import fanout_limit
from lab.bench.api_load import Connection, Http2Connection, Order, Request, requests_of
from lab.bench.watch_load import MARK, Tally


class Transport:
    def __init__(self, connection: Connection | Http2Connection, pieces: list[bytes]) -> None:
        self._connection, self._pieces = connection, pieces

    def write(self, data: bytes) -> None:
        for piece in self._pieces:
            self._connection.data_received(piece)

    def close(self) -> None:
        pass


async def asked(*pieces: bytes) -> tuple[int, int]:
    connection = Connection()
    connection.connection_made(Transport(connection, list(pieces)))
    return await connection.ask(Request("GET", "/"))


async def test_an_answer_with_a_length_is_whole_when_all_of_it_is_there():
    assert await asked(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nab", b"cde") == (201, 5)


async def test_a_chunked_answer_is_whole_at_its_last_chunk_however_it_is_cut():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert await asked(head[:20], head[20:] + b"3\r\nabc\r\n0", b"\r\n", b"\r\n") == (200, 13)


async def test_clients_that_share_a_connection_each_get_their_own_answer_whatever_the_order():
    connection = Http2Connection("h", "")
    pieces = b"".join(
        frames.frame(kind, flags, stream, payload)
        for kind, flags, stream, payload in (
            (frames.SETTINGS, 0, 0, b""),
            (frames.HEADERS, frames.END_HEADERS, 3, literal(b":status", b"200")),
            (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, literal(b":status", b"404")),
            (frames.DATA, 0, 3, b"abc"),
            (frames.DATA, frames.END_STREAM, 3, b"de"),
        )
    )
    connection.connection_made(Transport(connection, []))
    answers = [asyncio.ensure_future(connection.ask(Request("GET", f"/{number}"))) for number in range(2)]
    await asyncio.sleep(0)
    connection.data_received(pieces[:50])
    connection.data_received(pieces[50:])
    assert await asyncio.gather(*answers) == [(404, 0), (200, 5)]


def test_no_two_clients_cases_or_rounds_create_the_same_object():
    def names(clients: int, client: int, number: int) -> set[bytes]:
        order = Order("create", ("h", 1), "/o", clients, 1.0, "", "", "", number=number)
        requests = requests_of(order, client)
        return {next(requests).body.rpartition(b'"name": "')[2].partition(b'"')[0] for _ in range(5)}

    sets = [names(1, 0, 0), names(32, 0, 0), names(32, 1, 0), names(32, 0, 1)]
    assert len(set.union(*sets)) == 20


def test_the_limit_sends_events_that_the_watchers_count_and_time():
    tally = Tally()
    for _ in range(3):
        tally.piece(fanout_limit.frame(2048))
    outcome = tally.outcome()
    assert outcome.events == 3
    assert all(0 <= each < 1000 for each in outcome.latencies_ms)
    assert fanout_limit.frame(2048).count(MARK) == 1
    assert 2000 < len(fanout_limit.frame(2048)) < 2100
