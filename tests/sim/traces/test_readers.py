"""Every reader, on a small sample in its source's own form that the test writes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sim.traces import Request, TraceFileError, read_trace
from sim.traces.request import REQUEST_TOKENS_MAX

SAMPLES = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "azure-2024": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.009930+00:00,374,44\n2024-05-10 00:00:04.324509+00:00,396,109\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,374,44,418,Conversation log\n9.314579,GPT-4,396,109,505,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 374, "output_length": 44, "hash_ids": [1]}\n'
    '{"timestamp": 4314, "input_length": 396, "output_length": 109, "hash_ids": [1, 2]}\n',
    "plain": "arrival_s,prompt_tokens,output_tokens\n1.0,374,44\n5.314579,396,109\n",
    "plain-ms": "arrival_ms,prompt_tokens,output_tokens,prefix_block_ids_512\n7,374,44,1\n"
    "4321,396,109,1 2\n",
}


def sample(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_trace_is_read(kind: str, tmp_path: Path) -> None:
    first, second = read_trace(sample(tmp_path, SAMPLES[kind]))
    told = kind in ("mooncake", "plain-ms")  # of which blocks the prompts are
    assert first == Request(0, 374, 44, (1,) if told else ())
    assert second[1:] == (396, 109, (1, 2) if told else ())
    exact_ns = 4_314_000_000 if kind in ("mooncake", "plain-ms") else 4_314_579_000
    assert second.arrival_ns == exact_ns


def test_packed_files_and_limits(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(SAMPLES["plain"].encode()))
    assert len(read_trace(path)) == 2
    assert read_trace(path, limit=1) == [Request(0, 374, 44)]


def test_requests_come_in_the_order_of_arrival_and_hold_a_token(tmp_path: Path) -> None:
    text = "arrival_s,prompt_tokens,output_tokens\n3,5,0\n1,0,7\n"
    assert read_trace(sample(tmp_path, text)) == [
        Request(0, 1, 7),
        Request(2_000_000_000, 5, 1),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins no known trace"),
        ("a,b\n1,2\n", "Azure LLM inference"),
        ("arrival_s,prompt_tokens,output_tokens\n", "holds no requests"),
        ("arrival_s,prompt_tokens,output_tokens\n1,two,3\n", "line 2"),
        ("arrival_s,prompt_tokens,output_tokens\n1,2\n", "line 2"),
        ("arrival_s,prompt_tokens,output_tokens\n1,2,-3\n", "-3 output tokens"),
        (f"arrival_s,prompt_tokens,output_tokens\n1,{REQUEST_TOKENS_MAX + 1},3\n", "are possible"),
        ('{"timestamp": 1}\n', "line 1"),
    ],
)
def test_what_is_no_trace_is_said(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=says):
        read_trace(sample(tmp_path, text))


def test_a_missing_file_names_the_sources(tmp_path: Path) -> None:
    with pytest.raises(TraceFileError, match=r"github\.com/Azure"):
        read_trace(tmp_path / "none.csv")


def client_tables(folder: Path) -> Path:
    """Two clients as ServeGen publishes them: a Gamma and a Weibull one; one that never asks."""
    rates = {
        "0": "0,0.5,2.0,Gamma,0.25,8\n600,1.0,1.0,Gamma,1.0,1\n1200,0,0,,0,0\n",
        "1": "0,0.2,0.5,Weibull,2.1,5.6\n",
        "2": "0,0,0,,0,0\n",
    }
    pdfs = {"0": {"input_tokens": "{100: 0.5, 200: 0.5}", "output_tokens": "{7: 1.0}"}}
    for client, text in rates.items():
        (folder / f"chunk-{client}-trace.csv").write_text(text)
        dataset = pdfs | {"21600": {"input_tokens": "{}", "output_tokens": "{}"}}
        (folder / f"chunk-{client}-dataset.json").write_text(json.dumps(dataset))
    return folder


def test_requests_are_drawn_from_tables_by_seed(tmp_path: Path) -> None:
    folder = client_tables(tmp_path)
    drawn = read_trace(folder, seed=3)
    assert drawn == read_trace(folder, seed=3)
    assert drawn != read_trace(folder, seed=4)
    assert drawn == sorted(drawn)
    assert {r.input_tokens for r in drawn} == {100, 200}
    assert {r.output_tokens for r in drawn} == {7}
    # 600 s at 0.5, 0.2 and 1.0 per second: 1,020 are expected.
    assert 700 < len(drawn) < 1_350
    assert len(read_trace(folder, limit=50)) == 50


def test_joined_tables_are_the_same_clients(tmp_path: Path) -> None:
    folder = client_tables(tmp_path)
    rates = tmp_path / "m_client_rates.csv"
    lines = ["client,window_start_s,rate_rps,cv,dist,param1,param2"]
    lines += ["0,0,0.5,2.0,Gamma,0.25,8", "0,600,1.0,1.0,Gamma,1.0,1", "1,0,0.2,0.5,Weibull,2.1,5"]
    rates.write_text("\n".join(lines) + "\n")
    with pytest.raises(TraceFileError, match="lengths of requests are missing"):
        read_trace(rates)
    table = ["client,window_start_s,field,pdf_json"]
    for client in "01":
        table.append(f'{client},0,input_tokens,"{{""100"": 0.5, ""200"": 0.5}}"')
        table.append(f'{client},0,output_tokens,"{{""7"": 1.0}}"')
    (tmp_path / "m_client_length_pdfs.csv").write_text("\n".join(table) + "\n")
    assert read_trace(rates, seed=3) == read_trace(folder, seed=3)


@pytest.mark.parametrize("row", ["0,1.0,1.0,Pareto,1.0,1\n", "0,often,1.0,Gamma,1.0,1\n", "0\n"])
def test_damaged_tables_are_said(row: str, tmp_path: Path) -> None:
    folder = client_tables(tmp_path)
    (folder / "chunk-0-trace.csv").write_text(row)
    with pytest.raises(TraceFileError):
        read_trace(folder)
