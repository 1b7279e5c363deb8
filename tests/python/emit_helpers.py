"""What the tests of phaseconv.emit share."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from phaseconv import _source

FOLDER = Path(__file__).parent
KERNELS = FOLDER.parents[1] / "src/cuda/kernels"
EXAMPLES = FOLDER.parent.parent / "examples" / "kernelbench"
NAMES = sorted(path.stem for path in (EXAMPLES / "problems").glob("*.py"))
NVCC = shutil.which("nvcc")

# Two modules, one in a nested Sequential and from a constructor that no text names; a subclass with
# a forward of its own; a functional call; 1D without a batch; layers of other kinds between.
NETWORK = """
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import ConvTranspose1d as Transposed


@dataclass
class Config:
    width: int = 6


class Up(nn.ConvTranspose2d):
    def forward(self, x):
        return super().forward(x) * 2


def block(ins, outs):
    layer = getattr(nn, "ConvTranspose" + "2d")(ins, outs, 2, stride=2)
    return nn.Sequential(layer, nn.BatchNorm2d(outs), nn.ReLU())


class Model(nn.Module):
    def __init__(self, channels):
        super(Model, self).__init__()
        width = Config().width
        self.block = nn.Sequential(nn.Sequential(block(channels, width)), nn.Identity())
        self.up = Up(width, 4, (3, 2), stride=(2, 1), padding=1, output_padding=(1, 0), groups=2)
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.last = Transposed(3, 2, 4, 2, bias=False)
        self.scale = torch.linspace(1, 2, 2)[1].item()  # needs a value while it is constructed

    def forward(self, x):
        x = self.up(self.block(x))
        x = F.conv_transpose2d(x, self.kernel, stride=2, dilation=2)
        x = self.last(x.flatten(2)) * self.scale
        return x, self.last(x[0, :1].repeat(3, 1))


def get_inputs():
    return [torch.rand(2, 4, 3, 5)]


def get_init_inputs():
    return [4]
"""


def require_library():
    """For the whole file: every test of emit needs the library of kernel sources."""
    try:
        _source.kernel_source("ic1,oc1,i1,k1")
    except _source.UnsupportedProblem as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error), allow_module_level=True)


def problem_file(name):
    """The text of an example's problem file."""
    return (EXAMPLES / "problems" / f"{name}.py").read_text("utf-8")


def emitted_file(name):
    """The committed text that replaces it."""
    return (EXAMPLES / "emitted" / f"{name}.py").read_text("utf-8")


def load(text):
    """Runs a file's text as KernelBench does, in a bare namespace; returns that."""
    namespace = {}
    exec(compile(text, "<string>", "exec"), namespace)
    return namespace


class _NoStream:
    """Stands in for a CUDA stream where there is none."""

    cuda_stream = 0

    def record_event(self):
        """Nothing to wait for."""


# Ubuntu fortifies by default, and takes the emulated threads' jumps for a fault.
_COMPILE = ("c++", "-std=c++20", "-O1", "-U_FORTIFY_SOURCE", "-w", "-fPIC")


def _host_header(folder):
    """host_cuda.h in a folder that tests share, compiled once: it takes a third of each build."""
    header = folder / "host_cuda.h"
    if not header.exists():
        header.write_bytes((FOLDER / "host_cuda.h").read_bytes())
        compiled = f"{header}.gch"  # where GCC looks for it; Clang reads the text
        subprocess.run([*_COMPILE, "-x", "c++-header", str(header), "-o", compiled], check=True)
    return header


class HostLibrary:
    """An emitted file's CUDA source, built for the processor; counts its launches. `bulk`: outputs
    leave as on GPUs that copy in bulk."""

    def __init__(self, source, folder, bulk):
        # asm("cvt.a.b %0, %1;" : "=r"(to) : "f"(from)) becomes cvt_a_b(to, from).
        operand = r'"=?\w"\((\w+)\)'
        ptx = r'asm\("([\w.]+) %0, %1(?:, %2)?;" : ' + rf"{operand} : {operand}(?:, {operand})?\)"
        source = re.sub(
            ptx,
            lambda m: f"{m[1].replace('.', '_')}({', '.join(filter(None, m.groups()[1:]))})",
            source,
        )
        # Whole kernel files that have a host's version.
        for name in ("copy", "warp_matrices", "wgmma", "teams"):
            lines = (KERNELS / f"{name}.cuh").read_text("utf-8").splitlines(keepends=True)
            bare = "".join(line for line in lines if not line.startswith("#pragma once"))
            bare = bare.replace("·", "*")  # as in emitted files
            if bare in source:
                source = source.replace(bare, (FOLDER / f"host_{name}.h").read_text("utf-8"))
        if not bulk:
            source = source.replace("has_bulk_copies = true", "has_bulk_copies = false")
        # What is left copies in bulk or in the background, which no kernel does here.
        source = re.sub(r'asm volatile\((?:[^;"]|"[^"]*")*\);', "", source)
        text = folder / "kernels.cpp"
        header = _host_header(folder.parent)  # of the whole session
        text.write_text(f'#include "{header}"\n{source}', "utf-8")
        built = folder / "kernels.so"
        subprocess.run([*_COMPILE, "-shared", str(text), "-o", str(built)], check=True)
        self._library = ctypes.CDLL(str(built))
        self._parameters = ctypes.c_int.in_dll(self._library, "host_parameters")
        for function in (self._library.phaseconv_pack, self._library.phaseconv_run):
            function.restype = ctypes.c_char_p
        self.packs = 0
        self.runs = 0

    def _call(self, function, parameters, number, pointers):
        self._parameters.value = parameters
        return function(number, 0, *(ctypes.c_void_p(p) for p in pointers))

    def phaseconv_pack(self, number, _device, *pointers):
        """As the compiled function of that name."""
        self.packs += 1
        return self._call(self._library.phaseconv_pack, 2, number, pointers)

    def phaseconv_run(self, number, _device, *pointers):
        """As the compiled function of that name."""
        self.runs += 1
        return self._call(self._library.phaseconv_run, 4, number, pointers)


def on_host(text, folder, monkeypatch, bulk=True):
    """Loads an emitted file so that tensors of the host count as a GPU's; namespace and library."""
    namespace = load(text)
    library = HostLibrary(namespace["_SOURCE"], folder, bulk)
    namespace["_phaseconv_library"] = lambda device: library
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: _NoStream())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    return namespace, library
