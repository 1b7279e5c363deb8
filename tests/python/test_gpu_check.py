"""bench/gpu_check: its parts, from made-up results and without a GPU."""

import argparse
import importlib.util
import json
import subprocess
import sys
import threading
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest
import torch

import emit_helpers as helpers
import emitted
from common import Done
from gpu import check, merge, program, pytorch, report
from phaseconv.bench import page
from phaseconv.emit import compose

ROOT = Path(__file__).parent.parent.parent


def script():
    """bench/gpu_check itself, which has no name that Python imports."""
    path = str(ROOT / "bench" / "gpu_check")
    spec = importlib.util.spec_from_loader("gpu_check", SourceFileLoader("gpu_check", path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checking(tmp_path, monkeypatch):
    """A check of a folder with nothing in it but the pytest that runs this."""
    monkeypatch.setenv("PHASECONV_CACHE", "")  # which a check sets
    monkeypatch.setattr(check.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    (tmp_path / "commit").write_text("abc\n")
    carried = check.Carried(tmp_path)
    carried.site = Path(pytest.__file__).parent.parent
    return check.Check(carried, "cpu", 100, tmp_path / "out" / "gpu.json")


# --- results --------------------------------------------------------------------------------------


def made_up(*groups, gpu="A GPU", commit="abc", error=""):
    """A document in which these groups ran."""
    contents = {
        "verify": {
            "verify": [
                {
                    **{"device": "cuda", "plan": "direct:", "suite": "edge", "mode": "exact"},
                    **{"checked": 5, "passed": 4, "failed": 1, "unsupported": []},
                    **{"max_error_over_bound": 0.5, "failures": [{"reason": "one is wrong"}]},
                }
            ],
            "large": [{"mode": "exact", "pass": True}],
        },
        "sanitizer": {
            "sanitizer": [
                {
                    **{"tool": "memcheck", "plan": "direct:", "suite": "edge", "problems": 5},
                    **{"passed": 5, "stopped": False, "errors": 0},
                }
            ]
        },
        "repeat": {
            "repeat": [
                {
                    **{"plan": "direct:", "problems": "smoke.txt", "runs": 100},
                    **{"checked": 3, "passed": 3, "failures": []},
                }
            ]
        },
        "pytest": {
            "pytest": {
                **{"passed": 7, "failed": 1, "skipped": 2, "passed_on_cuda": 3, "stopped_in": None},
                **{"failures": [{"test": "t.py::test", "text": "E  no"}], "skips": {"why": 2}},
            }
        },
        "emitted": {
            "emitted": [
                {
                    **{"name": "level1_58", "problems": ["ic1,oc1,i9,k3,tf32"], "inputs": 5},
                    **{"tolerance": 1e-4, "equal_weights": True, "max_difference": 3e-5},
                    **{"max_difference_over_tolerance": 0.25, "pass": True, "ratio": 4.0},
                    **{"model_new": {"median_ms": 0.5}, "model": {"median_ms": 2.0}},
                }
            ]
        },
        "calls": {
            "calls": {
                "overhead": [
                    {
                        "device": "cuda",
                        "results": [{"rank": 3, "phaseconv_us": 12.0, "pytorch_us": 7.5}],
                        "graph": {"phaseconv": ["k"], "pytorch": ["a", "b"]},
                    }
                ],
                "first": [{"problem": "ic1", "cold_ms": 90.0, "first_ms": 9.0, "next_ms": 0.1}],
            }
        },
    }
    document = {
        "schema_version": 1,
        "kind": "gpu check",
        "finished": True,
        "environment": {"commit": commit, "gpu": {"name": gpu}, "date": "2026-01-02"},
        **{key: value for keys in check.GROUPS.values() for key, value in keys.items()},
        "prepare": [],
        "steps": [{"group": group, "name": group, "error": error} for group in groups],
    }
    for group in groups:
        document |= contents.get(group, {})
    document["good"] = merge.is_good(document)
    return json.loads(json.dumps(document))  # nothing shared


ALL = ("verify", "sanitizer", "repeat", "pytest", "emitted", "calls")


def test_two_runs_make_one_document():
    first = made_up("verify", "sanitizer", "repeat", "pytest", error="it failed")
    second = made_up("pytest", "emitted", "calls")
    both = merge.merged(first, second)
    assert {key: both[key] for key in first if key not in ("steps", "good")} == {
        key: made_up(*ALL)[key] for key in first if key not in ("steps", "good")
    }
    steps = [(step["group"], step["error"]) for step in both["steps"]]
    failed = [("verify", "it failed"), ("sanitizer", "it failed"), ("repeat", "it failed")]
    assert steps == [*failed, ("pytest", ""), ("emitted", ""), ("calls", "")]
    assert not both["good"]
    again = made_up("verify", "sanitizer", "repeat")
    assert merge.merged(both, again)["good"]
    again["finished"] = False  # a run that was stopped
    assert not merge.merged(both, again)["good"]


@pytest.mark.parametrize("other", [{"gpu": "Another"}, {"commit": "def"}])
def test_runs_of_another_kind_are_not_mixed(other):
    with pytest.raises(ValueError, match="differ in their"):
        merge.merged(made_up("verify"), made_up("pytest", **other))


def test_merge_command(tmp_path):
    files = []
    for number, groups in enumerate((ALL[:3], ALL[3:])):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(made_up(*groups)))
    command = [sys.executable, "-B", ROOT / "bench" / "merge.py", *files, "--output"]
    done = subprocess.run([*command, tmp_path / "out.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all good" in done.stdout
    assert json.loads((tmp_path / "out.json").read_text())["pytest"]["passed"] == 7


def test_report_names_what_went_wrong():
    text = "\n".join(report.lines(made_up(*ALL)))
    assert "4 of 5 pass" in text
    assert "one is wrong" in text
    assert "t.py::test: E  no" in text
    assert "skipped 2: why" in text
    assert "NOT all good" in "\n".join(report.lines(made_up("verify", error="bad")))
    assert list(report.lines(made_up()))  # nothing ran


def test_page_of_a_check(tmp_path):
    files = page.files({"gpu.json": made_up(*ALL)}, tmp_path / "page.md")
    text = files[tmp_path / "page.md"]
    assert "| `level1_58` | `ic1,oc1,i9,k3,tf32` | 0.5 | 2 | 4.00 | 3.0e-05 | 25% | yes |" in text
    assert "| cuda, 3D | 12.0 | 7.5 | +4.5 |" in text
    assert "Kernels in a CUDA graph of one call: 1 (phaseconv) and 2 (pytorch)." in text
    assert "| `ic1` | 90 | 9 | 0.1 |" in text
    assert "The same bits in 100 runs: 3 of 3 problems." in text
    assert "Python tests: 7 passed, 1 failed, 2 skipped; 3 passed on the GPU." in text
    assert page.files({"gpu.json": made_up()}, tmp_path / "page.md")


# --- steps ----------------------------------------------------------------------------------------


def test_groups_are_chosen_by_name():
    groups = script().group_list("bench,verify")
    assert groups == ["verify", "bench"]  # in the order in which they run
    with pytest.raises(argparse.ArgumentTypeError, match="benhc: not among verify,"):
        script().group_list("benhc")
    for group in check.GROUPS.keys() - {"bench"}:
        module = pytorch if group in script().NEEDS_PYTORCH else program
        assert callable(getattr(module, group))


def test_a_failed_step_stops_no_other(checking):
    def fails():
        raise check.Failed("wrong")

    done = []
    checking.step("verify", "first", fails)
    checking.step("verify", "second", lambda: done.append(1))
    checking.deadline = 0
    checking.step("repeat", "late", lambda: done.append(2))
    checking.document["finished"] = True
    assert done == [1]
    errors = [step["error"] for step in checking.document["steps"]]
    assert errors == ["Failed: wrong", "", "TimeoutError: no time was left"]
    assert not merge.is_good(checking.document)
    written = json.loads(checking.output.read_text())
    assert written["steps"] == checking.document["steps"]
    assert not written["finished"]


def test_steps_together_keep_their_order(checking):
    second_is_done = threading.Event()

    def first(rows):
        assert second_is_done.wait(60)
        rows.append({"row": 1})
        raise check.Failed("wrong")

    def second(rows):
        rows.append({"row": 2})
        second_is_done.set()

    checking.jobs = 2
    third = ("third", lambda rows: rows.append({"row": 3}))
    checking.together("verify", "verify", [[("first", first), third], [("second", second)]])
    assert checking.document["verify"] == [{"row": 1}, {"row": 3}, {"row": 2}]
    errors = {step["name"]: step["error"] for step in checking.document["steps"]}
    assert errors == {"first": "Failed: wrong", "second": "", "third": ""}


def test_summary_of_verify_and_what_it_asks():
    row = {"problem": "p", "plan": "direct:", "unsupported": False, "reason": ""}
    good = {**row, "pass": True, "max_error_over_bound": 0.5, "rms_over_plain": 1.0}
    wrong = {**row, "pass": False, "reason": "bad"}
    refused = {**row, "pass": False, "unsupported": True}
    found = program.summary({"results": [good, wrong, refused]})
    assert (found["checked"], found["passed"], found["failed"]) == (3, 1, 1)
    assert found["failures"] == [wrong]
    program.require_all(program.summary({"results": [good, refused]}), "direct:")
    with pytest.raises(check.Failed, match="1 refused"):
        program.require_all(program.summary({"results": [good, refused]}), "")
    with pytest.raises(check.Failed, match="1 of 3 failed"):
        program.require_all(found, "direct:")
    with pytest.raises(RuntimeError, match="no such device"):
        program.summary({"error": {"message": "no such device"}})


SANITIZER = """========= COMPUTE-SANITIZER
pass  error/bound 0.1  ic1,oc1,i9,k3  direct:
========= {}
"""


@pytest.mark.parametrize(
    "text, code, refusals, found",
    [
        ("ERROR SUMMARY: 0 errors", 0, False, False),
        ("RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", 3, True, False),
        ("ERROR SUMMARY: 0 errors", 3, False, True),
        ("ERROR SUMMARY: 0 errors", None, False, False),  # the time limit
        (
            "Invalid __global__ write of size 4 bytes\n========= ERROR SUMMARY: 2 errors",
            9,
            True,
            True,
        ),
    ],
)
def test_what_compute_sanitizer_says(text, code, refusals, found):
    row = program.sanitized(Done(code, SANITIZER.format(text), "", 1.0), refusals)
    assert row["passed"] == 1
    assert bool(row["report"]) == found
    assert row["errors"] == (2 if "2 errors" in text else 0)


TESTS = """
import os, pytest

@pytest.fixture
def torn():
    yield
    raise RuntimeError("clean-up")

def test_good(): pass
@pytest.mark.cuda
def test_good_on_cuda(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_torn(torn): pass
@pytest.mark.skip(reason="no reason")
def test_skipped(): pass
"""


def run_tests(checking, tmp_path, text):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(text)
    absent = "import pytest\npytest.skip('all of it', allow_module_level=True)\n"
    (tmp_path / "tests" / "test_absent.py").write_text(absent)
    with pytest.raises((check.Failed, TimeoutError)) as error:
        pytorch.run_pytest(checking, tmp_path / "tests")
    return checking.document["pytest"], str(error.value)


def test_tests_are_counted_and_their_failures_kept(checking, tmp_path):
    found, error = run_tests(checking, tmp_path, TESTS)
    assert "2 failed" in error
    assert [found[name] for name in ("passed", "failed", "skipped")] == [2, 2, 2]
    assert found["passed_on_cuda"] == 1
    assert found["skips"] == {"all of it": 1, "no reason": 1}
    failures = {row["test"].partition("::")[2]: row["text"] for row in found["failures"]}
    assert "one is not two" in failures["test_bad"]
    assert "clean-up" in failures["test_torn"]
    assert found["stopped_in"] is None


def test_tests_that_die_leave_their_results(checking, tmp_path):
    found, error = run_tests(checking, tmp_path, TESTS + "def test_x(): os._exit(3)\n")
    assert "3 failed" in error
    failures = {row["test"].partition("::")[2]: row["text"] for row in found["failures"]}
    assert "crashed" in failures["test_x"]
    assert found["passed"] == 2


# --- emitted files --------------------------------------------------------------------------------

PROBLEM = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.layer = nn.ConvTranspose2d(channels, 6, 3, stride=2)

    def forward(self, x):
        return self.layer(x)


def get_inputs():
    return [torch.rand(2, 4, 3, 5)]


def get_init_inputs():
    return [4]
"""


@pytest.fixture
def on_host(tmp_path, monkeypatch):
    """An emitted file, whose kernels run on the processor, under the name "small"."""
    helpers.require_library()
    (tmp_path / "problems").mkdir()
    (tmp_path / "problems" / "small.py").write_text(PROBLEM)
    text = compose.emit(PROBLEM, precision="f32", plan="direct:").text
    monkeypatch.setattr(emitted, "EXAMPLES", tmp_path)
    own = emitted.load

    def load(folder, name):
        if folder == "problems":
            return own(folder, name)
        return helpers.on_host(text, tmp_path, monkeypatch)[0]

    monkeypatch.setattr(emitted, "load", load)
    return text


def test_an_emitted_file_is_compared(on_host):
    row = emitted.compare("small", torch.device("cpu"), seconds=0.01)
    assert row["pass"]
    assert row["equal_weights"]
    assert row["problems"] == ["n2,ic4,oc6,i3x5,k3,s2,bias"]
    assert 0 <= row["max_difference_over_tolerance"] < 0.1
    assert row["ratio"] == row["model"]["median_ms"] / row["model_new"]["median_ms"]
    json.dumps(row, allow_nan=False)


def test_a_wrong_emitted_file_does_not_pass(on_host, monkeypatch):
    monkeypatch.setattr(emitted, "equal_weights", lambda old, new: False)
    assert not emitted.compare("small", torch.device("cpu"), seconds=0.01)["pass"]
    monkeypatch.undo()
    nan = torch.tensor([1.0, float("nan")])
    _, over = emitted.difference(torch.ones(2), nan)
    assert not over <= 1
    assert emitted.difference(torch.ones(2), torch.tensor([1.0, 1.0003])) == (
        pytest.approx(3e-4, rel=1e-3),
        pytest.approx(1.5, rel=1e-2),
    )
