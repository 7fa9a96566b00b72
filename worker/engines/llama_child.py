"""The child process that holds llama.cpp (through xllamacpp) for one slot.

It is told what to do on stdin and answers on what was its stdout; it ends when stdin ends. The
library insists on an HTTP server: it gets a Unix socket in a directory that only this user can
enter, and a random key that never leaves this process. No network port is opened. Templates and
token counts are asked for over that socket, because the library offers them nowhere else.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

from worker.engines import wire
from worker.engines.llama_prompt import PromptReader

HTTP_TIMEOUT_S: Final = 60.0
TIDY_S: Final = 2.0
"""How long a process that nobody reads any more may take to remove its directory."""
SOCKET_PATH_BYTES_MAX: Final = 100
"""Unix socket paths end at 107 bytes on Linux."""
READ_BATCH_TOKENS: Final = 64
"""Tokens of a prompt between two reports of progress: what a cancel may leave unpaid. 256 read no
faster, 32 took a quarter more."""
DRAFT_TOKENS: Final = 4
"""Longest draft in fast mode. Refused tokens cost as much as others, and many are refused."""
DRAFT_MATCH_TOKENS: Final = 3
"""So many tokens must have come before in the same order for what followed them to be drafted."""
SEED_MAX: Final = (1 << 32) - 1
"""The library takes this value for "choose one by chance"."""


class ChildError(Exception):
    """The request cannot be done; the text is for people."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=HTTP_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Model:
    """A loaded model and the prompt that was prepared last."""

    def __init__(self, load: wire.Load) -> None:
        self._socket = Path(load.directory) / "llama.sock"
        if len(os.fsencode(self._socket)) > SOCKET_PATH_BYTES_MAX:
            raise ChildError(f"the socket's path is too long: {self._socket}; set TMPDIR")
        self._key = secrets.token_urlsafe(32)
        self._server = _open_server(load, self._socket, self._key)
        self._reader = PromptReader(self._post)
        self._tokens: list[int] = []

    def prepare(self, message: wire.Prepare) -> int:
        """Tokens of the prompt."""
        if message.messages:
            self._tokens = self._reader.conversation(message.messages)
        else:
            self._tokens = self._reader.text(message.prompt)
        return len(self._tokens)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = _Connection(self._socket)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise ChildError(_error_text(answer))
        return answer

    def generate(self, message: wire.Generate, run: Run) -> None:
        """Run the prepared prompt; what comes of it goes to `run`."""
        request = {
            "prompt": self._tokens,
            "max_tokens": message.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            # What another job left in the cache would make this one's meter a lie.
            "cache_prompt": False,
            "return_progress": True,
            "timings_per_token": True,
            "verbose": True,
            "seed": message.seed % SEED_MAX,
            "temperature": message.temperature_milli / 1_000,
        }
        if not message.temperature_milli:
            request["top_k"] = 1
        answer = self._server.handle_completions(request, run.take)
        run.finish(answer)


class Run:
    """Turns the library's stream into frames, and ends it when asked."""

    def __init__(self, send: Sender, stop: threading.Event) -> None:
        self._send = send
        self._stop = stop
        self._error = ""
        self._prompt_tokens = 0
        self._given = 0
        self._refused = 0
        self._last: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> bool:
        """One chunk of the stream; True ends it."""
        if "error" in chunk:
            self._error = _error_text(chunk)
            return True
        timings = chunk.get("timings") or {}
        progress = chunk.get("prompt_progress")
        self._given = timings.get("predicted_n", self._given)
        if "draft_n" in timings:
            self._refused = timings["draft_n"] - timings["draft_n_accepted"]
        if progress is not None:
            self._prompt_tokens = progress["processed"]
            self._send(wire.Progress(self._prompt_tokens))
        elif chunk.get("usage"):
            self._last = chunk
        else:
            text = "".join(choice["text"] for choice in chunk["choices"])
            if text:
                self._send(wire.Given(text, self._given))
        return self._stop.is_set()

    def finish(self, answer: object) -> None:
        """The library has returned; its own counters tell what was done."""
        if isinstance(answer, dict) and "error" in answer:
            self._error = _error_text(answer)
        if self._error:
            raise ChildError(self._error)
        if self._last:
            counted = self._last["__verbose"]
            self._send(
                wire.Ended(
                    finished=counted["stop_type"] == "eos",
                    stopped=False,
                    prompt_tokens=counted["tokens_evaluated"],
                    tokens=counted["tokens_predicted"],
                    positions=counted["tokens_cached"],
                    refused=self._refused,
                )
            )
            return
        positions = self._prompt_tokens + max(self._given - 1, 0)
        self._send(
            wire.Ended(False, True, self._prompt_tokens, self._given, positions, self._refused)
        )


class Sender:
    """Writes frames to the parent."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __call__(self, message: wire.FromChild) -> None:
        """Write one frame; ends the process if nobody reads any more."""
        try:
            self._file.write(wire.encode(message))
            self._file.flush()
        except BrokenPipeError:
            # The parent is gone: the listening thread tidies up and ends this process.
            time.sleep(TIDY_S)
            os._exit(1)


def _open_server(load: wire.Load, path: Path, key: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = load.gguf
    params.n_ctx = load.context_tokens
    params.n_parallel = 1
    params.n_batch = READ_BATCH_TOKENS
    params.n_ubatch = READ_BATCH_TOKENS
    params.cpuparams.n_threads = load.threads
    params.cpuparams_batch.n_threads = load.threads
    params.hostnames = [str(path)]
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = False
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.ctx_shift = False
    # The template is the model's own, also where the last turn is the assistant's.
    params.prefill_assistant = False
    params.warmup = False
    if load.fast:
        # A draft is what followed the same tokens earlier in the prompt or the answer.
        params.speculative.types = [
            xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE
        ]
        params.speculative.ngram_simple.size_n = DRAFT_MATCH_TOKENS
        params.speculative.ngram_simple.size_m = DRAFT_TOKENS
    params.verbosity = 0
    # The model is on this disk; nothing is ever fetched.
    params.offline = True
    server = xllamacpp.Server(params)
    if not server.listening_address.startswith("unix:"):
        raise ChildError(f"llama.cpp listens at {server.listening_address}, not on the socket")
    return server


def _error_text(answer: dict[str, Any]) -> str:
    error = answer.get("error", answer)
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _read_frame(file: BinaryIO) -> wire.ToChild | None:
    head = file.read(wire.LENGTH.size)
    if len(head) < wire.LENGTH.size:
        return None
    (length,) = wire.LENGTH.unpack(head)
    wire.check_length(length)
    return wire.decode_to_child(file.read(length))


def _listen(file: BinaryIO, inbox: queue.SimpleQueue[wire.ToChild], stop: threading.Event) -> None:
    """Hand messages on; a stop overtakes the run that the main thread is in."""
    directory = ""
    try:
        while (message := _read_frame(file)) is not None:
            if isinstance(message, wire.Stop):
                stop.set()
                continue
            if isinstance(message, wire.Load):
                directory = message.directory
            if isinstance(message, wire.Generate):
                stop.clear()
            inbox.put(message)
    finally:
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
        # The main thread may be deep inside the library, which cannot be interrupted.
        os._exit(0)


def _serve(inbox: queue.SimpleQueue[wire.ToChild], send: Sender, stop: threading.Event) -> None:
    model: Model | None = None
    while True:
        message = inbox.get()
        try:
            if isinstance(message, wire.Load):
                model = Model(message)
                send(wire.Ready())
            elif model is None:
                raise ChildError("no model is loaded")
            elif isinstance(message, wire.Prepare):
                send(wire.Prepared(model.prepare(message)))
            elif isinstance(message, wire.Generate):
                model.generate(message, Run(send, stop))
        except Exception as error:
            # Whatever the library raises: the parent decides what to do with this process.
            send(wire.Broken(f"{type(error).__name__}: {error}"))


def main() -> None:
    """Serve the parent until it goes away."""
    # Supervisors that stop a worker signal all of its processes; the worker drains, and the leases
    # that it finishes need this one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # The library prints; what it prints must not land between frames.
    frames = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[wire.ToChild] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, inbox, stop), daemon=True).start()
    _serve(inbox, Sender(frames), stop)


if __name__ == "__main__":
    main()
