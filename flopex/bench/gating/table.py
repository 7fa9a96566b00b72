"""The measurements as a Markdown page, for docs/benchmarks/."""

from __future__ import annotations

import re
from typing import Any

_METHOD = """Command: `flopex bench gating --seed {seed}{quick}`. Times are microseconds, medians of
{rounds} calls between two CUDA events, with the 10th and 90th percentile in brackets. *Alone*: one
call, after {flush} MiB were written, so with cold caches. *In a graph*: {calls} calls in one CUDA
graph, divided by their number, with warm caches. *Bytes*: what must be read and written at least
once, at the rate of a copy measured in the same run ({copy} GB/s). A launch that does next to
nothing takes {alone} alone and {graph} in a graph; the *floor* is the larger of the two. Rivals are
in `flopex/bench/gating`: eager torch, the same through torch.compile, and a Triton kernel for each.
"""


def page(result: dict[str, Any], date: str) -> str:
    """The whole page; `date` is the day of the run."""
    from flopex.bench.gating import timing

    machine = result["machine"]
    floors = result["launch_floor_us"]
    parts = [
        f"# Gating kernels on {machine['gpu']}, {date}\n",
        _METHOD.format(
            seed=result["settings"]["seed"],
            quick=" --quick" if result["settings"]["quick"] else "",
            rounds=timing.ROUNDS,
            flush=timing.FLUSH_BYTES // 2**20,
            calls=timing.GRAPH_CALLS,
            copy=result["copy_gb_per_s"],
            alone=floors["alone"],
            graph=floors["graph"],
        ),
        _section("Machine", ("", ""), [(k, str(v)) for k, v in machine.items()]),
        _correctness(result),
        _section("Goals", ("goal", "met in", "worst line"), _goals(result["goals"])),
    ]
    parts.append(_model(result["model"]))
    parts += [_times(result["rows"], kind) for kind in ("alone", "graph")]
    return "\n".join(parts)


def file_name(result: dict[str, Any], date: str) -> str:
    """Such as `gating-2026-01-31-nvidia-h100.md`."""
    device = re.sub(r"[^a-z0-9]+", "-", result["machine"]["gpu"].lower()).strip("-")
    return f"gating-{date}-{device}.md"


def _section(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"## {title}\n", _row(heads), _row(("---",) * len(heads))]
    return "\n".join([*lines, *map(_row, rows)]) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _correctness(result: dict[str, Any]) -> str:
    checked = result["correctness"]
    lines = ["## Correctness\n"]
    if checked["problems"]:
        lines.append(f"**{len(checked['problems'])} differences** in {checked['cases']} cases:\n")
        lines += [f"* {problem}" for problem in checked["problems"][:20]]
    else:
        lines.append(
            f"All results of {checked['cases']} cases equal the reference's to the last bit, in "
            "two runs, on outputs that were full of garbage; nothing beside them was written."
        )
    lines.append("")
    lines += [f"* compute-sanitizer {tool}: {said}" for tool, said in result["sanitizer"].items()]
    return "\n".join(lines) + "\n"


def _goals(goals: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (goal, f"{found['met']} of {found['of']}", f"{found['worst']} ({found['where']})")
        for goal, found in goals.items()
    ]


def _model(model: dict[str, Any]) -> str:
    """The adaptive model end to end."""
    weights = "random weights" if model["random"] else f"weights {model['weights_sha256'][:16]}"
    meter, gate = model["meter"], model["gate"]
    heads = ("leases", "requests", "tokens_per_s", "steps_per_s", "joules_per_1000_tokens")
    rates = [
        tuple("unknown" if row[name] is None else f"{row[name]}" for name in heads)
        for row in model["rates"]
    ]
    lines = [
        _section(f"The model `{model['size']}`, {weights}", heads, rates),
        *(
            f"* {name} questions, one at a time: {ms['median']} ms ({ms['low']}-{ms['high']})"
            for name, ms in model["latency_ms"].items()
        ),
        (
            f"* metered as the specification on the CPU meters: {meter['equal']} of "
            f"{meter['requests']} requests; {meter['within_noise']} more hold a decision that was "
            "as close as the noise"
        ),
        (
            f"* the gate's kernels take {gate['gate_us']} of the {gate['step_us']} us of a step "
            f"of {gate['rows']} requests: {gate['share']:.1%}"
        ),
    ]
    return "\n".join(lines) + "\n"


def _times(rows: list[dict[str, Any]], kind: str) -> str:
    heads = ("function", "case", "kernel", "eager", "compile", "triton", "bytes", "kernel / floor")
    lines = []
    for row in rows:
        cells = [row["function"], row["case"]]
        cells += [_time(row["times"][name][kind]) for name in heads[2:6]]
        cells += [f"{row['bandwidth_floor_us']}", f"{row['ratios'][kind]['floor']}"]
        lines.append(tuple(cells))
    title = {"alone": "Alone", "graph": "In a graph"}[kind]
    return _section(title, heads, lines)


def _time(time: dict[str, float] | str) -> str:
    if isinstance(time, str):
        return time
    return f"{time['median_us']:.1f} ({time['low_us']:.1f}-{time['high_us']:.1f})"
