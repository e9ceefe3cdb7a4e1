"""Write the tables of measured figures in README.md and docs from benchmarks/results/*.json.

`make bench` measures. `scripts/tables.py` puts what was measured into the pages, and with --check
says whether the pages hold it.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "reference" / "benchmarks.md",
    ROOT / "docs" / "how-to" / "train-a-population.md",
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
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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


TABLES = {
    "steps": steps,
    "train-step": lambda: whole("train_step"),
    "quality": lambda: whole("quality"),
    "infer-mlp": lambda: whole("infer_mlp"),
    "infer-cnn": lambda: whole("infer_cnn"),
    "exactness": exactness,
    "population": lambda: whole("population"),
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
