"""Sources of CUDA kernels and the plans behind them, with neither GPU nor PyTorch.

A thin ctypes layer over ``python/native/source.h``. The shared library is looked for beside this
file, then in the folder that the environment variable ``PHASECONV_LIBRARY_FOLDER`` names.
"""

import ctypes
import functools
import os
from pathlib import Path
from typing import NamedTuple

LIBRARY = "libphaseconv_source.so"
FOLDER_VARIABLE = "PHASECONV_LIBRARY_FOLDER"
TYPES = ("f32", "tf32", "f16", "bf16")  # in the order of the library's enumeration


class InvalidProblem(ValueError):
    """No machine could do it; the message names the argument and what is allowed."""


class UnsupportedProblem(RuntimeError):
    """This library cannot do it; the message says what could."""


class Sizes(NamedTuple):
    """A problem's numbers. The tuples have one entry an axis, as many as the problem has."""

    type: str
    channels_last: bool
    bias: bool
    batch: int
    in_channels: int
    out_channels: int
    groups: int
    input: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    output_padding: tuple
    dilation: tuple
    output: tuple


class Launch(NamedTuple):
    """One kernel and its grid."""

    kernel: str
    blocks: int
    threads: int
    shared_memory_bytes: int
    resident: int  # more than 0: no more blocks than these on each multiprocessor


class KernelSource(NamedTuple):
    """What `kernel_source` returns."""

    sizes: Sizes
    problem: str  # canonical string
    plan: str
    reason: str  # why the planner took it
    files: tuple  # names of the kernel files; `kernel_text` has their text
    generated: str  # what follows their text: constants and kernels of this problem alone
    run: Launch
    pack: Launch
    packed_bytes: int


class _Problem(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int) for name in ("rank", "type", "channels_last", "bias")],
        *[(name, ctypes.c_longlong) for name in ("batch", "in_channels", "out_channels", "groups")],
        ("axes", ctypes.c_longlong * 7 * 3),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [
        ("kernel", ctypes.c_char_p),
        ("blocks", ctypes.c_uint),
        ("threads", ctypes.c_uint),
        ("shared_memory_bytes", ctypes.c_uint),
        ("resident", ctypes.c_uint),
    ]


class _Source(ctypes.Structure):
    _fields_ = [
        ("sizes", _Problem),
        *[(name, ctypes.c_char_p) for name in ("problem", "plan", "reason", "files", "generated")],
        ("run", _Launch),
        ("pack", _Launch),
        ("packed_bytes", ctypes.c_ulonglong),
        ("error", ctypes.c_char_p),
        ("owner", ctypes.c_void_p),
    ]


@functools.cache
def _library():
    folders = [Path(__file__).parent]
    if folder := os.environ.get(FOLDER_VARIABLE):
        folders.append(Path(folder))
    found = [path for path in (folder / LIBRARY for folder in folders) if path.is_file()]
    if not found:
        raise UnsupportedProblem(
            f"{LIBRARY} is not in {' or '.join(map(str, folders))}: build the CMake target "
            f"phaseconv_source (-DPHASECONV_BUILD_PYTHON=ON) and name its folder in "
            f"{FOLDER_VARIABLE}"
        )
    library = ctypes.CDLL(str(found[0]))
    library.phaseconv_source_make.argtypes = [ctypes.c_char_p] * 4 + [ctypes.POINTER(_Source)]
    library.phaseconv_source_free.argtypes = [ctypes.POINTER(_Source)]
    library.phaseconv_source_free.restype = None
    library.phaseconv_kernel_text.argtypes = [ctypes.c_char_p]
    library.phaseconv_kernel_text.restype = ctypes.c_void_p
    library.phaseconv_text_free.argtypes = [ctypes.c_void_p]
    library.phaseconv_text_free.restype = None
    return library


def _sizes(problem):
    axes = [tuple(axis) for axis in problem.axes][3 - problem.rank :]
    per_axis = [tuple(axis[field] for axis in axes) for field in range(7)]
    return Sizes(
        TYPES[problem.type],
        bool(problem.channels_last),
        bool(problem.bias),
        problem.batch,
        problem.in_channels,
        problem.out_channels,
        problem.groups,
        *per_axis,
    )


def _launch(launch):
    return Launch(
        launch.kernel.decode(),
        launch.blocks,
        launch.threads,
        launch.shared_memory_bytes,
        launch.resident,
    )


def kernel_source(problem, arch="sm_90a", plan="", suffix=""):
    """Plans `problem` (a problem string) for the architecture and returns its `KernelSource`.

    `plan` is the beginning of a plan's text, empty to let the planner choose; the names of the
    kernels end in `suffix`. Raises `InvalidProblem` or `UnsupportedProblem`.
    """
    library = _library()
    out = _Source()
    arguments = (text.encode() for text in (problem, arch, plan, suffix))
    status = library.phaseconv_source_make(*arguments, ctypes.byref(out))
    if status != 0:
        message = out.error.decode()
        library.phaseconv_source_free(ctypes.byref(out))
        kinds = {1: InvalidProblem, 2: UnsupportedProblem}
        raise kinds.get(status, RuntimeError)(message)
    result = KernelSource(
        _sizes(out.sizes),
        out.problem.decode(),
        out.plan.decode(),
        out.reason.decode(),
        tuple(out.files.decode().split()),
        out.generated.decode(),
        _launch(out.run),
        _launch(out.pack),
        out.packed_bytes,
    )
    library.phaseconv_source_free(ctypes.byref(out))
    return result


def kernel_text(file):
    """The text of a kernel file, without its includes: a part of one compilation unit."""
    library = _library()
    pointer = library.phaseconv_kernel_text(file.encode())
    if not pointer:
        raise KeyError(f"there is no kernel file {file!r}")
    text = ctypes.string_at(pointer).decode()
    library.phaseconv_text_free(pointer)
    return text
