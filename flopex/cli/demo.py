"""`flopex demo`: a whole exchange on this machine, to look at and to try."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flopex.cli.base import Session, command
from flopex.cli.exits import CommandError, ExitCode
from flopex.demo.stage import Kind

if TYPE_CHECKING:
    from flopex.demo.director import Demo
    from flopex.demo.processes import Settings
    from flopex.demo.summary import Summary
    from flopex.replay import Replay

WIDTH_MIN: Final = 100
MARK_NAME: Final = "DEMO"
"""Marks a data directory as a demo's."""
MODEL_DEFAULT: Final = "smollm2-135m"

NEXT: Final = """
It stays up until Ctrl-C. Its page, for a browser, signed in as "you": http://{http}/#key={key}

In another terminal (API key: the account "you", funded with a dollar):

  export FLOPEX_TARGET={address} FLOPEX_KEY={key}
  flopex submit "Write one sentence about mountains."{model} --value 0.001
  flopex book {instrument} --watch
  flopex receipt verify {job}
  flopex account --ledger 5
  flopex worker status --key-file {data}/operator.key

With any client of OpenAI's API (an answer is worth ${value} unless the request says otherwise):

  export OPENAI_BASE_URL=http://{http}/v1 OPENAI_API_KEY={key}
  curl $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
    -H "Content-Type: application/json" \\
    -d '{{"model": "{text_model}", "messages": [{{"role": "user", "content": "Name a colour."}}]}}'

Explicit orders, on a paper book with a paper account:

  export FLOPEX_KEY={paper_key}
  flopex book {paper}
  flopex order place bid {paper} --price '1745 nanos' --quantity '5 CU'
"""

app = typer.Typer()


class EngineName(StrEnum):
    """What the demo's workers run."""

    LLAMA = "llama"
    INSTANT = "instant"


@command(app, "demo", example="flopex demo\nflopex demo --once --json")
async def demo(
    session: Session,
    once: Annotated[
        bool, typer.Option("--once", help="End after the closing statement instead of staying up.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option(help="llama runs the real model; instant is for tests and runs none."),
    ] = EngineName.LLAMA,
    address: Annotated[
        str, typer.Option(help="host:port of the exchange; port 0 lets the system choose.")
    ] = "127.0.0.1:0",
) -> None:
    """Run a whole exchange with three workers and real prompts on this machine, and show it all.

    The exchange and the workers are processes of their own that talk over gRPC. The closing
    statement replays the exchange's journal and compares the states. Without --data everything
    lies in a temporary folder. Exit code 0 if every job settled and everything that must hold
    does. With --once --json the last line is one JSON object.
    """
    session.output.note("starting an exchange and three workers ...")
    if engine is EngineName.LLAMA:
        _need_weights()
    with _stopped_by_sigterm(), _directory(session) as directory:
        from flopex.demo.processes import Settings

        show = _Show(session, Settings(directory, engine.value, address), once)
        try:
            good = await show.run()
        except BaseException:
            show.failed = True
            raise
        if not good:
            raise CommandError(
                "the demo did not come out as it must",
                f"see above; the logs are in {directory / 'logs'}",
                reason="DEMO",
            )


def _need_weights() -> None:
    from worker.engines.base import EngineError
    from worker.engines.weights import find_weights

    try:
        find_weights()
    except EngineError as error:
        raise CommandError(
            "the weights of the language model are not installed",
            "install them (98 MB) with: flopex model add smollm2",
            reason="NO_WEIGHTS",
        ) from error


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that no process is left behind."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@contextlib.contextmanager
def _directory(session: Session) -> Iterator[Path]:
    """The named data directory, or a temporary one that is removed if all went well."""
    named = session.data_named
    if named is not None:
        _claim(named)
        yield named.absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="flopex-demo-"))
    try:
        yield directory
    except CommandError:
        raise  # what the logs say is wanted
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)


def _claim(directory: Path) -> None:
    """Use a new folder, or one of an earlier demo: never the data of a real exchange."""
    mark = directory / MARK_NAME
    if directory.exists() and any(directory.iterdir()) and not mark.exists():
        raise CommandError(
            f"{directory} holds something that is not a demo's",
            "name another folder with --data (FLOPEX_DATA and the settings file count, too)",
            ExitCode.USAGE,
            "FOLDER",
        )
    directory.mkdir(0o700, parents=True, exist_ok=True)
    mark.touch()


class _Show:
    """Runs a demo and prints it: live on a terminal, in lines elsewhere, as JSON if asked."""

    def __init__(self, session: Session, settings: Settings, once: bool) -> None:
        self._session = session
        self._settings = settings
        self._once = once
        # With --json, stdout is for programs; people may still follow on stderr.
        self._console = session.output.errors if session.json else session.output.console
        self.failed = False

    async def run(self) -> bool:
        """Play, tell, and stay up if wanted; whether all came out as it must."""
        from flopex.demo.director import Demo, DemoFailed, Stage
        from flopex.demo.view import live_view

        stage = Stage()
        if self._settings.engine == "instant":
            stage.say(Kind.TROUBLE, "engine INSTANT: no model runs, the answers are filler")
        try:
            async with Demo(self._settings, stage) as demo:
                with live_view(stage, self._console, lines=self._session.json):
                    summary, replay = await demo.play()
                self._tell(demo, summary, replay)
                if not self._once:
                    await self._stay(demo)
        except DemoFailed as error:
            raise CommandError(str(error), reason="DEMO") from error
        if self._session.json:
            self._session.output.line(summary.fields())
        return summary.good

    def _tell(self, demo: Demo, summary: Summary, replay: Replay) -> None:
        from flopex.demo.summary import closing_lines
        from flopex.demo.view import closing, job_table, question_table

        console, stage = self._console, demo.stage
        earned = sum(worker.earned_nanos for worker in stage.workers)
        width = max(console.width, WIDTH_MIN)
        questions = [job for job in stage.jobs if job.part.right_answer]
        console.print(job_table([j for j in stage.jobs if not j.part.right_answer], width))
        console.print(question_table(questions, width))
        console.print(closing(closing_lines(summary, replay, earned)))

    async def _stay(self, demo: Demo) -> None:
        """Say what to try next, and stay up until Ctrl-C."""
        from flopex.demo.market import YOUR_VALUE, instrument_names
        from flopex.demo.scenario import PAPER_INSTRUMENT
        from flopex.demo.view import tape_text

        keys, address = demo.keys, demo.cast.address
        interactive = instrument_names(demo.card)[0]
        model = "" if demo.card.name == MODEL_DEFAULT else f" --model {demo.card.name}"
        if self._session.json:
            self._session.output.line(
                {
                    "type": "open",
                    "address": address,
                    "http": demo.cast.http_address,
                    "openai_base_url": f"http://{demo.cast.http_address}/v1",
                    "key": keys.yours,
                    "paper_key": keys.paper,
                    "instrument": interactive,
                    "paper_instrument": PAPER_INSTRUMENT,
                    "data": str(self._settings.directory),
                }
            )
        else:
            self._console.print(
                NEXT.format(
                    address=address,
                    http=demo.cast.http_address,
                    key=keys.yours,
                    paper_key=keys.paper,
                    model=model,
                    text_model=demo.card.name,
                    value=YOUR_VALUE,
                    job=len(demo.stage.jobs) + 1,
                    instrument=interactive,
                    paper=PAPER_INSTRUMENT,
                    data=self._settings.directory,
                ),
                soft_wrap=True,
                markup=False,
            )
        demo.stage.on_line = lambda line: self._console.print(tape_text(line))
        with contextlib.suppress(asyncio.CancelledError):
            await demo.keep_up()
