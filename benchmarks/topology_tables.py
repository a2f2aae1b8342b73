"""Results of `benchmarks.topology` as text and as Markdown."""

from __future__ import annotations

from typing import Any

Results = dict[str, Any]

BEGIN, END = "<!-- figures: written by --readme -->\n", "<!-- end of figures -->\n"


def text(results: Results) -> str:
    """The rows as lines of a terminal."""
    lines = [
        "  ".join(f"{name} {version}" for name, version in results["versions"].items()),
        _machine(results),
        "",
        f"{'filtration':10} {'maps':12} {'side':>4} {'µs/map':>8} {'maps/s':>11} {'bound µs':>8} "
        f"{'torch µs':>9}  {'threads (batch; hashing)':32}  peers: µs/map (times slower)",
    ]
    for row in results["rows"]:
        threads = row["threads"]
        gain = (
            f"{threads['threads']}: {threads['speedup']:.2f}× ({threads['n_maps']:,} maps; "
            f"{threads['hashing_speedup']:.2f}×)"
        )
        peers = "; ".join(
            f"{name} {peer['us_per_map']:,.1f} ({peer['ratio']:,.1f}×)"
            for name, peer in row["peers"].items()
        )
        without = "".join(f"; {name}: {why}" for name, why in row["left_out"].items())
        lines.append(
            f"{row['filtration']:10} {row['maps']:12} {row['side']:4} {row['us_per_map']:8.2f} "
            f"{row['maps_per_second']:11,.0f} {row['memory_bound_us_per_map']:8.3f} "
            f"{row['torch_us_per_map']:9.1f}  {gain:32}  {peers}{without}"
        )
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """What was measured where, and two tables for each filtration: ours, and the peers."""
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    parts = [f"{results['date']}: {_machine(results)}. Versions: {versions}."]
    for filtration in dict.fromkeys(row["filtration"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["filtration"] == filtration]
        parts += [f"**{filtration}, this project**", _ours(rows), _ranges(rows)]
        parts += [f"**{filtration}, peers: µs per map (times slower)**", _peers(rows)]
    return "\n\n".join(parts) + "\n"


def renewed(document: str, results: Results) -> str:
    """The document with what stands between its two markers replaced by these results."""
    before, _, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"the file has to hold the lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{markdown(results)}\n{END}{after}"


def _machine(results: Results) -> str:
    """What the machine did beside the benchmark and could have done at most."""
    return (
        "{} processors, load average {:.1f} at the start; one thread reads {:.1f} GB/s; a first "
        "call takes {:.1f} s compiling, {:.2f} s cached; the network trained for its maps is right "
        "on {:.0%} of other images"
    ).format(
        results["processors"],
        results["load_average"],
        results["read_gigabytes_per_second"],
        *results["first_call_seconds"].values(),
        results["trained_network_accuracy"],
    )


def _ours(rows: list[Results]) -> str:
    """Speed, bound, fallback and scaling, one line a row."""
    header = [
        "maps",
        "side",
        "µs per map",
        "maps per second",
        "bound, µs",
        "torch fallback, µs",
        "gain from threads",
        "hashing gains",
        "maps in that batch",
        "maps with a birth",
    ]
    return _table(
        header,
        [
            [
                row["maps"],
                f"{row['side']}",
                _figure(row["us_per_map"]),
                f"{row['maps_per_second']:,.0f}",
                f"{row['memory_bound_us_per_map']:.3f}",
                _figure(row["torch_us_per_map"]),
                f"{row['threads']['speedup']:.2f}× of {row['threads']['threads']}",
                f"{row['threads']['hashing_speedup']:.2f}×",
                f"{row['threads']['n_maps']:,}",
                f"{row['born']:.0%}",
            ]
            for row in rows
        ],
    )


def _ranges(rows: list[Results]) -> str:
    """How many times as long the fallback and the fastest peer take, from least to most."""
    fallback = [row["torch_us_per_map"] / row["us_per_map"] for row in rows]
    fastest = [min(peer["ratio"] for peer in row["peers"].values()) for row in rows]
    return (
        f"The torch fallback takes {_figure(min(fallback))} to {_figure(max(fallback))} times as "
        f"long as the compiled kernel. The fastest peer at each side takes "
        f"{_figure(min(fastest))} to {_figure(max(fastest))} times as long."
    )


def _peers(rows: list[Results]) -> str:
    """Each peer a column."""
    names = list(dict.fromkeys(name for row in rows for name in row["peers"]))

    def cell(row: Results, name: str) -> str:
        if name not in row["peers"]:
            return str(row["left_out"].get(name, ""))
        peer = row["peers"][name]
        return f"{_figure(peer['us_per_map'])} ({_figure(peer['ratio'])}×)"

    return _table(
        ["maps", "side", *names],
        [[row["maps"], f"{row['side']}", *(cell(row, name) for name in names)] for row in rows],
    )


def _figure(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])
