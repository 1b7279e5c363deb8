"""The command line: python -m phaseconv.emit."""

import argparse
import os
import sys
from pathlib import Path

from phaseconv._source import InvalidProblem, UnsupportedProblem
from phaseconv.bench.environment import write_text
from phaseconv.emit.compose import PRECISIONS, emit, emit_problem
from phaseconv.emit.transform import EmitError

INVALID, UNSUPPORTED, FILE_TROUBLE = 2, 3, 4  # exit codes, as those of the program phaseconv


def parser():
    """The arguments."""
    out = argparse.ArgumentParser(
        prog="python -m phaseconv.emit",
        description="Writes one self-contained Python file with the class ModelNew: a model with "
        "its transposed convolutions replaced by CUDA kernels, for the sizes given. Needs no GPU. "
        "A problem file's code is run.",
    )
    out.add_argument(
        "problem",
        metavar="PROBLEM",
        help="a Python file with Model, get_inputs and get_init_inputs (KernelBench's form), or a "
        "problem string such as n4,ic32,oc32,g4,i32x64x128,k3,s2,p1",
    )
    out.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    out.add_argument(
        "--arch", default="sm_90a", help="CUDA architecture to plan for; default: %(default)s"
    )
    out.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of float32 layers: f32, or tf32 (operands rounded); auto does what PyTorch's switch "
        "says, and takes a problem string's own type. f16 and bf16 convert the whole model, as "
        "KernelBench's option does",
    )
    out.add_argument("--plan", default="", help="only plans whose text starts with this")
    return out


def main(arguments=None):
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    choice = (options.arch, options.precision, options.plan)
    try:
        if options.problem.endswith(".py") or os.path.isfile(options.problem):
            emitted = emit(Path(options.problem).read_text("utf-8"), *choice)
        else:
            emitted = emit_problem(options.problem, *choice)
        if options.output is None:
            sys.stdout.write(emitted.text)
        else:
            write_text(Path(options.output), emitted.text)
    except (EmitError, InvalidProblem, UnicodeDecodeError) as error:
        print(f"phaseconv.emit: {error}", file=sys.stderr)
        return INVALID
    except UnsupportedProblem as error:
        print(f"phaseconv.emit: {error}", file=sys.stderr)
        return UNSUPPORTED
    except OSError as error:
        print(f"phaseconv.emit: {error}", file=sys.stderr)
        return FILE_TROUBLE
    for kernel in emitted.kernels:
        print(f"{kernel.problem}: {kernel.plan} ({kernel.reason})", file=sys.stderr)
    for warning in emitted.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
