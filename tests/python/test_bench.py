"""python -m phaseconv.bench: what it writes, and what it makes of times. No time is asserted."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

import phaseconv
from phaseconv.bench import __main__ as command
from phaseconv.bench import ceilings, clock, environment, figures, measure, page, plot, precision
from phaseconv.bench.figures import FIRST, LAST
from phaseconv.bench.problems import Problem, read_suite, stated_type, variant

ROOT = Path(__file__).parent.parent.parent
SMALL = "n2,ic4,oc6,g2,i3x4x5,k3,s2,p1"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small ceilings, and the number of threads and the switches as they were."""
    monkeypatch.setattr(ceilings, "_COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr(ceilings, "_LARGEST_PRODUCT", {"cpu": 64})
    monkeypatch.setattr(ceilings, "_SMALLEST_PRODUCT", 32)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path):
    """Runs the command; returns its exit code and the document that it wrote."""

    def call(*words):
        output = tmp_path / "out.json"
        words = [*words, "--output", output, "--device", "cpu", "--rounds", 2, "--threads", 1]
        code = command.main([str(word) for word in words])
        return code, json.loads(output.read_text()) if output.exists() else None

    return call


# --- made-up numbers ----------------------------------------------------------------------------

CEILINGS = {
    "copy_bytes_per_second": 1e9,
    "write_bytes_per_second": 2e9,
    "products": {"f32": 1e12, "tf32": 6e12, "f16": 1e13},
    "method": "made up",
}


def made_up(mine, torch_ms, *, kind="f32", name="layer", bytes=1e6, flops=1e6, wrong=False):
    """A row whose times in ms are (channels first, channels last); None: no such layout."""
    layouts = {
        layout: {
            "phaseconv": {"computed_by": "phaseconv", "median_ms": m, "plan": "p", "repeats": 3},
            "pytorch": {"median_ms": t},
            "check": {"pass": not wrong},
        }
        for layout, m, t in zip((FIRST, LAST), mine, torch_ms, strict=True)
        if m is not None
    }
    return {
        "problem": f"ic1,oc1,i9,k3,{kind}".removesuffix(",f32"),
        "name": name,
        "type": kind,
        "computed_type": kind,
        "bytes": bytes,
        "flops": flops,
        "layouts": layouts,
    }


def made_up_document(*rows, device="cpu"):
    document = {
        "kind": "bench",
        "environment": {
            **{"device": device, "cpu": "A processor", "threads": 2, "date": "2026-01-02"},
            **{"commit": "abc", "torch": "2.11"},
        },
        "settings": {"batch": None},
        "ceilings": CEILINGS,
        "results": list(rows),
        "left_out": [{"problem": "ic9,oc9,i9,k3", "name": "", "reason": "99 GFLOP"}],
        "failed": [],
    }
    figures.finish(document)
    return document


def test_statistics():
    assert figures.statistics_ms([3.0, 1.0, 2.0, 10.0]) == {
        **{"median_ms": 2.5, "min_ms": 1.0, "p95_ms": 10.0, "repeats": 4}
    }
    assert figures.statistics_ms(range(101))["p95_ms"] == 95


def test_geometric_mean_leaves_out_what_is_not_there():
    assert figures.geometric_mean([2.0, 8.0, None]) == pytest.approx(4)
    assert figures.geometric_mean([None]) is None


@pytest.mark.parametrize(
    "kind, moved, flops, where, expected",
    [
        ("f32", 1e6, 1e6, "cpu", 1.0),  # 1 MB at 1 GB/s
        ("f32", 1e3, 4e9, "cpu", 2.0),  # three TF32 products: 2 TFLOP/s
        ("tf32", 1e3, 6e9, "cuda", 1.0),
        ("f16", 1e3, 2e10, "cuda", 2.0),
        ("bf16", 1e3, 1e9, "cpu", 1.0),  # not measured: by way of float32
        ("f32", 1, 1, "cuda", 0.003),
        ("f32", 1, 0, "cpu", 1e-6),
    ],
)
def test_floor(kind, moved, flops, where, expected):
    row = {"bytes": moved, "flops": flops, "computed_type": kind}
    assert figures.floor_ms(row, CEILINGS, where) == pytest.approx(expected)


def test_merged_ceilings_take_the_higher_of_each():
    after = {"copy_bytes_per_second": 3e9, "products": {"f32": 5e11, "bf16": 1.0}}
    merged = figures.merged(CEILINGS, after)
    assert merged["copy_bytes_per_second"] == 3e9
    assert merged["write_bytes_per_second"] == 2e9
    assert merged["products"] == {"f32": 1e12, "tf32": 6e12, "f16": 1e13, "bf16": 1.0}


def test_ratios_and_summary():
    rows = [
        made_up((2.0, 4.0), (8.0, 4.0)),  # floor 1 ms
        made_up((4.0, None), (2.0, None)),
        made_up((1.0, 1.0), (3.0, 3.0), kind="f16", wrong=True),
    ]
    document = made_up_document(*rows)
    assert rows[0]["floor_ms"] == pytest.approx(1)
    assert rows[0]["floor_share"] == {FIRST: pytest.approx(0.5), LAST: pytest.approx(0.25)}
    assert rows[0]["ratios"] == {"same_layout": {FIRST: 4.0, LAST: 1.0}, "best_layout": 2.0}
    assert rows[1]["ratios"] == {"same_layout": {FIRST: 0.5}, "best_layout": 0.5}
    f32, f16 = document["summary"]["f32"], document["summary"]["f16"]
    assert f32["layers"] == 2
    assert f32["ratio_channels_first"] == pytest.approx(math.sqrt(2))
    assert f32["ratio_channels_last"] == pytest.approx(1)
    assert f32["ratio_best_layout"] == pytest.approx(1)
    assert f32["slower_than_best_layout"] == 1
    assert f32["floor_share"] == {
        FIRST: pytest.approx(math.sqrt(0.125)),
        LAST: pytest.approx(0.25),
    }
    assert f32["wrong"] == 0
    assert f16["wrong"] == 1


def test_what_is_left_to_pytorch_counts_in_no_mean():
    row = made_up((2.0, 2.0), (2.0, 2.0))
    for measured in row["layouts"].values():
        measured["phaseconv"]["computed_by"] = "PyTorch"
    summary = made_up_document(row)["summary"]["f32"]
    assert summary["left_to_pytorch"] == 1
    assert summary["ratio_best_layout"] is None


# --- the order of measuring ---------------------------------------------------------------------


class CountingClock(clock.CpuClock):
    """A clock on which a call takes as many milliseconds as calls were made."""

    calls = 0

    def sample(self, work, sampling):
        work()
        self.calls += 1
        return float(self.calls)


def test_works_take_turns_forwards_and_backwards():
    order = []
    works = [lambda i=i: order.append(i) for i in range(3)]
    times = clock.take_turns(CountingClock(), works, rounds=3)
    warm_up, turns = order[:-9], order[-9:]
    assert sorted(set(warm_up)) == [0, 1, 2]
    assert turns == [0, 1, 2, 2, 1, 0, 0, 1, 2]
    first = len(warm_up) + 1
    assert times[0]["min_ms"] == first
    assert [row["median_ms"] for row in times] == [first + 5, first + 4, first + 3]
    assert all(row["repeats"] == 3 for row in times)


def test_number_of_rounds():
    cpu = clock.CpuClock()
    assert clock.rounds_for(cpu, 0.1, 2.0) == 20
    assert clock.rounds_for(cpu, 10.0, None) == cpu.least_rounds
    assert clock.rounds_for(cpu, 0.0, None) == cpu.most_rounds


# --- problems -----------------------------------------------------------------------------------


def test_problem_is_read_as_the_library_prints_it():
    problem = Problem.parse(torch.ops.phaseconv.check("oc4,ic2,g2,k3x1,s2,i5x6,p1x0,bias,f16,cl"))
    assert problem == Problem(
        problem.text, 1, 2, 4, 2, (5, 6), (3, 1), (2, 2), (1, 0), (0, 0), (1, 1), "f16", True
    )
    assert problem.rank == 2


def test_variants(tmp_path):
    assert variant("n4,ic2,oc2,i5,k3,f16,cl", "f32", 1) == "n1,ic2,oc2,i5,k3,f32"
    assert variant("n4,ic2,oc2,i5,k3", "tf32") == "n4,ic2,oc2,i5,k3,tf32"
    assert stated_type("ic2,oc2,i5,k3,bf16") == "bf16"
    assert stated_type("ic2,oc2,i5,k3") is None
    suite = tmp_path / "suite.txt"
    suite.write_text("# nothing\n\nic2,oc2,i5,k3  # a name\nic2,oc2,i6,k3\n")
    assert read_suite(suite) == [("ic2,oc2,i5,k3", "a name"), ("ic2,oc2,i6,k3", "")]


def test_cost_is_the_exact_one():
    # 2 by 2 channels, 3 inputs of which kernel 2, stride 2 makes 6 outputs of one product each.
    moved, computed = torch.ops.phaseconv.cost("ic2,oc2,i3,k2,s2")
    assert moved == 4 * (2 * 3 + 2 * 2 * 2 + 2 * 6)
    assert computed == 2 * 2 * 2 * 6


# --- results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("text", [SMALL, "ic6,oc4,i5x6,k4,s2,p1,op1,bias", "ic3,oc2,i20,k3,d2"])
def test_reference_tells_right_from_wrong(text, kind):
    layer = measure.Layer(Problem.parse(torch.ops.phaseconv.check(variant(text, kind))), CPU)
    function = getattr(phaseconv, f"conv_transpose{layer.problem.rank}d")
    reference = layer.reference(kind)
    with torch.no_grad():
        for layout in layer.tensors:
            output = function(*layer.operands(layout))
            difference = precision.largest_difference(output, reference.output)
            assert difference <= reference.bound
        output = output.contiguous()
        output.view(-1)[5] += 0.25 if kind == "f32" else 1
        assert precision.largest_difference(output, reference.output) > reference.bound
        output.view(-1)[5] = torch.nan
        assert not precision.largest_difference(output, reference.output) <= reference.bound


def test_computed_types():
    cuda = torch.device("cuda")
    assert precision.computed_type("tf32", 1, cuda) == "tf32"
    assert precision.computed_type("tf32", 2, cuda) == "f32"
    assert precision.computed_type("f16", 2, CPU) == "f16"


def test_switches_are_set_and_put_back():
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.benchmark
    with precision.precision(tf32=True):
        assert cudnn.conv.fp32_precision == "tf32"
        assert cudnn.benchmark
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        with precision.precision(tf32=False, benchmark=False):
            assert cudnn.conv.fp32_precision != "tf32"
            assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    assert (cudnn.conv.fp32_precision, cudnn.benchmark) == before


def test_result_file(run, tmp_path):
    suite = tmp_path / "suite.txt"
    suite.write_text(f"{SMALL}  # first\nic4,oc4,i9,k3,f16\nic4,oc4,i90x90,k3 # large\n")
    code, document = run("--suite", suite, "--batch", 1, "--max-gflop", 0.001, "--types", "f32")
    assert code == 0
    assert document["schema_version"] == 1
    assert document["kind"] == "bench"
    assert document["good"] is True
    found = document["environment"]
    assert found["device"] == "cpu"
    assert found["threads"] == 1
    assert {"commit", "date", "cpu", "system", "phaseconv", "torch", "python"} <= set(found)
    assert document["settings"]["batch"] == 1
    assert [row["problem"] for row in document["left_out"]] == ["ic4,oc4,i90x90,k3"]
    first, second = document["results"]
    assert first["problem"] == SMALL.removeprefix("n2,")
    assert (first["name"], first["type"], second["type"]) == ("first", "f32", "f16")
    assert list(first["layouts"]) == [FIRST, LAST]
    assert list(second["layouts"]) == [FIRST]
    for row in document["results"]:
        assert row["floor_ms"] > 0
        for measured in row["layouts"].values():
            for who in ("phaseconv", "pytorch"):
                times = measured[who]
                assert times["repeats"] == 2
                assert 0 < times["min_ms"] <= times["median_ms"] <= times["p95_ms"]
            assert measured["phaseconv"]["computed_by"] == "phaseconv"
            assert measured["phaseconv"]["plan"].startswith("cpu ")
            assert measured["phaseconv"]["predicted_ms"] > 0
            assert measured["check"]["pass"] is True
            assert measured["check"]["max_abs_difference"] <= measured["check"]["bound"]
    before, after = document["ceilings"]["runs"]
    products = [run["products"]["f32"] for run in (before, after)]
    assert document["ceilings"]["products"]["f32"] == max(products)
    assert set(document["summary"]) == {"f32", "f16"}


def test_weights_are_packed_outside_of_what_is_timed(run, monkeypatch):
    packed = []
    fill = measure.execution.Packing.fill
    monkeypatch.setattr(measure.execution.Packing, "fill", lambda *a: packed.append(1) or fill(*a))
    assert run(SMALL)[0] == 0
    assert len(packed) <= 2  # once for each layout


def test_a_wrong_result_fails(run, monkeypatch, capsys):
    right = measure.functional.conv_transpose3d
    monkeypatch.setattr(measure.functional, "conv_transpose3d", lambda *a: right(*a).mul_(1.01))
    code, document = run(SMALL)
    assert code == 1
    assert document["good"] is False
    assert document["summary"]["f32"]["wrong"] == 1
    assert f"wrong: {SMALL}" in capsys.readouterr().err
    assert "1 wrong" in page.summary_table(document)


def test_a_failure_is_reported_and_does_not_stop_the_next(run, monkeypatch):
    once = command.measure

    def fails(problem, *rest):
        if problem.rank == 3:
            raise RuntimeError("out of memory")
        return once(problem, *rest)

    monkeypatch.setattr(command, "measure", fails)
    code, document = run(SMALL, "ic4,oc4,i9,k3")
    assert code == 1
    assert [row["problem"] for row in document["failed"]] == [SMALL]
    assert [row["problem"] for row in document["results"]] == ["ic4,oc4,i9,k3"]


def test_what_is_left_to_pytorch_is_told(run, monkeypatch):
    monkeypatch.setattr(measure.execution, "prepared", lambda arguments: None)
    code, document = run(SMALL)
    assert code == 0
    assert document["summary"]["f32"]["left_to_pytorch"] == 1
    assert document["results"][0]["ratios"]["best_layout"] is None


def test_no_time_left_and_tf32(run):
    code, document = run(SMALL, "--limit", -1)
    assert code == 0
    assert document["left_out"][0]["reason"] == "no time was left"
    code, document = run(SMALL, "--types", "tf32")
    assert code == 0
    assert document["left_out"][0]["reason"] == "tf32 is CUDA's alone"


@pytest.mark.parametrize(
    "words, code, message",
    [
        ([], 2, "name problems"),
        (["ic4,oc4,i9,k3,p7"], 2, "ic4,oc4,i9,k3,p7"),
        ([SMALL, "--types", "f64"], 2, "f64"),
        ([SMALL, "--device", "mps:7"], 2, "mps:7"),
        ([SMALL, "--device", "nothing"], 2, "nothing"),
        ([SMALL, "--device", "cuda:99"], 3, "cuda:99"),
        (["--suite", "nowhere.txt"], 4, "nowhere.txt"),
        (["--results", "nowhere.json", "--page", "x.md"], 4, "nowhere.json"),
    ],
)
def test_exit_codes(words, code, message, capsys):
    assert command.main(words) == code
    assert message in capsys.readouterr().err


def test_bad_usage_ends_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "phaseconv.bench", "--threads", "many"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2


# --- the page -----------------------------------------------------------------------------------


def test_page_is_deterministic_and_has_every_layer(tmp_path):
    document = made_up_document(
        made_up((2.0, 4.0), (8.0, 4.0), name="<faster>"),
        made_up((4.0, None), (2.0, None), name="slower"),
        made_up((1.0, 1.0), (3.0, 3.0), kind="f16", wrong=True),
    )
    first = page.files({"run.json": document}, tmp_path / "page.md")
    again = page.files({"run.json": json.loads(json.dumps(document))}, tmp_path / "page.md")
    assert first == again
    text = first[tmp_path / "page.md"]
    assert {path.relative_to(tmp_path).as_posix() for path in first} == {
        "page.md",
        "page/run-f32.svg",
        "page/run-f16.svg",
    }
    assert "](page/run-f32.svg)" in text
    assert "| **0.50** |" in text  # a loss
    assert "layer **(wrong)**" in text
    assert "Left out (99 GFLOP): `ic9,oc9,i9,k3`." in text
    drawing = ElementTree.fromstring(first[tmp_path / "page" / "run-f32.svg"])
    words = [element.text for element in drawing.iter() if element.tag.endswith("}text")]
    assert {"<faster>", "slower", "time over the floor"} <= set(words)
    circles = [element for element in drawing.iter() if element.tag.endswith("}circle")]
    assert len(circles) == 2 + 3  # the legend, and three times of ours


def test_axis_of_the_plot_takes_in_everything():
    axis = plot.Axis([0.7, 130.0])
    assert axis.ticks[0] == 0.5
    assert axis.ticks[-1] == 200
    assert axis.x(0.5) == plot.LEFT
    assert axis.x(200.0) == plot.LEFT + plot.WIDTH
    assert plot.LEFT < axis.x(1.0) < axis.x(130.0)


def test_headline_is_the_first_problem():
    row = made_up((2.0, 4.0), (8.0, 4.0)) | {"problem": "ic32,oc32,g4,i32x64x128,k3,s2,p1"}
    text = page.headline([made_up_document(made_up((1.0, 1.0), (1.0, 1.0)), row)])
    assert text == (
        "- A processor, 2 threads: `ic32,oc32,g4,i32x64x128,k3,s2,p1` in 2 ms, PyTorch 2.11 in 8 "
        "ms: 4.0 times."
    )
    assert page.headline([]) == "Nothing measured yet."


def test_page_from_older_files(tmp_path):
    """The command without problems renders what is given, all kinds of result files among it."""
    old = sorted((ROOT / "bench" / "results").glob("*.json"))
    assert old
    target = tmp_path / "page.md"
    assert command.main(["--results", *map(str, old), "--page", str(target)]) == 0
    text = target.read_text()
    for path in old:
        if json.loads(path.read_text()).get("kind") in page.KINDS:
            assert f"`{path.name}`" in text


def test_commit_is_that_of_this_library_alone(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert environment.commit(tmp_path) == ""
