"""The binary: only LibTorch's stable interface, and no second OpenMP runtime."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import phaseconv

FOLDER = Path(phaseconv.__file__).parent
OPERATOR = FOLDER / "phaseconv_operator.so"


@pytest.mark.skipif(shutil.which("nm") is None, reason="no nm")
def test_only_the_stable_interface_is_used():
    listing = subprocess.run(
        ["nm", "-D", "-C", "--undefined-only", OPERATOR], check=True, capture_output=True, text=True
    ).stdout
    names = [line.split()[-1] for line in listing.splitlines()]
    foreign = [name for name in names if "c10" in name or "at::" in name or "torch::" in name]
    assert not foreign
    used = {name for name in names if "torch" in name}
    assert used
    assert all(name.startswith(("torch_", "aoti_torch_")) for name in used)
    assert not any("cuda" in name and "device_type" not in name for name in used)
    # One file for every version of Python: it calls none.
    assert not any(name.startswith(("Py", "_Py")) for name in names)


def test_a_plain_folder_works_and_adds_no_openmp_runtime(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "phaseconv")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import torch
runtimes = lambda: {{l.split()[-1] for l in open("/proc/self/maps") if "omp" in l.split()[-1]}}
before = runtimes()
import phaseconv
assert phaseconv.__file__.startswith({str(tmp_path)!r})
with torch.no_grad():
    phaseconv.conv_transpose2d(torch.randn(1, 8, 40, 40), torch.randn(8, 8, 3, 3))
assert runtimes() == before, runtimes() - before
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
