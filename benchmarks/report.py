"""The comparison as a Markdown table and as a plot."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.drive import Row, spread
from benchmarks.extremes import Overload, Tail
from benchmarks.limit import Limit, share
from benchmarks.phones import Difference
from benchmarks.servers import BENTOML, FASTAPI, LITSERVE, LITSERVE_BATCHES, MULTIPART, OURS, PROTOTYPE, RAW

TABLE, PLOT = "comparison.md", "comparison.svg"
COMMAND = "make bench DATA=<folder or zip of photos>"
BLUE, GREY = "#2563eb", "#94a3b8"


@dataclass
class Comparison:
    """All that was measured."""

    limits: list[Limit]
    rows: list[Row]
    left_out: dict[str, str]
    """Why, by the server's name."""
    processors: int
    connections: int
    source: str = ""
    machine: str = ""
    phones: list[Row] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    overload: Overload | None = None
    difference: Difference | None = None

    @property
    def limit(self) -> float:
        """Photos per second without a server, the middle one."""
        return median(one.rate for one in self.limits)

    def row(self, name: str, form: str) -> Row:
        """A server's runs with one form of upload.

        Raises:
            KeyError: It was not measured.
        """
        for row in self.rows:
            if (row.name, row.form) == (name, form):
                return row
        raise KeyError(f"{name}, {form}")

    def share(self, row: Row) -> float:
        """How much of the limit a server reached, the middle of the rounds."""
        shares = [
            share(run.rate, one.rate, run.generator_seconds, run.seconds, self.processors)
            for run, one in zip(row.runs, self.limits, strict=True)
        ]
        return median(shares)


def table(found: Comparison) -> str:
    """The comparison as Markdown."""
    lines = [
        f"{found.machine}. {found.source.capitalize()}, {found.connections} keep-alive connections, "
        f"{found.processors} processes each; medians of {len(found.limits)} interleaved rounds, "
        "the smallest and the largest in brackets. The load generator runs on the same processors; what it takes is "
        "taken off the limit.",
        "",
        "| server | upload | requests/s | of limit | p50, ms | p99, ms | CPU, ms a request | memory, MB | ready, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| no server: decode, resize and run in a loop |  | {spread(one.rate for one in found.limits)} | 100% |  |  | "
        f"{median(1000 * one.processor_seconds for one in found.limits):.1f} |  |  |",
        *(_line(row, found) for row in found.rows),
        "",
        *(f"Left out: {name} ({reason})." for name, reason in found.left_out.items()),
        *([""] if found.left_out else []),
        "| what | goal | measured |",
        "| --- | --- | --- |",
        *(f"| {what} | {goal} | {measured} |" for what, goal, measured in goals(found)),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row, found: Comparison) -> str:
    return (
        f"| {row.name} | {row.form} | {spread(run.rate for run in row.runs)} | {found.share(row):.0%} | "
        f"{row.median('p50'):.0f} | {row.median('p99'):.0f} | {row.median('processor'):.1f} | "
        f"{row.median('memory'):.0f} | {median(row.starts):.1f} |"
    )


def goals(found: Comparison) -> list[tuple[str, str, str]]:
    """What is wanted and what was measured, for everything that was."""
    lines = [
        ("of the in-process limit, picture as the body", "75%", f"{found.share(found.row(OURS.name, RAW)):.0%}"),
        ("of the in-process limit, multipart", "65%", f"{found.share(found.row(OURS.name, MULTIPART)):.0%}"),
    ]
    ours = {row.form: row for row in found.rows if row.name == OURS.name}
    for server, goal in ((FASTAPI, "3 ×"), (LITSERVE, "1.25 ×"), (LITSERVE_BATCHES, "1.25 ×"), (BENTOML, "1.25 ×")):
        for row in found.rows:
            if row.name == server.name:
                ratio = _ratio(ours[row.form], row)
                lines.append((f"against {row.name.partition(',')[0]}, {row.form}", goal, f"{ratio:.2f} ×"))
    if found.phones:
        large = {row.name: row for row in found.phones}
        ratio = _ratio(large[OURS.name], large[PROTOTYPE.name])
        rates = " against ".join(f"{large[server.name].rate:.0f}" for server in (OURS, PROTOTYPE))
        lines.append(("12-megapixel photos against the prototype", "3 ×", f"{ratio:.2f} × ({rates} requests/s)"))
    if found.difference:
        moved = found.difference
        what = f"scaled against whole decoding, {moved.pictures} photos enlarged to 12 megapixels"
        measured = f"{moved.greatest:.4f} at most, {moved.p99:.4f} for 99%"
        lines.append((what, "below 0.02 in probability", measured))
    if found.tails:
        p50, p99 = (median(getattr(tail, name) for tail in found.tails) for name in ("p50", "p99"))
        measured = f"{p99 / p50:.1f} × ({p99:.0f} against {p50:.0f} ms)"
        lines.append(("p99 at 70% of the highest rate", "under 3 × p50", measured))
    starts = [start for row in ours.values() for start in row.starts]
    lines.append(("process start to `/ready`", "under 1.5 s", f"{spread(starts, 2)} s"))
    if found.overload:
        lines += _overload(found.overload)
    return lines


def _ratio(row: Row, other: Row) -> float:
    """How many times as fast, the middle of the rounds: neighbours in time are compared with each other."""
    return median(a.rate / b.rate for a, b in zip(row.runs, other.runs, strict=True))


def _overload(over: Overload) -> list[tuple[str, str, str]]:
    what = f"{over.asked:.0f} requests/s for {over.seconds:.0f} s, four times what it can do"
    return [
        (f"{what}: p99 of the accepted", "under 1 s", f"{over.accepted_p99:.0f} ms ({over.accepted:.0f} requests/s)"),
        (
            "the rest get 503",
            "in under 50 ms",
            f"{over.refused:,}: p50 {over.refused_p50:.0f} ms, p99 {over.refused_p99:.0f} ms",
        ),
        ("without an answer, or with another status", "none", f"{over.lost:,} and {over.others:,}"),
        ("back to normal after", "2 s", f"{over.recovery:.1f} s"),
    ]


def draw(found: Comparison) -> Figure:
    """Draw the rates as bars, with the spread of the rounds and the limit as a line."""
    rows = sorted(found.rows, key=lambda row: row.rate)
    figure = Figure(figsize=(9, 0.45 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    names = [f"{row.name}, {row.form}" for row in rows]
    rates = [row.rate for row in rows]
    least, most = ([f(run.rate for run in row.runs) for row in rows] for f in (min, max))
    errors = [
        [rate - low for rate, low in zip(rates, least, strict=True)],
        [high - rate for rate, high in zip(rates, most, strict=True)],
    ]
    colours = [BLUE if row.name == OURS.name else GREY for row in rows]
    axes.barh(names, rates, color=colours, xerr=errors, ecolor="#334155", capsize=3)
    for index, row in enumerate(rows):
        text = f"{row.rate:,.0f}/s, {row.median('memory'):,.0f} MB"
        inside = row.rate > 0.4 * found.limit
        axes.text(
            0.01 * found.limit if inside else most[index] + 0.02 * found.limit,
            index,
            text,
            va="center",
            color="white" if inside and row.name == OURS.name else "black",
        )
    axes.axvline(found.limit, color="#dc2626", linestyle="--")
    axes.annotate("no server", (found.limit, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom")
    axes.set_xlim(0, 1.05 * max(found.limit, *most))
    axes.set_xlabel("requests per second (bar: median, line: smallest to largest round)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write(found: Comparison, folder: Path) -> None:
    """Write the table and the plot into a folder; made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    title = "# Compared with others\n\n"
    how = f"Written by `{COMMAND}`.\n\n"
    (folder / TABLE).write_text(f"{title}{how}{table(found)}\n![requests per second]({PLOT})\n")
    save(draw(found), folder / PLOT)


def save(figure: Figure, file: Path) -> None:
    """Write a plot as SVG, the same bytes for the same plot."""
    with mpl.rc_context({"svg.hashsalt": file.stem, "svg.fonttype": "path"}):
        figure.savefig(file, metadata={"Date": None})
