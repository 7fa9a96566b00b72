"""Backups of a running exchange: what the journal's copy names is in the other copies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from exchange.blobs import BlobStore
from exchange.core.commands import decode
from exchange.core.events import ReceiptSettled
from exchange.core.exchange import Exchange
from exchange.core.limits import RULES_VERSION
from exchange.journal import JournalMissing, read_journal
from exchange.metering import signing
from exchange.receipts import ReceiptStore
from exchange.rpc.job_blobs import output_name, payload_name
from exchange.testing import InProcessExchange, uuid7
from exchange.testing.fake_worker import FakeWorker, SessionEnded
from exchange.v1 import account_service_pb2 as accounts_pb
from exchange.v1 import job_service_pb2 as pb
from exchange.v1.account_service_pb2_grpc import AccountServiceStub
from exchange.v1.admin_service_pb2 import GetInvariantsResponse
from exchange.v1.job_service_pb2_grpc import JobServiceStub
from exchange.webhooks.store import FILE as WEBHOOKS
from exchange.webhooks.store import Store
from flopex import backups
from tests.exchange.rpc.rig import Calls, open_rig
from tests.integration.crash_site import INSTRUMENT, CrashSite

pytestmark = pytest.mark.integration

FINISHED, QUEUED = 3, 4


async def quiet(site: CrashSite) -> GetInvariantsResponse:
    """What the exchange says once the batch that the last job armed, and all else, is over."""
    while True:
        before = await site.invariants(full=True)
        await asyncio.sleep(0.5)
        if (await site.invariants(full=True)).digest == before.digest:
            return before


async def flopex(*arguments: str | Path) -> dict[str, Any]:
    """Run a command of the flopex tool; what it says."""
    command = (sys.executable, "-m", "flopex", *map(str, arguments), "--json")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "FLOPEX_KEY": ""}
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return cast("dict[str, Any]", json.loads(said.splitlines()[0]))


def replayed(directory: Path) -> Exchange:
    """The state that a journal leads to."""
    core = Exchange()
    for group in read_journal(directory, rules_version=RULES_VERSION):
        core.apply(decode(group.payload))
    return core


class Clients:
    """A buyer and a worker of a site."""

    def __init__(self, site: CrashSite) -> None:
        self.site = site
        self.worker_key = signing.generate_key()
        self.jobs = Calls(JobServiceStub(site.channel), site.keys["buyer"])
        self.accounts = Calls(AccountServiceStub(site.channel), site.keys["buyer"])

    async def submit(self, prompt: str) -> int:
        request = pb.SubmitJobRequest(
            client_job_id=uuid7(),
            model="instant",
            input=pb.JobInput(prompt=prompt, output_tokens_max=8),
            value_nanos=10**6,
            deadline_ns=600 * 10**9,
        )
        return int((await self.jobs.SubmitJob(request)).job.job_id)

    async def run(self, jobs: int) -> list[str]:
        """Run so many jobs and leave; their prompts."""
        prompts = []
        channel, key = self.site.channel, self.site.keys["seller"]
        async with FakeWorker(channel, key, private_key=self.worker_key) as worker:
            await worker.register()
            await worker.quote(INSTRUMENT, 1_000)
            for _ in range(jobs):
                offer = await worker.offer()
                prompts.append(pb.JobInput.FromString(offer.payload).prompt)
                assert (await worker.run(offer, "echo ", prompts[-1])).accepted
            await worker.quote(INSTRUMENT)
            await worker.leave()
        return prompts

    async def receipt(self, job_id: int) -> accounts_pb.StoredReceipt:
        answer = await self.accounts.GetReceipt(accounts_pb.GetReceiptRequest(job_id=job_id))
        return cast("accounts_pb.StoredReceipt", answer.receipt)

    async def output(self, job_id: int) -> str:
        request = pb.GetJobRequest(job_id=job_id, include_output=True)
        return str((await self.jobs.GetJob(request)).output)


async def test_a_backup_of_a_running_exchange_goes_on_elsewhere(tmp_path: Path) -> None:
    site = CrashSite(tmp_path, 1)
    backup, keys, elsewhere = (tmp_path / name for name in ("backup", "keys", "elsewhere"))
    try:
        await site.start()
        await site.furnish()
        clients = Clients(site)
        finished = [await clients.submit(f"done {n}") for n in range(FINISHED)]
        ran = await clients.run(FINISHED)
        queued = [await clients.submit(f"waiting {n}") for n in range(QUEUED)]
        receipts = [await clients.receipt(job_id) for job_id in finished]

        before = await quiet(site)
        taken = await flopex("backup", backup, "--keys", keys, "--data", site.data)
        assert (await site.invariants(full=True)).digest == before.digest, "it was not quiet"
        assert taken["journal_records"] == before.journal_records
        assert (taken["receipts"], taken["operator_key"]) == (FINISHED, False)
        assert taken["blobs"] == taken["keys"] == 2 * FINISHED + QUEUED
        await site.kill()

        put_back = await flopex("restore", backup, "--keys", keys, "--data", elsewhere)
        assert put_back == taken | {"directory": str(elsewhere)}
        core = replayed(elsewhere / "journal")
        assert (core.digest(), core.sequence) == (before.digest, before.journal_records)

        site.data = elsewhere
        await site.start()
        after = await site.invariants(full=True)
        assert (after.failure, after.epoch, after.open_jobs) == ("", before.epoch + 1, QUEUED)
        for job_id, prompt, receipt in zip(finished, ran, receipts, strict=True):
            assert await clients.output(job_id) == f"echo {prompt}"
            assert await clients.receipt(job_id) == receipt
            assert signing.verify(receipt.public_key, receipt.signature, receipt.signed_bytes)
        assert await clients.run(QUEUED) == [f"waiting {n}" for n in range(QUEUED)]
        for number, job_id in enumerate(queued):
            assert await clients.output(job_id) == f"echo waiting {number}"
    finally:
        await site.stop()


async def test_a_backup_under_load_has_all_that_its_journal_names(tmp_path: Path) -> None:
    data, backup, keys = (tmp_path / name for name in ("data", "backup", "keys"))
    async with open_rig(data) as rig, rig.worker(slots=(4,)) as worker:
        await rig.ready(worker)
        serving = asyncio.create_task(worker.serve("some ", "words"))

        async def buy() -> None:
            while True:
                job = await rig.submit()
                if job.job_id % 3 == 0:
                    with contextlib.suppress(Exception):
                        await rig.jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id))

        buyers = [asyncio.create_task(buy()) for _ in range(4)]
        await rig.until(lambda: rig.core.sequence > 300)
        copied = await asyncio.to_thread(backups.back_up, data, backup, keys)
        # It went on meanwhile, or goes on afterwards: nobody stands in another's way.
        await rig.until(lambda: rig.core.sequence > copied.journal.records)
        for task in (*buyers, serving):
            task.cancel()
        await asyncio.gather(*buyers, serving, return_exceptions=True)
        with contextlib.suppress(SessionEnded):
            await worker.leave()

    restored = tmp_path / "restored"
    backups.restore(backup, restored, keys)
    core = replayed(restored / "journal")
    assert core.sequence == copied.journal.records
    outputs = 0
    with (
        BlobStore(restored / "blobs", restored / "master.key") as blobs,
        ReceiptStore(restored / "receipts") as receipts,
    ):
        for job in core.jobs.values():
            prompt = blobs.get(payload_name(job.terms))
            assert pb.JobInput.FromString(prompt).prompt == "one two three"
        for lease in core.leases.values():
            if isinstance(lease.first_result, ReceiptSettled):
                assert receipts.get(lease.lease_id)
                assert blobs.get(output_name(lease.lease_id))
                outputs += 1
        assert len(core.jobs) > 10
        assert outputs > 0
    # What the copies have beyond the journal is swept; what it names stays.
    async with open_rig(restored) as rig:
        wanted = {payload_name(job.terms) for job in rig.core.jobs.values()}
        await rig.until(
            lambda: {n for n in rig.services.blobs.ids() if n.startswith("job-")} == wanted
        )


async def test_secrets_are_in_a_backup_only_where_they_are_asked_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with open_rig(data) as rig:
        await rig.submit("nobody else may read this")
        (data / "operator.key").write_text("flx_" + "o" * 43 + "\n")
        hooks = Store(data / WEBHOOKS)
        hooks.add_webhook(7, "https://example.org/hook", "whsec_c2VjcmV0", 1, rig.core.sequence)
        without = backups.back_up(data, tmp_path / "without", None)
        assert (without.blobs.ciphertexts, without.blobs.keys) == (1, 0)
        with_keys = backups.back_up(data, tmp_path / "with", tmp_path / "keys")
        assert (with_keys.blobs.keys, with_keys.operator_key) == (1, False)
        assert (without.webhooks, with_keys.webhooks) == (0, 1)
        backups.back_up(data, tmp_path / "all", tmp_path / "all-keys", operator_key=True)
        with pytest.raises(backups.BackupRefused, match="--keys"):
            backups.back_up(data, tmp_path / "refused", None, operator_key=True)
    master = (data / "master.key").read_bytes()
    for folder in ("without", "with", "all"):
        for path in (tmp_path / folder).rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert master.strip() not in content
            assert b"whsec_" not in content
        assert not list((tmp_path / folder).rglob("*.key"))
    assert not (tmp_path / "keys" / "operator.key").exists()
    secret = tmp_path / "all-keys" / "operator.key"
    assert secret.stat().st_mode & 0o777 == 0o600

    put_back = backups.restore(tmp_path / "all", tmp_path / "restored", tmp_path / "all-keys")
    path = tmp_path / "restored" / WEBHOOKS
    assert (put_back.webhooks, path.stat().st_mode & 0o777) == (1, 0o600)
    assert Store(path).webhooks() == hooks.webhooks()
    assert (tmp_path / "restored" / "operator.key").read_text() == secret.read_text()
    backups.restore(tmp_path / "without", tmp_path / "bare", None)
    async with open_rig(tmp_path / "bare") as rig:
        assert len(rig.core.jobs) == 1
        assert list(rig.services.blobs.ids()) == []


async def test_a_restore_that_was_cut_off_is_not_taken_for_an_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_rig(tmp_path / "data") as rig:
        await rig.submit()
        backups.back_up(tmp_path / "data", tmp_path / "backup", tmp_path / "keys")

    def fail(*_: Path, **_options: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(backups, "restore_journal", fail)
    with pytest.raises(OSError, match="no space"):
        backups.restore(tmp_path / "backup", tmp_path / "restored", tmp_path / "keys")
    with pytest.raises(JournalMissing):
        await InProcessExchange(tmp_path / "restored").server.start()
