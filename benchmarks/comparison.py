"""The comparison with other servers as a Markdown table and a plot."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from benchmarks.drive import Row
from benchmarks.limit import Limit, share
from benchmarks.load.result import LOST, OK, Result
from benchmarks.overload import Overload
from benchmarks.report import BLUE, GREY, RED, save, spread, table
from benchmarks.servers import BENTOML, FASTAPI, LITSERVE, LITSERVE_BATCHES, MULTIPART, OURS, RAW

TABLE, PLOT = "comparison.md", "comparison.svg"
FULL = 503
RATIO_GOALS = {FASTAPI.name: "3 ×", LITSERVE.name: "1.25 ×", LITSERVE_BATCHES.name: "1.25 ×", BENTOML.name: "1.25 ×"}
COMMAND = "make bench DATA=<folder or zip of photos>"
COLUMNS = (
    *("server", "upload", "requests/s", "of limit", "p50, ms", "p99, ms"),
    *("CPU, ms a request", "memory, MB", "ready, s"),
)


@dataclass
class Comparison:
    """All measurements."""

    limits: list[Limit]
    rows: list[Row]
    left_out: dict[str, str]
    """Reason by name of the server."""
    cpus: int
    connections: int
    source: str = ""
    machine: str = ""
    phone_photos: list[Row] = field(default_factory=list)
    tails: list[Result] = field(default_factory=list)
    overload: Overload | None = None

    @property
    def limit(self) -> float:
        """Median of the photos per second without a server."""
        return median(one.rate for one in self.limits)

    @property
    def ours(self) -> dict[str, Row]:
        """The rows of this service by form of upload."""
        return {row.form: row for row in self.rows if row.name == OURS.name}

    def share(self, row: Row) -> float:
        """Compute the share of the limit that a server reached: the median of the rounds."""
        return median(
            share(run.rate, one.rate, run.generator_cpu_seconds, run.seconds, self.cpus)
            for run, one in zip(row.runs, self.limits, strict=True)
        )


def describe(found: Comparison) -> str:
    """Format the comparison as Markdown."""
    rate, cpu = spread(one.rate for one in found.limits), median(1000 * one.cpu_seconds for one in found.limits)
    limit = ("no server: decode, resize and run in a loop", "", rate, "100%", "", "", f"{cpu:.1f}", "", "")
    parts = [
        f"{found.machine}. {found.source.capitalize()}, {found.connections} keep-alive connections, "
        f"{found.cpus} processes each; medians of {len(found.limits)} interleaved rounds, the smallest and the largest "
        "in brackets. The load generator runs on the same processors; its CPU time is subtracted from the limit.",
        table(COLUMNS, [limit, *(_cells(row, found) for row in found.rows)]),
        *(f"Left out: {name} ({reason})." for name, reason in found.left_out.items()),
        table(("what", "goal", "measured"), goals(found)),
    ]
    return "\n\n".join(parts) + "\n"


def _cells(row: Row, found: Comparison) -> list[str]:
    return [
        row.name,
        row.form,
        spread(run.rate for run in row.runs),
        f"{found.share(row):.0%}",
        f"{row.median('p50'):.0f}",
        f"{row.median('p99'):.0f}",
        f"{row.median('cpu_ms'):.1f}",
        f"{row.median('memory_mb'):.0f}",
        f"{median(row.starts):.1f}",
    ]


def goals(found: Comparison) -> list[tuple[str, str, str]]:
    """List goals and measurements."""
    ours = found.ours
    lines = [
        ("of the in-process limit, raw body", "75%", f"{found.share(ours[RAW]):.0%}"),
        ("of the in-process limit, multipart", "65%", f"{found.share(ours[MULTIPART]):.0%}"),
    ]
    for row in found.rows:
        if row.name != OURS.name:
            what = f"against {row.name.partition(',')[0]}, {row.form}"
            lines.append((what, RATIO_GOALS.get(row.name, ""), f"{_ratio(ours[row.form], row):.2f} ×"))
    if found.phone_photos:
        large = {row.name: row for row in found.phone_photos}
        ratio = _ratio(large[OURS.name], large[FASTAPI.name])
        rates = " against ".join(f"{large[server.name].median('rate'):.0f}" for server in (OURS, FASTAPI))
        lines.append(("12-megapixel photos against FastAPI", "3 ×", f"{ratio:.2f} × ({rates} requests/s)"))
    if found.tails:
        p50, p99 = (median(tail.percentile(percent) for tail in found.tails) for percent in (50, 99))
        measured = f"{p99 / p50:.1f} × ({p99:.0f} against {p50:.0f} ms)"
        lines.append(("p99 at 70% of the highest rate", "under 3 × p50", measured))
    starts = [start for row in ours.values() for start in row.starts]
    lines.append(("process start to `/ready`", "under 1.5 s", f"{spread(starts, 2)} s"))
    if found.overload:
        result = found.overload.result
        others = sum(count for status, count in result.statuses.items() if status not in (OK, FULL, LOST))
        load = f"{found.overload.rate:.0f} requests/s for {result.seconds:.0f} s, four times the highest rate"
        accepted = f"{result.percentile(99):.0f} ms ({result.rate:.0f} requests/s)"
        refused = f"p50 {result.percentile(50, FULL):.0f} ms, p99 {result.percentile(99, FULL):.0f} ms"
        lines += [
            (f"{load}: p99 of the accepted", "under 1 s", accepted),
            ("the rest get 503", "in under 50 ms", f"{result.statuses[FULL]:,}: {refused}"),
            ("no response, or another status", "none", f"{result.statuses[LOST]:,} and {others:,}"),
            ("back to normal after", "2 s", f"{found.overload.recovery:.1f} s"),
        ]
    return lines


def _ratio(row: Row, other: Row) -> float:
    """Compute the median ratio of rates within a round, whose runs are neighbours in time."""
    return median(a.rate / b.rate for a, b in zip(row.runs, other.runs, strict=True))


def draw(found: Comparison) -> Figure:
    """Draw the rates as bars, with the spread of the rounds and the limit as lines."""
    rows = sorted(found.rows, key=lambda row: row.median("rate"))
    figure = Figure(figsize=(9, 0.45 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    rates = [row.median("rate") for row in rows]
    least, most = ([f(run.rate for run in row.runs) for row in rows] for f in (min, max))
    errors = [
        [rate - low for rate, low in zip(rates, least, strict=True)],
        [high - rate for rate, high in zip(rates, most, strict=True)],
    ]
    colours = [BLUE if row.name == OURS.name else GREY for row in rows]
    names = [f"{row.name}, {row.form}" for row in rows]
    axes.barh(names, rates, color=colours, xerr=errors, ecolor="#334155", capsize=3)
    for index, row in enumerate(rows):
        inside = rates[index] > 0.4 * found.limit
        axes.text(
            0.01 * found.limit if inside else most[index] + 0.02 * found.limit,
            index,
            f"{rates[index]:,.0f}/s, {row.median('memory_mb'):,.0f} MB",
            va="center",
            color="white" if inside and row.name == OURS.name else "black",
        )
    axes.axvline(found.limit, color=RED, linestyle="--")
    axes.annotate("no server", (found.limit, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    axes.set_xlim(0, 1.05 * max(found.limit, *most))
    axes.set_xlabel("requests per second (bar: median, line: smallest to largest round)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write(found: Comparison, folder: Path) -> None:
    """Write the table and the plot into a folder; create it if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    head = f"# Comparison with other servers\n\nWritten by `{COMMAND}`.\n\n"
    (folder / TABLE).write_text(f"{head}{describe(found)}\n![requests per second]({PLOT})\n")
    save(draw(found), folder / PLOT)
