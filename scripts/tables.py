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


def learned_bits() -> str:
    """Means over seeds, of accuracy with the standard deviation; a row a network and a budget."""
    order = ["learned-bits", "HGQ2", "qap"]
    groups: dict[tuple[int, int, int], list[Row]] = {}  # qap, which has no budget, comes first
    for r in rows_of("learned_bits"):
        budget, epochs = int(str(r["budget"] or 0)), int(str(r["epochs"]))
        groups.setdefault((epochs, budget, order.index(str(r["network"]))), []).append(r)
    lines: list[list[object]] = []
    for (epochs, budget, place), same in sorted(groups.items()):
        found = {
            figure: [float(str(r[figure])) for r in same if figure in r]
            for figure in ("accuracy", "ebops", "luts", "seconds")
        }
        scores = [100 * each for each in found.pop("accuracy")]
        spread = f" ± {statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
        means = [f"{statistics.fmean(each):,.0f}" if each else "" for each in found.values()]
        accuracy = f"{statistics.fmean(scores):.2f}{spread}"
        label = order[place] if place else "**learned-bits**"
        peers = {r["seed"]: r for r in groups.get((epochs, budget, order.index("HGQ2")), [])}
        apart = [
            100 * (float(str(r["accuracy"])) - float(str(peers[r["seed"]]["accuracy"])))
            for r in same
            if place == 0 and r["seed"] in peers
        ]
        line = [f"{budget:,}" if budget else "", label, epochs, len(same), accuracy, *means]
        lines.append([*line, paired(apart)])
    head = ["budget", "network", "epochs", "seeds", "accuracy, %", "EBOPs", "LUT, Yosys", "seconds"]
    return table([*head, "points over HGQ2"], lines)


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
