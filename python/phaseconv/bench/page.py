"""The page of results: Markdown and plots, from result files alone. No number is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from . import figures, plot
from .figures import FIRST, LAST, ours, theirs

Document = dict[str, Any]

INTRODUCTION = """# Performance

Every number here comes from a result file; `bench/render.py` writes this page from those in
`bench/results`. To repeat them on a machine of your own, with PyTorch and this package installed:

    python -m phaseconv.bench --suite shapes/perf.txt --output result.json --page result.md

and on a CPU, with batch 1 and without the largest layers:

    python -m phaseconv.bench --device cpu --suite shapes/perf.txt --batch 1 --max-gflop 60 \\
      --threads 2 --output result.json --page result.md

`bench/gpu_check` does that and more on a GPU.

**Times** are medians of calls of `phaseconv.conv_transpose*` and of PyTorch's functions of that
name on the same tensors, in turns in one process, in inference mode; ours with its weights packed
before. Each call allocates its output; on a CPU, glibc makes large ones of new pages each time,
for both, unless `--keep-memory` is given. On a GPU it is the GPU's own time, in which calls
follow each other without waiting for the host, cuDNN tries its algorithms first (`benchmark =
True`), and TF32 is switched on for the type `tf32` alone; what fits into the GPU's cache is found
there, for both.

**The floor** is the larger of a layer's bytes (each tensor once) over the rate of copies and its
operations over the rate of matrix products in its type, and at least 3 µs on a GPU. Both rates
are what PyTorch's own `copy_` and `mm` reached in the same run. For `f32` on a GPU, products are
those of plain float32 or a third of the rate of TF32, whichever is more: three TF32 products make
one of float32. For 16-bit types they are those of that type or of float32. **Share** is floor
over time.

**Ratio** is PyTorch's time over ours: above 1 we are faster. *To the better layout* compares our
channels-first time with PyTorch's faster layout. Layers that PyTorch computes faster are printed
**bold**. Means are geometric. `tf32` of grouped layers is computed in float32, by cuDNN and by
us.

**Results** are compared with PyTorch's in the same run; a wrong one is marked.
"""

OLDER = """
*Measured before `python -m phaseconv.bench` existed: programs in turns, with floors by float32
multiply-adds without tensor cores, whatever the type.*
"""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


# --- python -m phaseconv.bench ------------------------------------------------------------------


def summary_table(document: Document) -> str:
    header = ["type", "layers", "ratio, channels first", "channels last", "to the better layout"]
    header += ["share, channels first", "channels last", "slower than PyTorch's better layout"]
    rows = []
    for kind, of in document["summary"].items():
        ratios = (of[f"ratio_{name}"] for name in (FIRST, LAST, "best_layout"))
        left = f", {of['left_to_pytorch']} left to PyTorch" if of["left_to_pytorch"] else ""
        wrong = f", **{of['wrong']} wrong**" if of["wrong"] else ""
        rows.append(
            [f"`{kind}`", f"{of['layers']}{left}{wrong}", *map(times, ratios)]
            + [percent(of["floor_share"][layout]) for layout in (FIRST, LAST)]
            + [str(of["slower_than_best_layout"])]
        )
    return table(header, rows)


def _predictions(summary: Document) -> str:
    """One sentence a type."""
    text = ""
    for kind, of in summary.items():
        if (found := of["prediction"])["layers"]:
            text += (
                f"\nPredicted times, `{kind}`: {found['within_30_percent']} of {found['layers']} "
                f"layers within 30% of the measured one, {found['within_25_percent']} within 25%; "
                f"{found['over_measured']:.2f} times it in the mean.\n"
            )
    return text


def _layer(row: Document) -> list[str]:
    best = row["ratios"]["best_layout"]
    lost = best is None or best < 1
    first = row["layouts"][FIRST]["phaseconv"]
    name = row["name"] + ("" if figures.passed(row) else " **(wrong)**")
    predicted = first.get("predicted_ms")
    return [
        name,
        f"`{row['problem']}`",
        ms(row["floor_ms"]),
        *(ms(whose(row, layout)) for whose in (ours, theirs) for layout in (FIRST, LAST)),
        times(row["ratios"]["same_layout"][FIRST]),
        f"**{times(best) or 'left to PyTorch'}**" if lost else times(best),
        percent(row["floor_share"][FIRST]),
        percent(row["floor_share"].get(LAST)),
        f"`{first['plan']}`" if "plan" in first else "",
        ms(predicted),
    ]


def _rates(ceilings: Document) -> str:
    products = ", ".join(f"{kind} {rate / 1e12:.3g}" for kind, rate in ceilings["products"].items())
    return (
        f"Ceilings: copies {ceilings['copy_bytes_per_second'] / 1e9:.0f} GB/s (read and written), "
        f"writes {ceilings['write_bytes_per_second'] / 1e9:.0f} GB/s, to new memory "
        f"{ceilings['new_write_bytes_per_second'] / 1e9:.0f} GB/s, matrix products in TFLOP/s: "
        f"{products}.\n"
    )


def _left_out(document: Document) -> str:
    text = ""
    for name, what in (("left_out", "Left out"), ("failed", "**Failed**")):
        by_reason: dict[str, list[str]] = {}
        for row in document[name]:
            by_reason.setdefault(row["reason"].splitlines()[0], []).append(row["problem"])
        for reason, problems in by_reason.items():
            text += f"\n{what} ({reason}): " + ", ".join(f"`{p}`" for p in problems) + ".\n"
    return text


def _bench(stem: str, document: Document, plots: dict[str, str]) -> str:
    """Tables of a run; its plots are added to `plots` by file name."""
    text = _rates(document["ceilings"])
    if (batch := document["settings"]["batch"]) is not None:
        text += f"Batch {batch} in every problem.\n"
    if document["settings"]["keep_memory"]:
        text += "Freed memory stayed with the process (`--keep-memory`).\n"
    text += "\n" + summary_table(document) + _predictions(document["summary"])
    header = ["layer", "problem", "floor, ms", "ours, channels first", "ours, channels last"]
    header += ["PyTorch, channels first", "PyTorch, channels last", "ratio, channels first"]
    header += ["ratio to the better layout", "share, channels first", "share, channels last"]
    header += ["plan, channels first", "predicted, ms"]
    for kind in document["summary"]:
        rows = [row for row in document["results"] if row["type"] == kind]
        name = f"{stem}-{kind}.svg"
        title = f"{_device(document)}, {kind}: time over the floor, each layer"
        plots[name] = plot.svg(title, rows)
        text += f"\n### {kind}\n\n![{title}](PLOTS/{name})\n\n" + table(header, map(_layer, rows))
    return text + _left_out(document)


def _device(document: Document) -> str:
    environment = document["environment"]
    if name := environment.get("gpu", {}).get("name"):
        return name
    where = environment["cpu"] or environment["system"]
    if found := _instruction_set(document):  # processors of one name differ in it
        where += f" {found}"
    count = environment.get("threads")
    return f"{where}, {count} thread{'' if count == 1 else 's'}" if count else where


def _instruction_set(document: Document) -> str | None:
    """What the first plan on a processor names: "cpu AVX2, cells:oc4,..."."""
    for row in document.get("results", [])[:1]:
        plan = row["layouts"]["channels_first"]["phaseconv"].get("plan", "")
        if found := re.match(r"cpu (\w+),", plan):
            return found[1]
    return None


def _heading(name: str, document: Document) -> str:
    environment = document["environment"]
    text = f"\n## {_device(document)}\n\n`{name}`: commit `{environment['commit'] or 'unknown'}`, "
    text += environment["date"]
    if driver := environment.get("gpu", {}).get("driver_version"):
        text += f", driver {driver}"
    if torch := environment.get("torch"):
        text += f", PyTorch {torch}"
    if cudnn := environment.get("cudnn"):
        text += f" with cuDNN {cudnn}"
    return text + ".\n"


def bench(name: str, document: Document, plots: dict[str, str]) -> str:
    return _heading(name, document) + "\n" + _bench(Path(name).stem, document, plots)


# --- bench/gpu_check, and what came before ------------------------------------------------------


def _comparison(rows: list[Document]) -> str:
    header = ["problem", "phaseconv, ms", "PyTorch, ms", "ratio", "floor, ms"]
    lines = [
        [
            f"`{row['problem']}`",
            *(ms(row["phaseconv_ms"]), ms(row["torch_ms"]), f"{row['ratio']:.2f}"),
            ms(row["phaseconv"][0]["floor_ms"]),
        ]
        for row in rows
    ]
    return table(header, lines)


def cpu_comparison(name: str, document: Document, plots: dict[str, str]) -> str:
    return _heading(name, document) + OLDER + "\n" + _comparison(document["results"])


def _emitted(rows: list[Document]) -> str:
    """Files of examples/kernelbench beside those that they were written from."""
    header = ["file", "problem", "`ModelNew`, ms", "`Model`, ms", "ratio"]
    header += ["largest difference", "of what is allowed", "equal weights"]
    lines = [
        [
            f"`{row['name']}`" + ("" if row["pass"] else " **(wrong)**"),
            " ".join(f"`{problem}`" for problem in row["problems"]),
            *(ms(row[who]["median_ms"]) for who in ("model_new", "model")),
            times(row["ratio"]),
            f"{row['max_difference']:.1e}",
            percent(row["max_difference_over_tolerance"]),
            "yes" if row["equal_weights"] else "**no**",
        ]
        for row in rows
    ]
    text = (
        "\n### Emitted files\n\n`examples/kernelbench`, built there by `load_inline`, beside the "
        "models that they replace, under PyTorch's default switches; allowed is "
        f"{rows[0]['tolerance']:.0e}, absolute and relative, over {rows[0]['inputs']} inputs.\n\n"
    )
    return text + table(header, lines)


def _calls(calls: Document) -> str:
    """What the host pays for a call, and for the first one."""
    text = ""
    if found := calls.get("overhead"):
        lines = [
            [
                *(f"{on['device']}, {row['rank']}D", f"{row['phaseconv_us']:.1f}"),
                *(f"{row['pytorch_us']:.1f}", f"{row['phaseconv_us'] - row['pytorch_us']:+.1f}"),
            ]
            for on in found
            for row in on["results"]
        ]
        header = ["the host's side of the smallest call, µs", "phaseconv", "PyTorch", "difference"]
        text += "\n" + table(header, lines)
    for graph in (on["graph"] for on in found or [] if on.get("graph")):
        counts = " and ".join(f"{len(kernels)} ({who})" for who, kernels in graph.items())
        text += f"\nKernels in a CUDA graph of one call: {counts}.\n"
    if found := calls.get("first"):
        lines = [
            [f"`{row['problem']}`", *(ms(row[f"{when}_ms"]) for when in ("cold", "first", "next"))]
            for row in found
        ]
        header = ["first call of a converted layer, ms", "cold cache", "warm cache", "later calls"]
        text += "\n" + table(header, lines)
    return text


def _tested(document: Document) -> str:
    """What passed, in one paragraph."""
    checked = sum(row["checked"] for row in document["verify"])
    passed = sum(row["passed"] for row in document["verify"])
    text = f"\nVerified in the same run: {passed} of {checked} checks passed."
    for row in document["sanitizer"]:
        state = "time limit reached" if row["stopped"] else f"{row['errors']} errors"
        plan = f" ({row['plan']})" if "plan" in row else ""
        text += f" compute-sanitizer {row['tool']} over `{row['suite']}.txt`{plan}: {state}."
    if rows := document.get("repeat"):
        passed, checked = (sum(row[key] for row in rows) for key in ("passed", "checked"))
        text += f" The same bits in {rows[0]['runs']} runs: {passed} of {checked} problems."
    if found := document.get("pytest"):
        counts = ", ".join(f"{found[name]} {name}" for name in ("passed", "failed", "skipped"))
        text += f" Python tests: {counts}; {found['passed_on_cuda']} passed on the GPU."
    return text + "\n"


def gpu_check(name: str, document: Document, plots: dict[str, str]) -> str:
    text = _heading(name, document)
    if rows := document.get("comparison"):
        text += OLDER + "\n" + _comparison(rows)
    if document.get("pytorch"):
        text += "\n" + _bench(Path(name).stem, document["pytorch"], plots)
    if rows := document.get("emitted"):
        text += _emitted(rows)
    text += _calls(document.get("calls", {}))
    if document["prepare"]:
        lines = [
            [f"`{r['problem']}`", ms(r["cold_ms"]), ms(r["warm_ms"])] for r in document["prepare"]
        ]
        text += "\n" + table(["prepare", "cold cache, ms", "warm cache, ms"], lines)
    if document["bench"]["results"]:
        lines = [
            [
                *(f"`{row['problem']}`", f"`{row['plan']}`"),
                *(ms(row["median_ms"]), ms(row["floor_ms"]), percent(row["floor_share"])),
            ]
            for row in document["bench"]["results"]
        ]
        text += "\nBy `phaseconv bench`, whose floor takes the rate of float32 multiply-adds:\n\n"
        text += table(["problem", "plan", "time, ms", "floor, ms", "share"], lines)
    return text + _tested(document)


KINDS = {"bench": bench, "gpu check": gpu_check, "cpu comparison": cpu_comparison}


# --- everything ---------------------------------------------------------------------------------


def files(documents: dict[str, Document], page: Path) -> dict[Path, str]:
    """The page and its plots, by path. Documents by the names of their files; others than results
    are left aside."""
    plots: dict[str, str] = {}
    text = INTRODUCTION
    for name, document in documents.items():
        if document.get("kind") in KINDS:
            text += KINDS[document["kind"]](name, document, plots)
    folder = page.with_suffix("")
    text = text.replace("](PLOTS/", f"]({folder.name}/")
    return {page: text} | {folder / name: plots[name] for name in sorted(plots)}


def headline(documents: Iterable[Document]) -> str:
    """The README's lines: the first problem, channels first, float32, wherever it was measured; of
    a machine what was measured last."""
    first = "ic32,oc32,g4,i32x64x128,k3,s2,p1"
    lines: dict[str, str] = {}
    newest = sorted(documents, key=lambda d: d["environment"].get("date", ""), reverse=True)
    for document in newest:
        environment = document["environment"]
        run = document.get("pytorch") or document
        older = document.get("comparison") or (
            document["results"] if document["kind"] == "cpu comparison" else []
        )
        found = [(row["problem"], row["phaseconv_ms"], row["torch_ms"]) for row in older] or [
            (row["problem"], ours(row), theirs(row, FIRST))
            for row in run.get("results", [])
            if row["type"] == "f32" and ours(row) is not None
        ]
        for problem, mine, torch in found:
            if problem.endswith(first):
                where = _device(document)
                version = run["environment"].get("torch", environment.get("torch"))
                lines.setdefault(
                    where,
                    f"- {where}: `{problem}` in {ms(mine)} ms, PyTorch {version} in {ms(torch)} "
                    f"ms: {torch / mine:.1f} times.",
                )
                break
    return "\n".join(lines.values()) if lines else "Nothing measured yet."
