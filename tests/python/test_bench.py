"""python -m phaseconv.bench: what it measures and writes. No time is asserted."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import phaseconv
from phaseconv.bench import __main__ as command
from phaseconv.bench import ceilings, measure, page, precision
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
    assert document["settings"]["keep_memory"] is False
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_memory_can_be_kept():
    code = f"""
import resource
import torch
from phaseconv.bench import __main__ as command
def measured(arguments):
    faults = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert faults[0] > 10000 and faults[-1] < 100, faults  # of 16384 pages
    return {{"good": False}}
command.measured = measured
raise SystemExit(command.main(["{SMALL}", "--keep-memory"]))
"""
    found = {}

    def restarted(program, words, environment):
        found.update(environment=environment, words=words)
        raise OSError("not here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command.os, "execve", restarted)
        patch.delenv("GLIBC_TUNABLES", raising=False)
        assert command.main([SMALL, "--keep-memory"]) == 4
    assert found["words"][1:] == ["-m", "phaseconv.bench", SMALL, "--keep-memory"]
    done = subprocess.run([sys.executable, "-c", code], env=found["environment"], check=False)
    assert done.returncode == 1  # it did not start again, and measured


def test_bad_usage_ends_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "phaseconv.bench", "--threads", "many"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
