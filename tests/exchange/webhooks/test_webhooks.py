"""Endings of jobs are told: signed, in order, at least once, whatever fails in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from exchange.core.commands import Role
from exchange.server import webhooks as server_webhooks
from exchange.testing import InProcessExchange
from exchange.webhooks import deliveries, sender, store
from exchange.webhooks.events import Event
from exchange.webhooks.sender import PublicResolver, Sender
from exchange.webhooks.servicer import ID_MAX
from exchange.webhooks.signing import new_secret
from exchange.webhooks.store import Webhook
from tests.exchange.http.site import Site
from tests.exchange.webhooks.endpoint import (
    Endpoint,
    ask,
    end_jobs,
    open_endpoint,
    open_exchange,
    register,
)
from tests.waiting import WITHIN_S


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_exchange(tmp_path) as found:
        yield found


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as found:
        yield found


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other soon."""
    monkeypatch.setattr(deliveries, "WAIT_MIN_S", 0.05)
    monkeypatch.setattr(deliveries, "WAIT_MAX_S", 0.05)


async def listed(site: Site) -> dict[str, Any]:
    (found,) = (await ask(site, "GET", "/v1/webhooks", 200))["webhooks"]
    only: dict[str, Any] = found
    return only


async def until(site: Site, **wanted: Any) -> dict[str, Any]:
    """The one webhook, once it is like this."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = await listed(site)
            if wanted.items() <= found.items():
                return found
            await asyncio.sleep(0.05)


async def test_a_settled_job_is_told_as_a_signed_cloud_event(
    site: Site, endpoint: Endpoint
) -> None:
    made = await register(site, endpoint)
    await site.submit_job()
    async with site.worker(1) as worker:
        await worker.run(await worker.offer(), "one two")
    (event,) = await endpoint.wait(1)
    core = site.exchange.core
    account_id = core.account_by_name["hidden-buyer"]
    data = event.pop("data")
    time = event.pop("time")
    assert event == {
        "specversion": "1.0",
        "id": "job-1-ended",
        "source": f"/accounts/{account_id}",
        "type": "flopex.job.ended",
        "subject": "jobs/1",
        "datacontenttype": "application/json",
    }
    async with site.http.get(
        "/v1/jobs/1", headers={"Authorization": f"Bearer {site.buyer}"}
    ) as response:
        job = (await response.json())["job"]
    same = data.keys() & job.keys() - {"client_job_id"}
    assert {name: data[name] for name in same} == {name: job[name] for name in same}
    assert len(same) == 11
    assert data["state"] == "JOB_STATE_SETTLED"
    assert int(data["paid_nanos"]) > 0
    assert time.endswith("Z")
    found = await until(site, told="1")
    assert (found["state"], found["last_status"], found["failures"]) == (
        "WEBHOOK_STATE_OK", "200", 0,
    )  # fmt: skip
    assert made.keys() == found.keys()


async def test_events_come_once_and_others_are_not_told(
    site: Site, endpoint: Endpoint, tmp_path: Path
) -> None:
    ended_before = await end_jobs(site, 1)
    other = await site.exchange.trader("other", paper=False)
    await register(site, endpoint, other)
    async with open_endpoint() as own:
        await register(site, own)
        ids = await end_jobs(site, 40)
        await own.wait(40)
        await until(site, told="40")
        # Within a page events are told at the same time; pages follow each other.
        size = deliveries.PAGE_MAX
        for at in range(0, 40, size):
            assert sorted(own.ids[at : at + size]) == sorted(ids[at : at + size])
        assert ended_before[0] not in own.ids
    assert not endpoint.told


async def test_what_fails_is_told_again_with_the_same_id(
    site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    endpoint.status = 500
    await register(site, endpoint)
    ids = await end_jobs(site, 2)
    await endpoint.wait_refused(4)
    await until(site, state="WEBHOOK_STATE_FAILING", last_status="500", told="0")
    endpoint.status = 204
    await endpoint.wait(2)
    assert sorted(endpoint.ids) == sorted(ids)
    assert {event["id"] for event in endpoint.refused} == set(ids)
    await until(site, told="2", state="WEBHOOK_STATE_OK", failures=0)


async def test_endings_during_an_outage_and_a_crash_are_told_after_it(
    tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.status = 503
    async with open_exchange(tmp_path) as site:
        buyer = site.buyer
        await register(site, endpoint)
        first = await end_jobs(site, 2)
        await endpoint.wait_refused(1)
        # Who tells is gone, and the market goes on.
        await site.exchange.server._webhooks._helper.stop()  # type: ignore[union-attr]
        second = await end_jobs(site, 2)
    quickly(monkeypatch)
    endpoint.status = 200
    async with open_exchange(tmp_path, buyer) as site:
        await endpoint.wait(4)
        assert sorted(endpoint.ids) == sorted(first + second)
        await until(site, told="4")
        third = await end_jobs(site, 1)
        await endpoint.wait(5)
        assert endpoint.ids[-1:] == third


async def test_a_process_of_its_own_tells_and_is_started_again(
    tmp_path: Path, endpoint: Endpoint
) -> None:
    async with open_exchange(tmp_path, read_model_process=True) as site:
        await register(site, endpoint)
        first = await end_jobs(site, 1)
        await endpoint.wait(1)
        helper: Any = site.exchange.server._webhooks._helper  # type: ignore[union-attr]
        helper._process.kill()
        second = await end_jobs(site, 1)
        # What was told and not noted before the end is told again.
        async with asyncio.timeout(WITHIN_S):
            while not set(first + second) <= set(endpoint.ids):
                await endpoint.news()
        assert helper.restarts == 1


async def test_after_many_attempts_events_are_given_up(
    site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr(deliveries, "ATTEMPTS_MAX", 3)
    endpoint.status = 400
    await register(site, endpoint)
    await end_jobs(site, 1)
    await endpoint.wait_refused(3)
    await until(site, given_up="1", failures=0)
    endpoint.status = 200
    after = await end_jobs(site, 1)
    await endpoint.wait(1)
    assert endpoint.ids == after


async def test_an_endpoint_that_is_gone_is_called_no_more_until_a_test(
    site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    endpoint.status = 410
    made = await register(site, endpoint)
    await end_jobs(site, 1)
    await until(site, state="WEBHOOK_STATE_GONE", last_status="410")
    endpoint.status = 200
    await asyncio.sleep(0.6)
    assert not endpoint.told
    await ask(site, "POST", f"/v1/webhooks/{made['webhook_id']}/test", 200)
    await endpoint.wait(2)
    assert [event["type"] for event in endpoint.told] == ["flopex.webhook.test", "flopex.job.ended"]


async def test_a_redirect_is_not_followed(site: Site, endpoint: Endpoint) -> None:
    async with open_endpoint() as elsewhere:
        endpoint.status, endpoint.headers = 307, {"Location": elsewhere.url}
        await register(site, endpoint)
        await end_jobs(site, 1)
        await until(site, last_status="307")
        assert not elsewhere.told


@contextlib.asynccontextmanager
async def open_silent() -> AsyncIterator[str]:
    """The URL of an endpoint that takes connections and says nothing."""

    callers: list[asyncio.StreamWriter] = []

    def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for writer in callers:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_silent_endpoint_does_not_hold_up_another(site: Site, endpoint: Endpoint) -> None:
    async with open_silent() as url:
        silent = (await ask(site, "POST", "/v1/webhooks", 200, url=url))["webhook"]
        await register(site, endpoint)
        await end_jobs(site, 1)
        await endpoint.wait(1)
        await ask(site, "DELETE", f"/v1/webhooks/{silent['webhook_id']}", 200)


async def test_few_endpoints_are_told_at_the_same_time(
    site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "TELLING_MAX", 1)
    monkeypatch.setattr(sender, "WITHIN_S", 1)
    async with open_silent() as url:
        await ask(site, "POST", "/v1/webhooks", 200, url=url)
        await register(site, endpoint)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await end_jobs(site, 1)
        # The first one's turn ends by itself.
        await endpoint.wait(1)
        assert loop.time() - began > 0.9


async def test_who_does_not_answer_in_time_has_not_taken_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "WITHIN_S", 0.2)
    async with open_silent() as url, Sender(allow_private=True) as telling:
        answer = await telling.send(webhook(url), Event("x", b"{}"))
        assert (answer.taken, answer.status) == (False, "no answer within 0.2 s")


async def test_what_is_wrong_with_an_endpoint_is_said_on_one_line() -> None:
    def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 \xff\xfe nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, Sender(allow_private=True) as telling:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        answer = await telling.send(webhook(url), Event("x", b"{}"))
    assert not answer.taken
    assert "Bad status line" in answer.status
    assert "\n" not in answer.status


# ---- what may be asked ----


async def test_bounds_and_bad_input_are_refused_by_name(
    site: Site, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v1/webhooks"
    for said, status, code in (
        ({"url": "ftp://example.org"}, 400, "FIELD_INVALID"),
        ({"url": endpoint.url, "more": 1}, 400, "FIELD_UNKNOWN"),
        ({"url": 7}, 400, "FIELD_INVALID"),
        ({"url": 10**30}, 400, "FIELD_INVALID"),
        ({"url": "\ud800"}, 400, "FIELD_INVALID"),
        ({}, 400, "FIELD_INVALID"),
    ):
        found = await ask(site, "POST", path, status, **said)
        assert found["error"]["code"] == code
    assert (await ask(site, "GET", f"{path}?x=1", 400))["error"]["code"] == "FIELD_UNKNOWN"
    for unknown in (0, 99, ID_MAX, ID_MAX + 1, 2**64 - 1):
        found = await ask(site, "DELETE", f"{path}/{unknown}", 404)
        assert found["error"]["code"] == "UNKNOWN_WEBHOOK"
    assert (await ask(site, "DELETE", f"{path}/x", 400))["error"]["code"] == "FIELD_INVALID"
    assert (await ask(site, "POST", f"{path}/99/test", 404))["error"]["code"] == "UNKNOWN_WEBHOOK"
    assert (await ask(site, "GET", path, 401, "flx_x"))["error"]["code"] == "KEY_MISSING"
    monkeypatch.setattr(store, "WEBHOOKS_PER_ACCOUNT_MAX", 1)
    made = await register(site, endpoint)
    assert (await ask(site, "POST", path, 429, url=endpoint.url))["error"]["code"] == (
        "EXCHANGE_FULL"
    )
    monkeypatch.setattr(store, "WEBHOOKS_MAX", 1)
    other = await site.exchange.trader("other")
    assert (await ask(site, "POST", path, 429, other, url=endpoint.url))["error"]
    # Another account's does not exist.
    own = f"{path}/{made['webhook_id']}"
    assert (await ask(site, "DELETE", own, 404, other))["error"]["code"] == "UNKNOWN_WEBHOOK"
    assert (await ask(site, "GET", path, 200, other)) == {"webhooks": []}
    assert await ask(site, "DELETE", own, 200) == {}


async def test_who_may_ask_is_asked_before_what(site: Site) -> None:
    """No key and one that may only read are refused, whatever the body is."""
    reader = await site.exchange.key("eye", Role.READER)
    for path in ("/v1/webhooks", "/v1/alerts"):
        await ask(site, "GET", path, 403, reader)
        for key, status, body in (("", 401, "{"), (reader, 403, "{}")):
            headers = {"Content-Type": "application/json"}
            headers |= {"Authorization": f"Bearer {key}"} if key else {}
            async with site.http.post(path, data=body, headers=headers) as response:
                assert response.status == status


async def test_an_exchange_without_a_read_model_has_no_webhooks(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path, http=True, read_model=False) as exchange:
        headers = {"Authorization": f"Bearer {exchange.operator_key}"}
        async with aiohttp.ClientSession(f"http://{exchange.http_address}") as http:
            for path in ("/v1/webhooks", "/v1/alerts"):
                async with http.get(path, headers=headers) as response:
                    assert response.status == 501
                    error = (await response.json())["error"]
                    assert error["code"] == "UNIMPLEMENTED"
                    assert "keeps no read model" in error["message"]


async def test_by_default_webhooks_lead_to_the_public_internet_alone(tmp_path: Path) -> None:
    async with open_exchange(tmp_path, webhooks_private=False, gateway=True) as site:
        for url in ("http://127.0.0.1:1/", "https://127.0.0.1/", "http://example.org/"):
            found = await ask(site, "POST", "/v1/webhooks", 400, url=url)
            assert found["error"]["param"] == "url"
        # A name may lead anywhere: it is judged when it is called.
        await ask(site, "POST", "/v1/webhooks", 200, url="https://localhost:1/")
        await end_jobs(site, 1)
        found = await until(site, state="WEBHOOK_STATE_FAILING")
        assert found["failures"] > 0
        assert "no public address" in found["last_status"]


async def test_an_address_in_a_url_is_judged_at_the_call_too(endpoint: Endpoint) -> None:
    async with Sender(allow_private=False) as telling:
        for url in (endpoint.url, endpoint.url.replace("http:", "https:"), "https://[::1]/"):
            answer = await telling.send(webhook(url), Event("x", b"{}"))
            assert (answer.taken, answer.status[:13]) == (False, "TargetRefused")
    assert not endpoint.told


async def test_a_name_has_its_public_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = PublicResolver()
    found = [{"host": "10.0.0.1"}, {"host": "1.1.1.1"}, {"host": "::1"}]

    async def resolve(*_: Any) -> Any:
        return found

    monkeypatch.setattr(resolver._resolver, "resolve", resolve)
    assert [address["host"] for address in await resolver.resolve("x")] == ["1.1.1.1"]
    found.pop(1)
    with pytest.raises(OSError, match="no public address"):
        await resolver.resolve("x")
    await resolver.close()


async def test_nobody_tells_while_there_is_nothing_to_tell(tmp_path: Path) -> None:
    async with InProcessExchange(tmp_path, http=True) as exchange:
        assert isinstance(exchange.server._webhooks, server_webhooks.Webhooks)
        assert not exchange.server._webhooks._started


def webhook(url: str) -> Webhook:
    return Webhook(1, 1, url, new_secret(), 0, 0, 0, 0, 0, 0, 0, 0, 0, "", 0)


def test_who_was_told_of_groups_that_were_given_up_is_told_from_the_new_end_on(
    tmp_path: Path,
) -> None:
    with contextlib.closing(store.Store(tmp_path / "webhooks")) as kept:
        for sequence in (20, 36):
            kept.add_webhook(3, "https://example.com", "secret", 1, sequence)
        kept.come_back(34)
        assert [webhook.sequence for webhook in kept.webhooks()] == [20, 33]
        kept.come_back(40)
        assert [webhook.sequence for webhook in kept.webhooks()] == [20, 33]
