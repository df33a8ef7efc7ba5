"""The chart: requests per second and processor time of each service. Equal figures make equal files."""

from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import Case, Results
from benchmarks.services import OURS

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": OURS, "font.sans-serif": ["DejaVu Sans", "Verdana"]}
DARK = "@media (prefers-color-scheme: dark) {text {fill: #e6edf3} [style*='fill: #ffffff'] {fill: #0d1117 !important}}"
MARGINS = {"left": 0.16, "right": 0.99, "top": 0.79, "bottom": 0.02, "hspace": 0.5}
RATE, TIME = "Requests per second (more is better)", "Processor time per request in µs (less is better)"


def draw(results: Results, path: Path) -> None:
    """Draws a row of panels for each measure, with a panel for each workload, at the largest number of connections."""
    title = f"{OURS} and other services: {results.title.lower()}, {results.busiest[0][1]} connections"
    note = f"In brackets: how many times better {OURS} is. Parts of a bar: service, PostgreSQL. // marks a cut bar."
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.8))
        grid = figure.subplots(2, len(results.busiest), sharey=True, squeeze=False, gridspec_kw=MARGINS)
        figure.text(0.01, 0.95, title, weight="bold", size=13)
        figure.text(0.01, 0.905, note, size=9)
        for row, measure in zip(grid, (RATE, TIME), strict=True):
            figure.text(0.01, row[0].get_position().y1 + 0.05, measure, weight="bold", size=10)
            for axes, case in zip(row, results.busiest, strict=True):
                _draw_panel(axes, results, case, measure)
        grid[0, 0].invert_yaxis()
        figure.savefig(svg := StringIO(), format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    path.write_text(svg.getvalue().replace("</style>", f"{DARK}</style>", 1), encoding="utf-8")


def _draw_panel(axes: Axes, results: Results, case: Case, measure: str) -> None:
    runs = {service.name: results.median(service.name, case) for service in results.services}
    totals = {name: run.rate if measure == RATE else run.processor_time for name, run in runs.items()}
    *_, second, largest = sorted(totals.values())
    limit = largest if largest < 3 * second else 1.5 * second
    for place, (name, total) in enumerate(totals.items()):
        shown = min(total, limit)
        dark = shown if measure == RATE else shown * runs[name].service / total
        for start, end, alpha in ((0, dark, 1), (dark, shown, 0.5))[: 1 if measure == RATE else 2]:
            axes.barh(name, end - start, left=start, color="#009e73" if name == OURS else "#7d8fa1", alpha=alpha)
        ratio = results.ratio(name, case) if measure == RATE else total / totals[OURS]
        label = f"{total:,.0f}" if name == OURS else f"{total:,.0f} ({ratio:.2f}×)"
        axes.text(shown + limit * 0.02, place, label, va="center", size=9)
        axes.text(limit * 0.75, place, "//" if shown < total else "", va="center", color="#ffffff", weight="bold")
    axes.set_title(case[0], loc="left", size=10)
    axes.set(xlim=(0, limit * 2), xticks=[], frame_on=False)
    axes.tick_params(left=False)
