"""Devices, and a seed for every test. CUDA tests are skipped where there is no CUDA."""

import sys
import types
import unittest

import pytest
import torch

# PyTorch's sample inputs import this test library for things that are not used here.
try:
    import expecttest  # noqa: F401
except ImportError:
    sys.modules["expecttest"] = types.SimpleNamespace(TestCase=unittest.TestCase)

import phaseconv

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def pytest_configure(config):
    config.addinivalue_line("markers", "cuda: needs a CUDA device")


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish():
    # PyTorch's own test library, once imported, forbids what programs may do: to set its switches.
    torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        metafunc.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(20240611)


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def spy(monkeypatch):
    """Counts what our operator computed and what was handed over to PyTorch."""

    class Counts:
        ours = 0
        theirs = 0

    counts = Counts()
    execute = phaseconv.functional.execute
    theirs = dict(phaseconv.functional._PYTORCH)

    def counted_execute(*args, **kwargs):
        output = execute(*args, **kwargs)
        counts.ours += output is not None
        return output

    def counted(function):
        def call(*args):
            counts.theirs += 1
            return function(*args)

        return call

    monkeypatch.setattr(phaseconv.functional, "execute", counted_execute)
    monkeypatch.setattr(
        phaseconv.functional, "_PYTORCH", {rank: counted(f) for rank, f in theirs.items()}
    )
    return counts
