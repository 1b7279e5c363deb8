"""From a problem file's text to the text of the file that replaces it."""

import contextlib
import re
import sys
import types
from importlib import resources
from typing import NamedTuple

import torch

from phaseconv._source import Sizes, kernel_source, kernel_text
from phaseconv.emit import trace
from phaseconv.emit.transform import EmitError, transform

PRECISIONS = ("auto", "f32", "tf32", "f16", "bf16")
HALVES = {"f16": torch.float16, "bf16": torch.bfloat16}
WIDTH = 100

# What KernelBench's source check refuses, wherever it stands.
REFUSED_WORDS = re.compile(r"\b(try|except|pass)\b")
REFUSED = re.compile(
    REFUSED_WORDS.pattern
    + r"|\b(threading|multiprocessing|concurrent\.futures|\w+PoolExecutor|_make_subclass)\b"
    + r"|class\s+\w+.*\((torch\.)?Tensor\)|torch\.Tensor\.__new__"
    + r"|\b(cuda\.Event(\.\w+)?|cuda\.synchronize|time\.perf_counter|time\.time)\s*="
)


class Emitted(NamedTuple):
    """A file, and what is in it."""

    text: str
    kernels: tuple  # of KernelSource
    warnings: tuple  # what KernelBench's source check will refuse in the problem file's own text


def _without_refused_comments(text):
    """Drops comments that hold a word of the source check; code that holds one is an error."""
    out = []
    block = []  # lines of one comment

    def close():
        if not any(REFUSED_WORDS.search(line) for line in block):
            out.extend(block)
        block.clear()

    for line in text.split("\n"):
        if line.lstrip().startswith("//"):
            block.append(line)
            continue
        close()
        code, _, comment = line.partition("//")
        out.append(code.rstrip() if REFUSED_WORDS.search(comment) else line)
    close()
    text = "\n".join(out)
    found = REFUSED_WORDS.search(text)
    if found:
        raise EmitError(f"the kernel source uses the word '{found[0]}', which KernelBench refuses")
    return text


def _ascii(text):
    """Compilers and locales agree on ASCII alone; other characters occur in comments."""
    return text.replace("·", "*").encode("ascii", "backslashreplace").decode()


def cuda_text(kernels):
    """The CUDA source of several kernels: the building blocks once, then each one's own part."""
    files = dict.fromkeys(name for kernel in kernels for name in kernel.files)
    blocks = [_ascii(_without_refused_comments(kernel_text(name))).strip("\n") for name in files]
    grids = {"PACKS": [], "RUNS": []}
    for number, kernel in enumerate(kernels):
        for table, launch in (("PACKS", kernel.pack), ("RUNS", kernel.run)):
            name = f"phaseconv::generated_{number}::{launch.kernel}"
            sizes = ", ".join(map(str, launch[1:]))  # all but the name
            grids[table].append(f"{{reinterpret_cast<const void*>({name}), {sizes}}},")
    host = resources.files(__package__).joinpath("launch.cu").read_text("utf-8")
    for table, rows in grids.items():
        host = host.replace(f"@{table}@", "\n    ".join(rows))
    parts = [*blocks, *[kernel.generated.strip("\n") for kernel in kernels], host.strip("\n")]
    text = "\n\n".join(parts)
    if '"""' in text:
        raise EmitError("the kernel source holds three quotes, which end a string of Python")
    return text


def _sections():
    """The text of runtime.py by the names of its rules."""
    text = resources.files(__package__).joinpath("runtime.py").read_text("utf-8")
    pieces = re.split(r"(?m)^# --- (\w+) -+\n", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _rule(title):
    return f"# --- {title} ".ljust(WIDTH, "-")


def _table(calls, numbers, kernels):
    """The text of `_KERNELS`: what a call is looked up by, and its kernel."""
    rows = []
    for call, number in zip(calls, numbers, strict=True):
        kernel = kernels[number]
        sizes = kernel.sizes
        key = [call.dtype, *call[1:9]]
        output = (sizes.batch, sizes.out_channels, *sizes.output)
        value = (number, kernel.problem, sizes.channels_last, output, kernel.packed_bytes)
        lines = ["    (", *[f"        {part!r}," for part in key]]
        lines += ["    ): _Kernel(", *[f"        {part!r}," for part in value], "    ),"]
        rows += [line.replace("'", '"') for line in lines]
    return "_KERNELS = {\n" + "\n".join(rows) + "\n}\n"


HEADER = '''\
"""{model}, with its transposed convolutions computed by CUDA kernels for these sizes alone:

{kernels}

Written by python -m phaseconv.emit for {arch}. Import it like the file that it was written from. It
needs PyTorch, nvcc and a C++ compiler, and builds its kernels when it is first used.
SPDX-License-Identifier: Apache-2.0
"""
# ruff: noqa
'''


def _compose(transformed, calls, kernels, numbers, arch, adopt):
    sections = _sections()
    lines = [f"    {kernel.problem}\n        {kernel.plan}" for kernel in kernels]
    parts = [HEADER.format(model="ModelNew", kernels="\n".join(lines), arch=arch)]
    if transformed.future:
        parts.append(f"from __future__ import {', '.join(transformed.future)}\n")
    parts += [
        sections["imports"].strip("\n") + "\n",
        f'_ARCHITECTURE = "{arch.removeprefix("sm_")}"\n',
        f'_SOURCE = r"""\n{cuda_text(kernels)}\n"""\n',
        "\n" + sections["host"].strip("\n") + "\n",
        "\n" + _table(calls, numbers, kernels),
    ]
    if transformed.functional:
        parts.append("\n" + sections["functional"].strip("\n") + "\n")
    if adopt:
        parts.append("\n" + sections["adopt"].strip("\n") + "\n")
    parts += [
        "\n" + _rule("the model"),
        transformed.text.strip("\n") + "\n",
        "",
        _rule("build"),
    ]
    if adopt:
        parts.append("ModelNew.__init__ = _phaseconv_adopting(ModelNew.__init__)\n")
    parts.append(sections["build"].strip("\n") + "\n")
    return "\n".join(parts)


@contextlib.contextmanager
def _module(name):
    """The namespace of a module that is there for a while: classes look theirs up by name."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield module.__dict__
    finally:
        del sys.modules[name]


def _run(text, name, namespace):
    with trace.explained(name):
        exec(compile(text, name, "exec"), namespace)


def emit(text, arch="sm_90a", precision="auto", plan=""):
    """Writes the file for a problem file's text; returns it as `Emitted`.

    `precision`: "auto" follows PyTorch's switch for float32; "f32" and "tf32" set it; "f16" and
    "bf16" convert model and inputs as KernelBench does with its option of that name. Raises
    `EmitError`, `InvalidProblem` or `UnsupportedProblem`. The problem file's code is run.
    """
    with _module("phaseconv_problem") as original, _module("phaseconv_emitted") as runtime:
        return _emit(text, original, runtime, arch, precision, plan)


def _emit(text, original, runtime, arch, precision, plan):
    dtype = HALVES.get(precision)
    _run(text, "the problem file", original)
    for name in ("get_inputs", "get_init_inputs"):
        if not callable(original.get(name)):
            raise EmitError(f"the problem file defines no {name}()")
    # What an emitted file has before its problem, but no kernel: for a model to be run in.
    sections = _sections()
    for name in ("imports", "tables", "host", "functional", "adopt"):
        _run(sections[name], f"runtime.py ({name})", runtime)
    for name in set(original) & set(runtime):
        if not name.startswith("__") and original[name] is not runtime[name]:
            raise EmitError(f"the problem file defines {name}, a name of the emitted file's own")

    transformed = transform(text, original)
    future = f"from __future__ import {', '.join(transformed.future)}\n"
    rewritten = (future if transformed.future else "") + transformed.text
    _run(rewritten, "the rewritten problem file", runtime)
    model = trace.construct(runtime, dtype)
    adopt = trace.has_foreign_layers(model)
    if adopt:
        new_model = runtime["ModelNew"]
        new_model.__init__ = runtime["_phaseconv_adopting"](new_model.__init__)
        model = trace.construct(runtime, dtype)

    # A kernel serves every call of its problem; calls that differ in nothing are one.
    calls = list(dict.fromkeys(trace.record(runtime, model, dtype)))
    problems = [kernel_source(call.problem(precision), arch).problem for call in calls]
    numbers = [list(dict.fromkeys(problems)).index(problem) for problem in problems]
    kernels = [
        kernel_source(problem, arch, plan, f"_{number}")
        for number, problem in enumerate(dict.fromkeys(problems))
    ]
    warnings = tuple(
        f"line {1 + text.count(chr(10), 0, match.start())} of the problem file holds "
        f"'{match[0]}', which KernelBench's source check refuses"
        for match in REFUSED.finditer(text)
    )
    whole = _compose(transformed, calls, kernels, numbers, arch, adopt)
    return Emitted(whole, tuple(kernels), warnings)


PROBLEM = '''\
import torch
from torch import nn


class Model(nn.Module):
    """One transposed convolution."""

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=False,{dilated_parameter}
    ):
        super().__init__()
        self.conv_transpose{rank}d = nn.ConvTranspose{rank}d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,{dilated_argument}
        )

    def forward(self, x):
        return self.conv_transpose{rank}d(x)


def get_inputs():
    return [torch.rand({shape}{dtype}){permuted}]


def get_init_inputs():
    return {init}
'''


def problem_text(sizes: Sizes):
    """A problem file with one transposed convolution."""

    def short(values):
        return values[0] if len(set(values)) == 1 else tuple(values)

    init = [
        sizes.in_channels,
        sizes.out_channels,
        short(sizes.kernel),
        short(sizes.stride),
        short(sizes.padding),
        short(sizes.output_padding),
        sizes.groups,
        sizes.bias,
    ]
    dilated = set(sizes.dilation) != {1}
    if dilated:
        init.append(short(sizes.dilation))
    shape = [sizes.batch, sizes.in_channels, *sizes.input]
    if sizes.channels_last:
        shape = [sizes.batch, *sizes.input, sizes.in_channels]
    half = HALVES.get(sizes.type)
    return PROBLEM.format(
        rank=len(sizes.input),
        dilated_parameter="\n        dilation=1," if dilated else "",
        dilated_argument="\n            dilation=dilation," if dilated else "",
        shape=", ".join(map(str, shape)),
        dtype=f", dtype={half}" if half else "",
        permuted=".movedim(-1, 1)" if sizes.channels_last else "",
        init=init,
    )


def emit_problem(problem, arch="sm_90a", precision="auto", plan=""):
    """Writes the file for a problem string, whose type is taken unless `precision` is another."""
    sizes = kernel_source(problem, arch).sizes
    kind = sizes.type if precision == "auto" else precision
    return emit(problem_text(sizes._replace(type=kind)), arch, kind, plan)
