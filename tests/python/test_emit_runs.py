"""Emitted files at work: built for the processor, compiled by nvcc, and run on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

import emit_helpers as helpers
from emit_helpers import NAMES, NETWORK, NVCC, emitted_file, load, on_host, problem_file
from phaseconv.emit import compose

helpers.require_library()


def models(problem, emitted, seed=0):
    """A problem's Model and the ModelNew of an emitted file, with the same weights."""
    made = []
    for namespace, name in ((problem, "Model"), (emitted, "ModelNew")):
        torch.manual_seed(seed)
        made.append(namespace[name](*problem["get_init_inputs"]()))
    return made


# --- on the processor: no GPU needed --------------------------------------------------------------


def test_a_network_computes_what_pytorch_does(tmp_path, monkeypatch):
    text = compose.emit(NETWORK, precision="f32", plan="direct:").text
    problem = load(NETWORK)
    emitted, library = on_host(text, tmp_path, monkeypatch)
    old, new = models(problem, emitted)
    for _ in range(3):
        inputs = problem["get_inputs"]()
        with torch.no_grad():
            for expected, found in zip(old(*inputs), new(*inputs), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # Five calls a run, of four weights; the last layer's two sizes are two problems, packed apart.
    assert (library.packs, library.runs) == (5, 15)


PARAMETRIZED = """
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = weight_norm(nn.ConvTranspose1d(4, 2, 4, 2, padding=1))

    def forward(self, x):
        return self.layer(x, output_size=[2 * x.shape[-1] + 1])


def get_inputs():
    return [torch.rand(2, 4, 7)]


def get_init_inputs():
    return []
"""


def test_a_parametrized_weight_is_packed_at_each_call(tmp_path, monkeypatch):
    text = compose.emit(PARAMETRIZED, precision="f32", plan="direct:").text
    emitted, library = on_host(text, tmp_path, monkeypatch)
    old, new = models(load(PARAMETRIZED), emitted)
    assert list(old.state_dict()) == list(new.state_dict())
    (x,) = emitted["get_inputs"]()
    with torch.no_grad():
        for calls in (1, 2):
            torch.testing.assert_close(new(x), old(x), rtol=1e-5, atol=1e-5)
            assert (library.packs, library.runs) == (calls, calls)


@pytest.mark.parametrize(
    "problem",
    [
        "n3,ic6,oc9,g3,i4x5x6,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias",
        "n2,ic5,oc7,i6x7,k3,s2,p1,d2,bias,cl",
        "n2,ic4,oc3,i9,k5,s3,cl",
        "n0,ic4,oc3,i9,k5,s3",
    ],
)
def test_a_problem_string_computes_what_pytorch_does(problem, tmp_path, monkeypatch):
    text = compose.emit_problem(problem, plan="direct:").text
    emitted, _ = on_host(text, tmp_path, monkeypatch)
    model = emitted["ModelNew"](*emitted["get_init_inputs"]())
    (x,) = emitted["get_inputs"]()
    (layer,) = model.children()
    reference = layer.__class__.__mro__[2]  # PyTorch's own class
    with torch.no_grad():
        expected = reference.forward(layer, x)
        found = model(x)
        # An input that lies otherwise in memory is copied.
        copied = model(x.repeat_interleave(2, dim=-1)[..., ::2])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(copied, found)
    if problem.endswith("cl"):
        assert found.movedim(1, -1).is_contiguous()


def rounded_to_tf32(x):
    """To 10 explicit bits, ties away from zero."""
    bits = x.view(torch.int32) + 0x1000
    return (bits & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("kind", ["tf32", "bf16"])
def test_operands_are_rounded_as_the_type_says(kind, tmp_path, monkeypatch):
    text = compose.emit_problem(f"n2,ic5,oc7,i6x7,k3,s2,p1,bias,{kind}", plan="direct:").text
    emitted, _ = on_host(text, tmp_path, monkeypatch)
    model = emitted["ModelNew"](*emitted["get_init_inputs"]())
    (x,) = emitted["get_inputs"]()
    model = model.to(x.dtype)
    layer = model.conv_transpose2d
    operands = (x, layer.weight.detach())
    if kind == "tf32":
        operands = map(rounded_to_tf32, operands)
    function = torch.nn.functional.conv_transpose2d
    with torch.no_grad():
        exact = function(*(t.double() for t in operands), layer.bias.double(), 2, 1)
        found = model(x)
    assert found.dtype == x.dtype
    tolerance = (
        1e-6 if kind == "tf32" else 2**-8
    )  # of the sums alone; of one rounding of the output
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)


def test_weights_are_packed_anew_when_they_change(tmp_path, monkeypatch):
    text = compose.emit_problem("n1,ic2,oc3,i5,k3,bias", plan="direct:").text
    emitted, library = on_host(text, tmp_path, monkeypatch)
    model = emitted["ModelNew"](2, 3, 3, bias=True)
    layer = model.conv_transpose1d
    x = torch.rand(1, 2, 5)

    def check(packs):
        expected = torch.nn.functional.conv_transpose1d(x, layer.weight, layer.bias)
        torch.testing.assert_close(model(x), expected)
        assert library.packs == packs

    with torch.no_grad():
        check(1)
        check(1)
        layer.weight.mul_(2)
        check(2)
        layer.weight.data = torch.rand(2, 3, 3)
        check(3)
        model.load_state_dict({key: value + 1 for key, value in model.state_dict().items()})
        check(4)
        layer.weight = torch.nn.Parameter(torch.rand(2, 3, 3))
        check(5)
        check(5)
    with torch.inference_mode():  # whose tensors do not count their changes
        layer.weight = torch.nn.Parameter(torch.rand(2, 3, 3))
        check(6)
        layer.weight.mul_(2)
        check(7)


def test_a_gradient_is_refused_where_it_is_asked_for(tmp_path, monkeypatch):
    text = compose.emit_problem("n1,ic2,oc3,i5,k3", plan="direct:").text
    emitted, library = on_host(text, tmp_path, monkeypatch)
    model = emitted["ModelNew"](2, 3, 3)
    x = torch.rand(1, 2, 5)
    y = model(x)
    assert y.requires_grad
    with torch.no_grad():
        assert torch.equal(model(x), y)
    with pytest.raises(RuntimeError, match="for inference"):
        y.sum().backward()
    assert library.packs == 1


# --- builds ---------------------------------------------------------------------------------------


def test_a_build_is_kept_and_a_killed_one_is_not_waited_for(tmp_path, monkeypatch):
    emitted = load(compose.emit_problem("ic1,oc1,i3,k3").text)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    built = []

    def load_inline(name, build_directory, **options):
        built.append(Path(build_directory))
        if len(built) == 1:
            (Path(build_directory) / "lock").touch()
            raise KeyboardInterrupt
        text = Path(build_directory) / "main.c"
        text.write_text("int answer(void) { return 42; }\n")
        library = Path(build_directory) / f"{name}.so"
        subprocess.run(["cc", "-shared", "-fPIC", str(text), "-o", str(library)], check=True)

    monkeypatch.setattr(cpp_extension, "load_inline", load_inline)
    with pytest.raises(KeyboardInterrupt):
        emitted["_phaseconv_load"]("90a")
    assert list(tmp_path.iterdir()) == []
    for _ in range(3):
        assert emitted["_phaseconv_load"]("90a").answer() == 42
    assert len(built) == 2
    assert [path.name for path in tmp_path.iterdir()] == [built[1].name[: len("phaseconv_") + 20]]
    emitted["_phaseconv_load"]("80")
    assert len(built) == 3


def test_of_two_builds_at_once_both_are_used(tmp_path, monkeypatch):
    emitted = load(compose.emit_problem("ic1,oc1,i3,k3").text)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    answers = iter((1, 2))

    def load_inline(name, build_directory, **options):
        answer = next(answers)
        if answer == 1:  # another process builds, and is done first
            assert emitted["_phaseconv_load"]("90a").answer() == 2
        text = Path(build_directory) / "main.c"
        text.write_text(f"int answer(void) {{ return {answer}; }}\n")
        library = Path(build_directory) / f"{name}.so"
        subprocess.run(["cc", "-shared", "-fPIC", str(text), "-o", str(library)], check=True)

    monkeypatch.setattr(cpp_extension, "load_inline", load_inline)
    assert emitted["_phaseconv_load"]("90a").answer() == 1
    assert emitted["_phaseconv_load"]("90a").answer() == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("name", [*NAMES, "network"])
def test_the_source_compiles_with_nvcc(name, tmp_path):
    text = compose.emit(NETWORK).text if name == "network" else emitted_file(name)
    source = tmp_path / "kernels.cu"
    source.write_text(load(text)["_SOURCE"], "ascii")
    command = [NVCC, "-c", str(source), "-o", str(tmp_path / "kernels.o"), "-O3"]
    # As torch.utils.cpp_extension calls it, with TORCH_CUDA_ARCH_LIST=9.0a.
    command += ["-std=c++20", "--expt-relaxed-constexpr", "--compiler-options", "-fPIC"]
    command += ["-gencode=arch=compute_90a,code=sm_90a", "-Werror", "all-warnings"]
    subprocess.run(command, check=True)


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("name", NAMES)
def test_each_example_agrees_with_its_model(name):
    problem = load(problem_file(name))
    old, new = (model.cuda() for model in models(problem, load(emitted_file(name)), seed=42))
    with torch.no_grad():
        for seed in range(5):
            torch.manual_seed(seed)
            inputs = [x.cuda() for x in problem["get_inputs"]()]
            expected, found = old(*inputs), new(*inputs)
            assert found.shape == expected.shape
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            del expected, found


@pytest.mark.cuda
def test_a_network_on_a_gpu():
    problem, emitted = load(NETWORK), load(compose.emit(NETWORK, precision="f32").text)
    old, new = (model.cuda() for model in models(problem, emitted))
    (x,) = problem["get_inputs"]()
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        for expected, found in zip(old(x.cuda()), new(x.cuda()), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.cuda
def test_streams_and_graphs():
    emitted = load(compose.emit_problem("n2,ic8,oc8,i9x17,k3,s2,p1,bias").text)
    model = emitted["ModelNew"](8, 8, 3, 2, 1, bias=True).cuda()
    layer = model.conv_transpose2d
    x = torch.rand(2, 8, 9, 17, device="cuda")
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        reference = torch.nn.ConvTranspose2d.forward
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # the weights are packed here, and used elsewhere at once
            first = model(x)
        torch.testing.assert_close(model(x), reference(layer, x))
        torch.cuda.synchronize()
        torch.testing.assert_close(first, reference(layer, x))

        for warm in (True, False):  # not warm: the graph packs the weights by itself
            if not warm:
                layer.weight.mul_(2)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                y = model(x)
            x.uniform_()
            graph.replay()
            torch.testing.assert_close(y, reference(layer, x))
            torch.testing.assert_close(model(x), reference(layer, x))


@pytest.mark.cuda
def test_a_file_builds_in_a_process_of_its_own(tmp_path):
    text = emitted_file("level1_73_groups4") + "\nprint(_phaseconv_library(0))\n"
    (tmp_path / "new.py").write_text(text, "utf-8")
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path / "built")}
    environment["TORCH_CUDA_ARCH_LIST"] = "7.5"  # a visible GPU counts more
    for _ in range(2):
        subprocess.run([sys.executable, "new.py"], check=True, cwd=tmp_path, env=environment)
    assert len(list((tmp_path / "built").iterdir())) == 1
