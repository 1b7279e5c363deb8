"""phaseconv.bench: what it makes of times, how they are taken, and the page, from made-up ones."""

import json
import math
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from phaseconv.bench import __main__ as command
from phaseconv.bench import clock, environment, figures, page, plot
from phaseconv.bench.figures import FIRST, LAST

ROOT = Path(__file__).parent.parent.parent


# --- made-up numbers ----------------------------------------------------------------------------

CEILINGS = {
    "copy_bytes_per_second": 1e9,
    "write_bytes_per_second": 2e9,
    "new_write_bytes_per_second": 1e9,
    "products": {"f32": 1e12, "tf32": 6e12, "f16": 1e13},
    "method": "made up",
}


def made_up(
    mine, torch_ms, *, kind="f32", name="layer", bytes=1e6, flops=1e6, wrong=False, plan="p"
):
    """A row whose times in ms are (channels first, channels last); None: no such layout."""
    layouts = {
        layout: {
            "phaseconv": {"computed_by": "phaseconv", "median_ms": m, "plan": plan, "repeats": 3},
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
        "settings": {"batch": None, "keep_memory": False},
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


def test_prediction():
    rows = [made_up((2.0, 4.0), (8.0, 4.0)) for _ in range(4)]
    for row, predicted in zip(rows, (2.4, 1.45, 8.0, None), strict=True):
        row["layouts"][FIRST]["phaseconv"]["predicted_ms"] = predicted
    found = figures.prediction(rows)
    assert (found["layers"], found["within_25_percent"], found["within_30_percent"]) == (3, 1, 2)
    assert found["over_measured"] == pytest.approx((1.2 * 0.725 * 4.0) ** (1 / 3))


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


class FakeGpu:
    """Only the order of what is asked. Each call costs the host 1 ms, and the GPU 0.125 ms."""

    def __init__(self, monkeypatch, sleeps=True):
        self.host = self.gpu = 0.0  # ms: now, and when the queue will be empty
        self.log = []
        gpu = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self):
                gpu.log.append("event")
                gpu.gpu = self.at = max(gpu.gpu, gpu.host)

            def query(self):
                return self.at <= gpu.host

            def synchronize(self):
                gpu.host = max(gpu.host, self.at)

            def elapsed_time(self, end):
                return end.at - self.at

        def sleep(cycles):
            gpu.log.append("sleep")
            if sleeps:
                gpu.gpu = max(gpu.gpu, gpu.host) + cycles / 2e6

        def synchronize(device):
            gpu.host = max(gpu.host, gpu.gpu)

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "_sleep", sleep)
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
        monkeypatch.setattr(clock.time, "perf_counter", lambda: gpu.host / 1e3)

    def work(self):
        self.log.append("call")
        self.host += 1
        self.gpu = max(self.gpu, self.host) + 0.125


def test_cuda_times_are_those_of_the_gpu_behind_a_full_queue(monkeypatch):
    gpu = FakeGpu(monkeypatch)
    cuda = clock.CudaClock(torch.device("cuda", 0))
    sampling = cuda.warm_up(gpu.work)
    assert sampling.calls == 4  # of 0.125 ms make the 0.5 ms of a sample
    gpu.log.clear()
    assert cuda.sample(gpu.work, sampling) == pytest.approx(0.125)
    assert gpu.log == ["sleep", "event", *["call"] * 4, "event"]


def test_a_queue_that_ran_dry_is_filled_again(monkeypatch):
    gpu = FakeGpu(monkeypatch)
    cuda = clock.CudaClock(torch.device("cuda", 0))
    sampling = clock.Sampling(5, 0, 1e-3)  # the host needs 5 ms
    assert cuda.sample(gpu.work, sampling) == pytest.approx(0.125)
    assert sampling.wait_seconds == 8e-3
    assert gpu.log.count("sleep") == 4
    FakeGpu(monkeypatch, sleeps=False)  # one that can't be filled: it ends, all the same
    assert cuda.sample(lambda: None, sampling) == 0


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
    axis = plot.Axis([0.7, 130.0], left=10)
    assert axis.ticks[0] == 0.5
    assert axis.ticks[-1] == 200
    assert axis.x(0.5) == 10
    assert axis.x(200.0) == 10 + plot.WIDTH
    assert 10 < axis.x(1.0) < axis.x(130.0)


def test_headline_is_the_first_problem():
    row = made_up((2.0, 4.0), (8.0, 4.0)) | {"problem": "ic32,oc32,g4,i32x64x128,k3,s2,p1"}
    text = page.headline([made_up_document(made_up((1.0, 1.0), (1.0, 1.0)), row)])
    assert text == (
        "- A processor, 2 threads: `ic32,oc32,g4,i32x64x128,k3,s2,p1` in 2 ms, PyTorch 2.11 in 8 "
        "ms: 4.0 times."
    )
    row = made_up((2.0, 4.0), (8.0, 4.0), plan="cpu AVX2, cells:oc4") | {"problem": row["problem"]}
    assert page.headline([made_up_document(row)]).startswith("- A processor AVX2, 2 threads: ")
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
