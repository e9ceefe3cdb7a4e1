"""Write the tables of measured figures in README.md and docs from benchmarks/results/*.json.

`make bench` measures. `scripts/tables.py` puts what was measured into the pages, and with --check
says whether the pages hold it.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from pareq.studies.order_statistics import difference

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "reference" / "area.md",
    ROOT / "docs" / "reference" / "benchmarks.md",
    ROOT / "docs" / "how-to" / "train-a-population.md",
    ROOT / "docs" / "how-to" / "learn-bit-widths.md",
    ROOT / "docs" / "how-to" / "table-neurons.md",
    ROOT / "docs" / "how-to" / "tune-a-schedule.md",
)
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = dict[str, object]


def rows_of(name: str) -> list[Row]:
    file = RESULTS / f"{name}.json"
    found: list[Row] = json.loads(file.read_text())
    return found


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return str(value)


def table(head: list[str], lines: list[list[object]]) -> str:
    rows = [head, ["---"] * len(head), *[[cell(c) for c in line] for line in lines]]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def whole(name: str) -> str:
    """Every row of a results file."""
    keys = ["case", "metric", "ours", "peer", "peer_name", "ratio", "bar", "holds"]
    head = ["case", "metric", "ours", "peer", "", "ratio", "bar", "holds"]
    return table(head, [[r[k] for k in keys] for r in rows_of(name)])


def steps() -> str:
    """The time of a step over that of a float step, ours and each peer, with one thread."""
    names = {"mlp": "jet MLP", "mlp+bn": "jet MLP + batch norm", "resnet20": "ResNet-20"}
    rows = [r for r in rows_of("train_step") if str(r["metric"]).endswith("1 thread")]
    rows = [r for r in rows if str(r["case"]).split(",")[0] in names]
    cases = list(dict.fromkeys(str(r["case"]).split(",")[0] for r in rows))
    beside_float = [r for r in rows if r["peer_name"] == "float"]
    floats = {str(r["case"]).split(",")[0]: float(str(r["peer"])) for r in beside_float}
    ours: dict[str, dict[str, float]] = {}
    for r in rows:
        case, variant = str(r["case"]).split(", ")
        if r["peer_name"] == "float":
            label = {"fixed": "**pareq**", "learned": "pareq, learned scales"}.get(variant)
            if label:
                ours.setdefault(label, {})[case] = float(str(r["ratio"]))
        elif r["peer_name"] != "mask only":
            ratio = float(str(r["peer"])) / floats[case]
            ours.setdefault(str(r["peer_name"]), {})[case] = ratio
    order = sorted(ours, key=lambda k: (not k.startswith("**"), ours[k].get("mlp", 9.0)))
    lines = [[k, *[f"{ours[k][c]:.2f}" if c in ours[k] else "" for c in cases]] for k in order]
    return table(["training step / float step", *[names[c] for c in cases]], lines)


def exactness() -> str:
    """Integers that differ, by family of networks, the kind of scales and what is compared."""
    lines: dict[str, dict[str, list[float]]] = {}
    for r in rows_of("exactness"):
        kind, scales = re.sub(r" \d+ bits,", "", str(r["case"])).split(", ")[0], "free"
        if not str(r["case"]).endswith("free"):
            scales = "powers of two"
        what = str(r["metric"]).removeprefix("mismatches with ")
        found = lines.setdefault(f"{kind}, {scales}", {})
        count, peer = found.setdefault(what, [0.0, 0.0]), float(str(r["peer"]))
        count[0] += float(str(r["ours"]))
        count[1] += peer
        networks = found.setdefault("networks", [0.0])
        networks[0] += what == "float64"
    programs = ["float64", "C", "C AVX2", "C plain", "ONNX"]
    ties = "float32 mismatches that are no ties"
    head = ["networks", "number", "integers compared", *programs, "float32: all", "no ties"]
    body: list[list[object]] = []
    for name, found in sorted(lines.items()):
        single = [int(found[ties][1]), int(found[ties][0])]
        differ = [int(found[p][0]) if p in found else None for p in programs]
        count = [int(found["networks"][0]), f"{int(found['float64'][1]):,}"]
        body.append([name, *count, *differ, *single])
    return table(head, body)


def rtl() -> str:
    """Samples that were compared without a difference, by network, emitter and simulator."""
    lines: list[list[object]] = []
    for r in rows_of("rtl"):
        what, emitter, simulator = str(r["metric"]).rsplit(", ", 2)
        if what == "equal samples":
            lines.append([r["case"], emitter, simulator, f"{float(str(r['ours'])):,.0f}"])
    return table(["network", "design", "simulator", "samples, all equal"], lines)


def lut_model() -> str:
    """Means over seeds, and how far the tables that training counts are from those of Yosys."""
    groups: dict[tuple[str, str, int, int], list[Row]] = {}
    for r in rows_of("lut_model"):
        key = str(r["kind"]), str(r["what"]), int(str(r["budget"])), int(str(r["epochs"]))
        groups.setdefault(key, []).append({k: v for k, v in r.items() if v is not None})
    lines: list[list[object]] = []
    for (kind, what, budget, epochs), same in sorted(groups.items(), key=lambda g: g[0][::-1]):
        scores = [100 * each for each in figures(same, "accuracy").values()]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        found = [figures(same, each) for each in ("ebops", "counted", "estimate", "luts")]
        means = [f"{statistics.fmean(each.values()):,.0f}" if each else "" for each in found]
        _, counted, _, luts = found
        errors = [100 * (counted[seed] / luts[seed] - 1) for seed in luts if seed in counted]
        label = f"budget of {what}, {budget:,}" if kind == "learned" else f"qap-fixed, {what}"
        line = [label, epochs, len(same), f"{statistics.fmean(scores):.2f}{spread}", *means]
        lines.append([*line, f"{min(errors):+.1f} to {max(errors):+.1f}" if errors else ""])
    head = ["network", "epochs", "seeds", "accuracy, %", "EBOPs", "LUT, `Luts`", "LUT, estimate"]
    return table([*head, "LUT, Yosys", "`Luts` / Yosys - 1, %"], lines)


def learned_rows() -> dict[tuple[int, int, str], list[Row]]:
    """By epochs, budget (0: none) and network, ours first."""
    order = ["learned-bits", "HGQ2", "qap", "qap-fixed"]
    groups: dict[tuple[int, int, int], list[Row]] = {}
    for r in rows_of("learned_bits"):
        budget, epochs = int(str(r["budget"] or 0)), int(str(r["epochs"]))
        groups.setdefault((epochs, budget, order.index(str(r["network"]))), []).append(r)
    return {(e, b, order[place]): same for (e, b, place), same in sorted(groups.items())}


def figures(rows: list[Row], figure: str) -> dict[object, float]:
    """By seed, where it was measured."""
    return {r["seed"]: float(str(r[figure])) for r in rows if figure in r}


def learned_bits() -> str:
    """Means over seeds, of accuracy with the standard deviation; a row a network and a budget."""
    lines: list[list[object]] = []
    for (epochs, budget, name), same in learned_rows().items():
        scores = [100 * each for each in figures(same, "accuracy").values()]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        accuracy = f"{statistics.fmean(scores):.2f}{spread}"
        rest = [figures(same, figure).values() for figure in ("ebops", "luts", "seconds")]
        means = [f"{statistics.fmean(each):,.0f}" if each else "" for each in rest]
        label = f"**{name}**" if name == "learned-bits" else name
        line = [f"{budget:,}" if budget else "", label, epochs, len(same), accuracy]
        lines.append([*line, *means])
    head = ["budget", "network", "epochs", "seeds", "accuracy, %", "EBOPs", "LUT, Yosys", "seconds"]
    return table(head, lines)


def learned_bits_beside() -> str:
    """Our networks beside each other one: points of accuracy, and times fewer tables and seconds.

    Beside HGQ2 at the same budget, beside uniform networks at every budget.
    """
    groups = learned_rows()
    lines: list[list[object]] = []
    for (epochs, budget, name), ours in groups.items():
        for (others, given, peer), theirs in groups.items():
            if name != "learned-bits" or peer == name or epochs != others:
                continue
            if given in (0, budget):
                lines.append([f"{budget:,}", peer, *beside(ours, theirs)])
    return table(
        ["budget", "beside", "points more", "LUT, times fewer", "seconds, times fewer"], lines
    )


def beside(ours: list[Row], theirs: list[Row]) -> list[str]:
    """Over the seeds that both have: the difference in points, and two ratios of means."""
    a, b = figures(ours, "accuracy"), figures(theirs, "accuracy")
    found = [paired([100 * (a[seed] - b[seed]) for seed in a if seed in b])]
    for figure in ("luts", "seconds"):
        a, b = figures(ours, figure), figures(theirs, figure)
        both = [(b[seed], a[seed]) for seed in a if seed in b]
        sums = [sum(each) for each in zip(*both, strict=True)]
        found.append(f"{sums[0] / sums[1]:.2f}" if both else "")
    return found


def table_neurons() -> str:
    """Means over seeds, by look-up tables; beside them learned bits of as many."""
    groups: dict[tuple[str, int], list[Row]] = {}
    learned = "learned-bits, 64-32-32, {:,} EBOPs"
    for r in rows_of("table_neurons"):
        name = learned.format(r.get("budget", 0))
        if "widths" in r:
            sizes = "-".join(map(str, r["widths"]))
            name = f"**table-neurons**, {sizes}, input {r['bits']} bits"
        groups.setdefault((name, int(str(r["epochs"]))), []).append(r)
    for (epochs, budget, name), same in learned_rows().items():
        if name == "learned-bits" and budget <= 2500:
            groups[learned.format(budget), epochs] = same
    lines: list[list[object]] = []
    for (name, epochs), same in groups.items():
        scores = [100 * each for each in figures(same, "accuracy").values()]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        parts = [
            figures(same, part).values() for part in ("luts", "lut_estimate", "lut_estimate_adders")
        ]
        means = [round(statistics.fmean(each)) if each else None for each in parts]
        line = [name, epochs, len(same), f"{statistics.fmean(scores):.2f}{spread}", *means]
        lines.append(line)
    lines.sort(key=lambda line: int(str(line[4])))
    head = ["network", "epochs", "seeds", "accuracy, %", "LUT, Yosys", "estimated", "of adders"]
    return table(head, lines)


def paired(values: list[float]) -> str:
    """The mean of one value a seed, with its interval of 95 %."""
    if not values:
        return ""
    found = difference(values)
    return f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


TABLES = {
    "steps": steps,
    "train-step": lambda: whole("train_step"),
    "quality": lambda: whole("quality"),
    "infer-mlp": lambda: whole("infer_mlp"),
    "infer-cnn": lambda: whole("infer_cnn"),
    "exactness": exactness,
    "population": lambda: whole("population"),
    "learned-bits": learned_bits,
    "table-neurons": table_neurons,
    "learned-bits-beside": learned_bits_beside,
    "lut-model": lut_model,
    "area": lambda: whole("area"),
    "rtl": rtl,
    "tune": lambda: whole("tune"),
}


def main() -> None:
    stale = []
    for page in PAGES:
        old = page.read_text()
        new = MARK.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[3]}", old)
        if new != old:
            stale.append(page)
            if "--check" not in sys.argv:
                page.write_text(new)
    if stale and "--check" in sys.argv:
        names = ", ".join(page.name for page in stale)
        sys.exit(f"{names}: not what benchmarks/results say; run scripts/tables.py")


if __name__ == "__main__":
    main()
