"""The reader of BIG-Bench-Hard's files. None of their items is in this repository.

With FLOPEX_BBH=FOLDER, the solvers are also run over the real items there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.worker.model.tasks.solvers import solve
from worker.model.tasks import FAMILIES
from worker.model.tasks import __main__ as command
from worker.model.tasks.bbh import FAMILY_OF, BbhError, Item, is_right, read_bbh, unscored
from worker.model.vocabulary import encode_answer, read

REAL_ITEMS = os.environ.get("FLOPEX_BBH", "")


def write_task(folder: Path, name: str, content: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_items_are_read_as_they_stand(tmp_path: Path) -> None:
    question = "not ( False ) or True is"
    write_task(
        tmp_path, "boolean_expressions", {"examples": [{"input": question, "target": "True"}]}
    )
    write_task(tmp_path, "riddles", {"canary": "x", "examples": []})
    tasks = read_bbh(tmp_path)
    assert tasks == {"boolean_expressions": (Item(question, "True"),), "riddles": ()}
    assert unscored(tasks) == ["riddles"]


@pytest.mark.parametrize(
    "content", [[], {}, {"examples": [{"input": "x"}]}, {"examples": [{"input": 1, "target": "x"}]}]
)
def test_damaged_files_are_named(tmp_path: Path, content: object) -> None:
    write_task(tmp_path, "damaged", content)
    with pytest.raises(BbhError, match=r"damaged\.json"):
        read_bbh(tmp_path)


def test_a_folder_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BbhError):
        read_bbh(tmp_path)


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("yes", "Yes", True),
        (" No. ", "No", True),
        ("(b)", "(B)", True),
        ("B", "(B)", True),
        ("(A)", "(B)", False),
        ("12", "12", True),
        ("-12", "12", False),
        ("alpha  beta", "alpha beta", True),
        ("beta alpha", "alpha beta", False),
        ("", "Yes", False),
    ],
)
def test_when_an_answer_is_right(answer: str, target: str, right: bool) -> None:
    assert is_right(answer, target) is right


def test_families_of_tasks_exist() -> None:
    assert set(FAMILY_OF.values()) <= set(FAMILIES)


@pytest.mark.skipif(not REAL_ITEMS, reason="FLOPEX_BBH names no folder of BIG-Bench-Hard files")
@pytest.mark.parametrize("task", [*FAMILY_OF, "word_sorting"])
def test_real_items_are_read_whole_and_solved(task: str) -> None:
    for item in read_bbh(Path(REAL_ITEMS)).get(task, ()):
        reading = read(item.question)
        assert is_right(solve(FAMILY_OF.get(task, "words"), item.question)[-1], item.answer)
        if task != "word_sorting":
            encode_answer(item.answer, reading.aliases)


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["tasks", *arguments])
    command.main()


def test_the_command_tells_how_items_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = [
        {"input": "Question: Ann lies. Does Ann tell the truth?", "target": "No"},
        {"input": "Question: Ann lies. Who else?", "target": "nobody"},
        {"input": "", "target": "Yes"},
    ]
    write_task(tmp_path, "web_of_lies", {"examples": examples})
    run_command(monkeypatch, "--bbh", str(tmp_path))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "task": "web_of_lies",
        "family": "lies",
        "items": 3,
        "items_read": 2,
        "items_answerable": 1,
        "tokens_max": 11,
        "unknown_share": 0.211,
    }
    with pytest.raises(SystemExit):
        run_command(monkeypatch, "--bbh", str(tmp_path / "none"))
    assert "no JSON file" in capsys.readouterr().err


def test_the_command_shows_samples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(monkeypatch, "--family", "pointers", "--count", "3", "--split", "test")
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [sample["family"] for sample in shown] == ["pointers"] * 3
    assert all(sample["answer"] == sample["steps"][0][-1] for sample in shown)
