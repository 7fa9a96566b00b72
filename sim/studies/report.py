"""A study's report: one HTML file that needs nothing else, made to be printed and to be kept."""

from __future__ import annotations

import html
import json
import math
import shlex
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from sim.scenario import Scenario
from sim.studies.figures import svg
from sim.studies.study import Claim, Plan, Study

_WORDS: Final = {
    True: "<span class='met'>met</span>",
    False: "<span class='missed'>not met</span>",
    None: "",
}
SCENARIO_FILE: Final = "scenario.toml"
"""Stands in the command for a file that says what the report prints of the scenario."""
ROWS_SHOWN: Final = 60
"""Of the table of means; the Parquet file has all rows."""

_STYLE: Final = """
body { font: 16px/1.5 Georgia, 'Times New Roman', serif; color: #1b1b1b; background: #fff;
  max-width: 46rem; margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; font-weight: normal; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
.kind { color: #666; margin: 0 0 1.2rem; font-size: .9rem; }
dl { display: grid; grid-template-columns: 7rem 1fr; gap: .3rem .8rem; margin: 0; }
dt { color: #666; } dd { margin: 0; }
table { border-collapse: collapse; font-size: .84rem; width: 100%; margin: .5rem 0; }
th, td { text-align: right; padding: .22rem .5rem; border-bottom: 1px solid #e6e6e6;
  font-variant-numeric: tabular-nums; vertical-align: top; }
th { border-bottom: 1.5px solid #444; font-weight: normal; color: #444; }
th:first-child, td:first-child { text-align: left; }
.met { color: #00684a; } .missed { color: #a33b00; }
.why { color: #555; font-size: .92em; }
figure { margin: 1.2rem 0 1.6rem; }
figure svg { max-width: 100%; height: auto; display: block; margin: 0 auto .4rem; }
figcaption { font-size: .88rem; color: #333; }
pre { font-size: .76rem; background: #f6f6f4; padding: .7rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def write_report(
    study: Study,
    plan: Plan,
    frame: pl.DataFrame,
    claims: list[Claim],
    verdict: dict[str, Any],
    path: Path,
) -> None:
    """Write the report of a study that was run."""
    figures = "".join(
        f"<figure>{svg(plot.figure)}<figcaption><b>Figure {number}.</b> "
        f"{html.escape(plot.caption)}</figcaption></figure>"
        for number, plot in enumerate(study.draw(frame), 1)
    )
    stated = {
        "Hypothesis": study.hypothesis,
        "Metric": study.metric,
        "Threshold": study.threshold,
        "Data": _data(plan),
    }
    listed = "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in stated.items())
    title = f"{study.number}: {study.name.replace('_', ' ')}"
    path.write_text(
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class='kind'>A study of the market by its simulator, "
        f"which runs the engine that runs live.</p><dl>{listed}</dl>"
        f"<h2>Verdict</h2>{_claims(claims)}"
        f"<h2>Figures</h2>{figures}"
        f"<h2>Means over windows</h2>{_means(plan, study, frame)}"
        f"<h2>To run it again</h2><pre>{html.escape(_command(study, plan))}</pre>"
        f"<pre>{html.escape(_settings(plan.scenario))}</pre>"
        f"<p class='kind'>Digest of the results: {verdict['digest']}</p></body></html>\n"
    )


def _settings(scenario: Scenario) -> str:
    """The scenario as JSON; what traces of supply gave is only counted."""
    shown = msgspec.to_builtins(scenario)
    if scenario.losses and scenario.losses.nodes:
        shown["losses"]["nodes"] = f"{len(scenario.losses.nodes)} comings and goings of a trace"
    if scenario.spot:
        shown["spot"]["prices"] = f"{len(scenario.spot.prices)} prices of a trace"
    return json.dumps(shown, indent=1)


def _data(plan: Plan) -> str:
    names = ", ".join(Path(trace).name for trace in plan.traces) or "none but the study's own"
    loads = ", ".join(f"{load:g}" for load in plan.loads)
    windows = f"; {plan.scenario.windows} windows each" if plan.traces else ""
    parts = [f"traces: {names}", f"seeds: {', '.join(map(str, plan.seeds))}{windows}"]
    return "; ".join(parts[:1] + ([f"loads: {loads}"] if loads else []) + parts[1:])


def _claims(claims: list[Claim]) -> str:
    rows = []
    for claim in claims:
        mean, low, high = claim.figure
        span = f"{low:.3f} to {high:.3f}" if low < high and math.isfinite(low) else ""
        word = _WORDS[claim.met]
        why = f"<div class='why'>{html.escape(claim.why)}</div>" if claim.why else ""
        rows.append(
            f"<tr><td>{html.escape(claim.says)}{why}</td><td>{mean:.3f}</td>"
            f"<td>{span}</td><td>{word}</td></tr>"
        )
    head = "<tr><th>claim</th><th>figure</th><th>95 %</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _means(plan: Plan, study: Study, frame: pl.DataFrame) -> str:
    """Means of every number by the cells' parameters."""
    keys = [name for name in study.cells(plan)[0] if name in frame.columns]
    numbers = [
        name
        for name, kind in frame.schema.items()
        if kind.is_numeric() and name not in (*keys, "window")
    ]
    means = frame.group_by(keys, maintain_order=True).agg(pl.col(numbers).mean())
    head = "".join(f"<th>{html.escape(name)}</th>" for name in means.columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_shown(value)}</td>' for value in row)}</tr>"
        for row in means.head(ROWS_SHOWN).iter_rows()
    )
    left = max(means.height - ROWS_SHOWN, 0)
    note = f"<p class='kind'>{left} more rows in the Parquet file.</p>" if left else ""
    return f"<div style='overflow-x:auto'><table><tr>{head}</tr>{body}</table></div>{note}"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return html.escape(str(value))


def _command(study: Study, plan: Plan) -> str:
    parts = ["flopex", "sim", "study", study.name]
    for trace in plan.traces:
        parts += ["--trace", Path(trace).name]
    for load in plan.loads:
        parts += ["--load", f"{load:g}"]
    if plan.seeds != tuple(range(1, study.seeds + 1)):
        parts += [part for seed in plan.seeds for part in ("--seed", str(seed))]
    if plan.curves:
        parts += ["--curves", Path(plan.curves).name]
    usual = Scenario()
    if plan.scenario.windows != usual.windows:
        parts += ["--windows", str(plan.scenario.windows)]
    named = {"load": usual.load, "seed": usual.seed, "windows": usual.windows}
    if msgspec.structs.replace(plan.scenario, **named) != usual:
        parts += ["--scenario", SCENARIO_FILE]
    return shlex.join(parts)
