"""What emitted files of each kernel family compute, built for the processor."""

import copy

import pytest
import torch

import emit_helpers as helpers
from emit_helpers import on_host
from phaseconv import _source
from phaseconv.emit import compose

helpers.require_library()


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        # Rows and outputs that are aligned, and that are not; 16 bits; boxes one after the other.
        (
            "n2,ic6,oc6,g6,i6x7x16,k4,s2,p1,bias",
            "words1,fused3,cells2,threads128,box2x8x16,groups1,buffers2,resident3",
        ),
        (
            "n2,ic6,oc6,g6,i6x7x16,k5,s2,p2,bias,f16",
            "words1,fused3,cells2,threads32,box1x2x16,groups1,buffers2,resident8",
        ),
        (
            "ic4,oc4,g2,i3x9x140,k3,s2,p1,bf16",
            "words1,fused2,oc2,cells2,threads160,box1x2x140,groups1,buffers2,resident2",
        ),
        (
            "n3,ic4,oc4,g4,i2x3x8,k2,s2,f16",
            "words1,fused3,threads48,box2x3x8,groups2,buffers2,resident16",
        ),
        (
            "ic4,oc4,g4,i3x5x260,k4,s2,p1,f16",
            "words1,fused3,threads128,box1x1x128,groups1,buffers1",
        ),
    ],
)
def test_depthwise_inputs_may_come_by_way_of_shared_memory(problem, plan, tmp_path, monkeypatch):
    products_compute_it_too(problem, f"phase_fma:{plan}", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "problem",
    [
        "n2,ic4,oc4,g4,i5x7x9,k3,s2,p1,bias",
        "n2,ic4,oc4,g4,i4x6x8,k4,s2,p1,cl",
        "ic6,oc6,g6,i5x6x7,k5,s2,p2,bias,cl",
        "n3,ic8,oc12,g4,i5x6x7,k3x2x3,s2x1x3,p1x0x2,op1x0x2,bias",
        "ic2,oc3,i9x11,k3,s2,p1,d2",
        "ic70,oc70,g70,i3x4x5,k2,s3,bias,cl",
        "ic2,oc2,i600,k4,s2,p1",
        "n0,ic4,oc4,g4,i9,k3,s2",
    ],
)
@pytest.mark.parametrize("plan", ["fused3", "fused2", "words1,fused3", "words1,fused2"])
def test_multiply_adds_of_few_channels_compute_it_too(problem, plan, tmp_path, monkeypatch):
    try:
        text = compose.emit_problem(problem, plan=f"phase_fma:{plan}").text
    except _source.UnsupportedProblem:
        # One phase along d; inputs are staged with channels first.
        assert "fused2" in plan or ("words1" in plan and ",cl" in problem)
        return
    emitted, _ = on_host(text, tmp_path, monkeypatch, bulk=plan != "fused2")
    model = emitted["ModelNew"](*emitted["get_init_inputs"]())
    (x,) = emitted["get_inputs"]()
    (layer,) = model.children()
    reference = layer.__class__.__mro__[2]
    with torch.no_grad():
        torch.testing.assert_close(model(x), reference.forward(layer, x), rtol=1e-5, atol=1e-5)
        # Products with inputs that do not exist are none, even of an infinite weight.
        layer.weight.view(-1)[0] = float("inf")
        x = x.abs() + 1
        torch.testing.assert_close(model(x), reference.forward(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "problem",
    [
        "n2,ic4,oc6,g2,i5x7x9,k3,s2,p1,bias",
        "n2,ic16,oc8,g2,i4x6x8,k4,s2,p1,cl",
        "ic12,oc40,i5x8,k2,s2,bias",
        "ic12,oc32,i5x8,k2,s2,bias,f16",
        "n3,ic19,oc7,i5x6x7,k3x2x3,s2x1x3,p1x0x2,op1x0x2,bias,cl",
        "ic9,oc16,i6x11,k3,s2,p1,d2",
        "ic40,oc8,i3x4x12,k3,s2,p1,f16",
        "ic40,oc33,i30,k2,s3,bias,bf16,cl",
        "ic64,oc2,i300,k4,s2,p1",
        "n2,ic9,oc16,i5x4x6,k3,s2,p1,d2,bias",
        "ic12,oc8,i3x5x6,k1x2x3,s3x2x2,p0x0x1,bias,f16,cl",
    ],
)
def test_products_of_warpgroups_compute_it_too(problem, tmp_path, monkeypatch):
    products_compute_it_too(problem, "phase_wgmma:", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "problem",
    [
        "n2,ic8,oc1,i4x5x8,k4,s2,p1,bias",
        "ic24,oc2,i5x6x7,k3,s2,p1,op1,bias",
        "ic12,oc1,i8x8,k5,s3,p2,op1,f16",
        "n2,ic10,oc4,g2,i6x16,k3,s2,p1,bf16",
        "ic16,oc3,i5x6x7,k3x2x3,s2x1x3,p1x0x2,op1x0x2,bias,cl",
        "n2,ic40,oc2,i6x11,k3,s2,p1,d2,f16,cl",
        "ic7,oc5,i30,k4,s2,bf16,cl",
        "n2,ic72,oc2,i9,k4,s2,p1,op1",
        "ic32,oc2,i200,k4,s2,p1",
    ],
)
@pytest.mark.parametrize("family", ["col2im_mma", "col2im_wgmma"])
def test_products_with_all_taps_compute_it_too(problem, family, tmp_path, monkeypatch):
    products_compute_it_too(problem, f"{family}:", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        ("n2,ic8,oc1,i4x5x8,k4,s2,p1,bias", "threads128,box2x5x8,lead0x1x1,block1,columns64"),
        ("n2,ic8,oc1,i4x5x8,k4,s2,p1,bias,f16", "threads128,box1x6x8,lead0x0x1,block1,columns32"),
        ("n2,ic8,oc1,i4x5x8,k4,s2,p1,bias", "threads128,box2x6x9,block1,columns32"),
        ("ic24,oc2,i5x6x7,k3,s2,p1,op1,bias,cl", "threads128,box2x6x7,lead1x1x1,block2,columns56"),
        ("ic12,oc1,i8x10,k4,s2,p1,op1,f16", "threads128,box2x1x11,lead0x0x1,block1,columns16"),
        ("ic40,oc1,i5x4x8,k4,s2,p1", "threads128,box2x5x8,lead0x0x1,block1,columns32,inputs16"),
        ("ic12,oc2,i5x4x8,k3,s2,p1,cl", "threads128,box1x4x8,lead1x1x1,block2,columns40"),
    ],
)
@pytest.mark.parametrize("family", ["col2im_mma", "col2im_wgmma"])
def test_all_taps_with_cells_anywhere(problem, plan, family, tmp_path, monkeypatch):
    if family == "col2im_mma":  # whose warps need not be four
        threads = 32 if "i8x10" in problem else 96 if "i5x4x8" in problem else 128
        plan = plan.replace("threads128", f"threads{threads}")
    products_compute_it_too(problem, f"{family}:cells16,{plan}", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "problem",
    [
        "n2,ic4,oc6,g2,i5x7x9,k3,s2,p1,bias",
        "ic12,oc40,i5x8,k2,s2,bias,f16",
        "n3,ic19,oc7,i5x6x7,k3x2x3,s2x1x3,p1x0x2,op1x0x2,bias,cl",
        "ic9,oc16,i6x11,k3,s2,p1,d2",
        "ic40,oc8,i3x4x12,k3,s2,p1,f16",
        "ic40,oc33,i30,k2,s3,bias,bf16,cl",
        "ic64,oc2,i300,k4,s2,p1",
        "ic20,oc24,i4x6x8,k3",
        "n2,ic9,oc16,i5x4x6,k3,s2,p1,d2",
        "ic9,oc16,i5x4x6,k3,s2,p1,d2,bias,cl",
        "ic12,oc8,i3x5x6,k1x2x3,s3x2x2,p0x0x1,bias",
        "ic12,oc8,i3x5x6,k1x2x3,s3x2x2,p0x0x1,bias,f16,cl",
    ],
)
@pytest.mark.parametrize("staged", ["words1", "cells"])
def test_products_of_streams_compute_it_too(problem, staged, tmp_path, monkeypatch):
    if staged == "words1" and "f16" in problem:
        pytest.skip("16-bit inputs are staged as operands")
    products_compute_it_too(problem, f"phase_stream:{staged}", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        ("n2,ic16,oc16,i4x5x8,k3,s2,p1,bias", "block16,columns128,part64,groups1,inputs16"),
        ("n2,ic16,oc16,i4x5x8,k3,s2,p1,bias", "block16,columns128,part32,groups1,inputs8"),
    ],
)
@pytest.mark.parametrize("staged", ["words1", "cells"])
def test_products_of_streams_in_parts(problem, plan, staged, tmp_path, monkeypatch):
    staged += ",cells64" if staged == "words1" else "64"
    plan = f"phase_stream:{staged},threads384,box1x2x8,lead1x1x1,{plan}"
    products_compute_it_too(problem, plan, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("problem", "plan"),
    [
        (
            "n2,ic4,oc6,g2,i5x7x9,k3,s2,p1,bias",
            "threads128,box1x4x9,lead1x1x1,block3,columns8,groups1,inputs2",
        ),
        (
            "ic16,oc8,g2,i9x4x8,k4,s2,p1,cl",
            "threads128,box1x4x8,lead1x1x1,block4,columns32,groups2,inputs8",
        ),
        (
            "n2,ic16,oc6,i7x5x9,k5x3x2,s2,p2x1x0,bias,f16",
            "threads128,box1x2x9,lead0x1x0,block6,columns32,groups1,inputs16",
        ),
        (
            "n2,ic9,oc16,i5x4x6,k3,s2,p1,d2,bias",
            "threads64,box2x2x7,lead1x1x1,block16,columns16,groups1,inputs9",
        ),
        (
            "ic12,oc8,i3x5x6,k1x2x3,s3x2x2,p0x0x1,bias,f16,cl",
            "threads128,box3x1x6,lead0x0x1,block8,columns16,groups1,inputs12",
        ),
        (
            "ic40,oc33,i30,k2,s3,bias,bf16,cl",
            "threads320,box1x1x16,block33,columns8,groups1,inputs40",
        ),
    ],
)
@pytest.mark.parametrize("buffers", [1, 2])
def test_products_of_warps_compute_it_too(problem, plan, buffers, tmp_path, monkeypatch):
    plan = f"phase_mma:cells16,{plan},buffers{buffers}"
    products_compute_it_too(problem, plan, tmp_path, monkeypatch, bulk=buffers == 2)


def products_compute_it_too(problem, plan, tmp_path, monkeypatch, bulk=True):
    text = compose.emit_problem(problem, plan=plan).text
    emitted, _ = on_host(text, tmp_path, monkeypatch, bulk)
    model = emitted["ModelNew"](*emitted["get_init_inputs"]())
    (x,) = emitted["get_inputs"]()
    model = model.to(x.dtype)
    (layer,) = model.children()
    reference = layer.__class__.__mro__[2]
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(x.dtype, 1e-5)
    with torch.no_grad():
        # Once more with an infinite weight, whose products with made-up zeros are none. In other
        # types than float64 PyTorch may have them.
        for value in (float(layer.weight.view(-1)[0]), float("inf")):
            layer.weight.view(-1)[0] = value
            expected = reference.forward(copy.deepcopy(layer).double(), x.double()).to(x.dtype)
            torch.testing.assert_close(model(x), expected, rtol=tolerance, atol=tolerance)
            x = x.abs() + 1
        # A NaN as GPUs write it, all bits set: rounding it as an integer makes a number of it.
        layer.weight.view(-1)[0] = 1
        if x.dtype == torch.float32:
            x.view(torch.int32)[(0,) * x.dim()] = 0x7FFFFFFF
            expected = reference.forward(layer, x)
            found = model(x)
            torch.testing.assert_close(found.isnan(), expected.isnan())
            assert found.isnan().any()
        # The sign of an infinite sum is that of its weight.
        x[(0,) * x.dim()] = float("inf")
        expected = reference.forward(layer.double(), x.double()).to(x.dtype)
        layer.to(x.dtype)
        assert expected.isposinf().any()
        assert expected.isneginf().any()
        torch.testing.assert_close(model(x), expected, rtol=tolerance, atol=tolerance)
