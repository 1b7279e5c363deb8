"""phaseconv.emit: what it writes, and what it refuses. The kernels run in test_emit_families.py and
test_emit_runs.py."""

import inspect
import os
import re
import subprocess
import sys

import pytest
import torch

import emit_helpers as helpers
from emit_helpers import EXAMPLES, NAMES, NETWORK, emitted_file, load, problem_file
from phaseconv import _source
from phaseconv.emit import __main__ as command
from phaseconv.emit import compose
from phaseconv.emit.transform import EmitError

helpers.require_library()

FIRST = "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1"
SMALL = "n2,ic4,oc6,g2,i3x4x5,k3,s2,p1"


def one_layer(layer, shape="2, 4, 3, 5", imports="", call="self.layer(x)"):
    """A problem file around one expression."""
    return f"""
import torch
import torch.nn.functional as F
from torch import nn
{imports}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = {layer}

    def forward(self, x):
        return {call}


def get_inputs():
    return [torch.rand({shape})]


def get_init_inputs():
    return []
"""


def problems(text, **options):
    """The problem strings of the kernels that a problem file needs."""
    return [kernel.problem for kernel in compose.emit(text, **options).kernels]


# --- the committed examples -----------------------------------------------------------------------


def test_the_examples_are_the_eight_layers():
    sizes = {name: problems(problem_file(name)) for name in NAMES}
    assert sizes == {
        "level1_58": ["n16,ic32,oc16,i16x32x64,k3x5x7,tf32"],
        "level1_61": ["n8,ic48,oc48,i64x64x64,k3,tf32"],
        "level1_68": ["n16,ic32,oc64,i64x64x64,k3x5x5,tf32"],
        "level1_70": ["n8,ic48,oc24,i96x96x96,k3,tf32"],
        "level1_72": ["n8,ic32,oc32,g4,i12x24x48,k3x5x7,s2,p1x2x3,op1"],
        "level1_73_groups1": ["n4,ic32,oc32,i32x64x128,k3,s2,p1,tf32"],
        "level1_73_groups4": [FIRST],
        "level1_77": ["n16,ic32,oc64,i16x32x32,k3,s2,p1,d2,tf32"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_what_emit_writes(name):
    assert compose.emit(problem_file(name)).text == emitted_file(name), (
        f"write it again: python -m phaseconv.emit examples/kernelbench/problems/{name}.py "
        f"-o examples/kernelbench/emitted/{name}.py"
    )


def test_the_text_depends_on_nothing_but_the_problem(tmp_path):
    copy = tmp_path / "elsewhere.py"
    copy.write_text(problem_file("level1_72"), "utf-8")
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    arguments = [sys.executable, "-m", "phaseconv.emit", str(copy), "-o", "new.py"]
    subprocess.run(arguments, check=True, cwd=tmp_path, env=environment, capture_output=True)
    assert (tmp_path / "new.py").read_bytes() == emitted_file("level1_72").encode()


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_obey_the_source_check(name):
    text = emitted_file(name)
    assert not re.search(r"\b(try|except|pass)\b", text)
    assert not re.search(r"threading|multiprocessing|concurrent\.futures|Executor", text)
    assert not re.search(r"_make_subclass|\(torch\.Tensor\)|\(Tensor\)|Tensor\.__new__", text)
    assert not re.search(r"(Event(\.\w+)?|synchronize|perf_counter|time\.time)\s*=[^=]", text)
    assert not re.search(r"Stream\s*\(|wait_stream|record_stream|__float2half|\.half\(", text)
    assert "__global__" in text
    assert "load_inline" in text
    assert text.isascii()
    assert not re.search(r"^\s*(import|from) phaseconv", text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights(name):
    problem, emitted = load(problem_file(name)), load(emitted_file(name))
    states = []
    for model in (problem["Model"], emitted["ModelNew"]):
        torch.manual_seed(42)
        made = model(*problem["get_init_inputs"]())
        states.append((made.state_dict(), torch.get_rng_state()))
    (old, old_random), (new, new_random) = states
    assert list(old) == list(new)
    assert all(torch.equal(old[key], new[key]) for key in old)
    assert torch.equal(old_random, new_random)
    made.load_state_dict(old)
    signatures = [inspect.signature(m) for m in (problem["Model"], emitted["ModelNew"])]
    assert signatures[0] == signatures[1]


# --- problem files --------------------------------------------------------------------------------


def test_a_network_keeps_its_text_but_for_the_names():
    emitted = compose.emit(NETWORK, plan="direct:")
    model = emitted.text[emitted.text.index("# --- the model") :]
    assert "class ModelNew(nn.Module):" in model
    assert "super(ModelNew, self).__init__()" in model
    assert "class Up(PhaseconvTranspose2d):" in model
    assert "x = phaseconv_conv_transpose2d(x, self.kernel, stride=2, dilation=2)" in model
    assert "self.last = PhaseconvTranspose1d(3, 2, 4, 2, bias=False)" in model
    assert "# needs a value while it is constructed" in model
    assert emitted.text.index("from __future__ import annotations") < emitted.text.index(
        "import os"
    )
    assert [kernel.problem for kernel in emitted.kernels] == [
        "n2,ic4,oc6,i3x5,k2,s2,bias,tf32",
        "n2,ic6,oc4,g2,i6x10,k3x2,s2x1,p1,op1x0,bias",
        "n2,ic4,oc3,i12x9,k3,s2,d2,tf32",
        "n2,ic3,oc2,i567,k4,s2,tf32",
        "ic3,oc2,i1136,k4,s2,tf32",
    ]
    # The building blocks stand there once, the generated parts one after the other.
    assert emitted.text.count("struct Direct {") == 1
    assert emitted.text.count("struct TheProblem {") == 5


def test_a_network_has_the_same_weights():
    states = []
    for namespace, name in (
        (load(NETWORK), "Model"),
        (load(compose.emit(NETWORK).text), "ModelNew"),
    ):
        torch.manual_seed(1)
        states.append(namespace[name](4).state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_layers_that_agree_share_a_kernel():
    layers = "nn.Sequential(*[nn.ConvTranspose2d(4, 4, 3, padding=1) for _ in range(3)])"
    emitted = compose.emit(one_layer(layers))
    assert [kernel.problem for kernel in emitted.kernels] == ["n2,ic4,oc4,i3x5,k3,p1,bias,tf32"]


def test_parts_that_are_not_needed_are_left_out():
    text = compose.emit_problem(SMALL).text
    assert "_phaseconv_functional" not in text
    assert "_phaseconv_adopting" not in text
    assert "struct F32 {" in text
    assert not re.search("struct (TF32|F16|BF16) {", text)


def test_inputs_of_many_gigabytes_cost_nothing():
    layer = "nn.ConvTranspose3d(64, 64, 2, stride=2)"
    assert problems(one_layer(layer, "64, 64, 512, 512, 512")) == [
        "n64,ic64,oc64,i512x512x512,k2,s2,bias,tf32"
    ]


def test_the_layout_is_that_of_the_input():
    layer = "nn.ConvTranspose2d(4, 6, 3)"
    call = "self.layer(x.to(memory_format=torch.channels_last))"
    assert problems(one_layer(layer, call=call)) == ["n2,ic4,oc6,i3x5,k3,bias,tf32,cl"]


def test_precision():
    dense = one_layer("nn.ConvTranspose2d(4, 6, 3)")
    grouped = one_layer("nn.ConvTranspose2d(4, 6, 3, groups=2)")
    assert problems(dense) == ["n2,ic4,oc6,i3x5,k3,bias,tf32"]
    assert problems(grouped) == ["n2,ic4,oc6,g2,i3x5,k3,bias"]
    assert problems(dense, precision="f32") == ["n2,ic4,oc6,i3x5,k3,bias"]
    assert problems(grouped, precision="tf32") == ["n2,ic4,oc6,g2,i3x5,k3,bias,tf32"]
    assert problems(dense, precision="bf16") == ["n2,ic4,oc6,i3x5,k3,bias,bf16"]
    assert problems(
        one_layer("nn.ConvTranspose2d(4, 6, 3).half()", call="self.layer(x.half())")
    ) == ["n2,ic4,oc6,i3x5,k3,bias,f16"]


def test_precision_follows_the_switch():
    text = one_layer("nn.ConvTranspose2d(4, 6, 3)")
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert problems(text) == ["n2,ic4,oc6,i3x5,k3,bias"]


REFUSED = {
    "runs no transposed convolution": one_layer("nn.Conv2d(4, 6, 3)"),
    "torch.float64 is not supported": one_layer(
        "nn.ConvTranspose2d(4, 6, 3).double()", call="self.layer(x.double())"
    ),
    "from code outside the problem file": one_layer("nn.LazyConvTranspose2d(6, 3)"),
    "constructing the model failed: ZeroDivisionError": one_layer("1 / 0"),
    "running the model on tensors without data failed": one_layer(
        "nn.ConvTranspose2d(4, 6, 3)", call="self.layer(x) if x.sum() > 0 else x"
    ),
    "the problem file failed: SyntaxError": "def",
    "defines no get_inputs()": "import torch",
    "defines no class Model": one_layer("None").replace("class Model", "class Other"),
    "defines ModelNew": one_layer("None") + "\nModelNew = 1\n",
    "defines os, a name": one_layer("None") + "\nos = 1\n",
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_say_why(message):
    with pytest.raises(EmitError, match=re.escape(message)):
        compose.emit(REFUSED[message])


def test_words_of_the_source_check_are_reported():
    text = one_layer("nn.ConvTranspose2d(4, 6, 3)") + "\nif False:\n    pass\n"
    line = 1 + text[: text.index("    pass")].count("\n")
    assert compose.emit(text).warnings == (
        f"line {line} of the problem file holds 'pass', which KernelBench's source check refuses",
    )


def test_comments_of_kernels_with_such_words_are_left_out(monkeypatch):
    text = "// One\n// pass over all.\nint a;  // we try\nint b;  // kept\n// kept too\n"
    monkeypatch.setattr(compose, "kernel_text", lambda name: text if name == "pack" else "")
    kernel = _source.kernel_source(SMALL, plan="direct:", suffix="_0")
    cuda = compose.cuda_text([kernel])
    assert "int a;\nint b;  // kept\n// kept too\n" in cuda
    assert "// One\n" not in cuda
    text = "int pass = 0;\n"
    with pytest.raises(EmitError, match="the kernel source uses the word 'pass'"):
        compose.cuda_text([kernel])


def test_any_other_text_of_a_kernel_arrives_as_it_is(monkeypatch):
    # Where there is a GPU that the file is for, it is built too.
    text = (
        '__device__ inline void odd() {\n  asm volatile("// a;\\n\\t"\n'
        '               "// b;");\n}\n'
        "#define two(x) \\\n  (2 * x)\n"
    )
    read = compose.kernel_text
    monkeypatch.setattr(
        compose, "kernel_text", lambda name: read(name) + (text if name == "phases" else "")
    )
    assert text in load(compose.emit_problem(SMALL).text)["_SOURCE"]


def test_the_launches_are_those_of_the_plan(monkeypatch):
    monkeypatch.setattr(compose, "kernel_text", lambda name: "")
    for plan in ("direct:", "phase_mma:"):
        kernel = _source.kernel_source(FIRST, plan=plan, suffix="_0")
        cuda = compose.cuda_text([kernel])
        for launch in (kernel.pack, kernel.run):
            numbers = f"{launch.blocks}, {launch.threads}, {launch.shared_memory_bytes}"
            assert f"{launch.kernel}), {numbers}, {launch.resident}}}," in cuda


# --- problem strings ------------------------------------------------------------------------------


def test_a_problem_string_gives_the_interface_of_its_origin():
    namespace = load(compose.emit_problem(FIRST).text)
    assert str(inspect.signature(namespace["ModelNew"])) == (
        "(in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, "
        "bias=False)"
    )
    model = namespace["ModelNew"](32, 32, 3, 2, 1, groups=4)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == {
        "conv_transpose3d.weight": (32, 8, 3, 3, 3)
    }


@pytest.mark.parametrize(
    "problem",
    [
        FIRST,
        "n0,ic2,oc3,i4x5,k3x2,s2x1,op1x0,bias",
        "ic3,oc4,i7,k4,s2,d3,tf32",
        "n2,ic3,oc4,i3x4x5,k3,s2,bf16,cl",
        "n2,ic3,oc4,i9,k3,f16,cl",
    ],
)
def test_a_problem_string_comes_back(problem):
    assert [kernel.problem for kernel in compose.emit_problem(problem).kernels] == [problem]


def test_a_problem_strings_type_can_be_another():
    assert [k.problem for k in compose.emit_problem(SMALL, precision="tf32").kernels] == [
        SMALL + ",tf32"
    ]


# --- errors of an emitted file --------------------------------------------------------------------


def test_another_shape_type_or_device_is_an_error():
    namespace = load(compose.emit_problem(SMALL).text)
    model = namespace["ModelNew"](*namespace["get_init_inputs"]())
    with pytest.raises(RuntimeError, match="must be on one CUDA GPU; they are on cpu, cpu"):
        model(*namespace["get_inputs"]())
    with pytest.raises(ValueError, match=re.escape(f"it has kernels for {SMALL}")) as error:
        model(torch.rand(2, 4, 3, 4, 6))
    asked = "input (2, 4, 3, 4, 6), weight (4, 3, 3, 3, 3), bias False, stride (2, 2, 2)"
    assert asked in str(error.value)
    with pytest.raises(ValueError, match=r"no kernel for torch\.float16, input"):
        model.half()(torch.rand(2, 4, 3, 4, 5).half())
    with pytest.raises(ValueError, match=re.escape("output_padding (1, 1, 1)")):
        model.conv_transpose3d.float()(torch.rand(2, 4, 3, 4, 5), output_size=(6, 8, 10))


@pytest.mark.parametrize(
    "arch,capability,target",
    [
        ("sm_90a", (9, 0), "90a"),
        ("sm_90a", (8, 0), None),
        ("sm_90a", (10, 0), None),
        ("sm_80", (8, 0), "80"),
        ("sm_80", (12, 1), "121"),
        ("sm_120", (9, 0), None),
    ],
)
def test_another_gpu_is_an_error(monkeypatch, arch, capability, target):
    namespace = load(compose.emit_problem(SMALL, arch).text)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert namespace["_phaseconv_target"](0) == target
    if target is None:
        number = "".join(map(str, capability))
        with pytest.raises(RuntimeError, match=f"written for {arch}, cuda:0 is sm_{number}: "):
            # Past its cache: where there is a GPU, the file was loaded for that one.
            namespace["_phaseconv_library"].__wrapped__(0)


# --- the command line -----------------------------------------------------------------------------


def test_the_command_writes_a_file(tmp_path, capsys):
    assert command.main([SMALL, "-o", str(tmp_path / "new.py"), "--plan", "direct:oc2"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{SMALL}: direct:oc2")
    assert (tmp_path / "new.py").read_text("utf-8").startswith('"""ModelNew')
    assert [path.name for path in tmp_path.iterdir()] == ["new.py"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ic1,oc1,i3"], 2, "field 'k' is missing"),
        (["ic1,oc1,i3,k3", "--arch", "nonsense"], 2, "must be like sm_80"),
        (["ic1,oc1,i3,k3", "--arch", "sm_75"], 3, "sm_80 (Ampere) or newer is needed"),
        (["ic1,oc1,i3,k3", "--plan", "none"], 3, "no plan begins with 'none'"),
        (["missing.py"], 4, "missing.py"),
        ([SMALL, "-o", "missing/new.py"], 4, "missing/new.py"),
        ([str(EXAMPLES.parent / "kernelbench")], 2, "problem string"),
    ],
)
def test_exit_codes(arguments, code, message, capsys):
    assert command.main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
