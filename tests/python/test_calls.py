"""Strides and memory formats, autocast, TF32, errors, threads: calls in eager mode."""

import numpy
import pytest
import torch
import torch.nn.functional as F

import contract
import phaseconv

pytestmark = pytest.mark.usefixtures("no_grad")
ranks = pytest.mark.parametrize("rank", [1, 2, 3])
types = pytest.mark.parametrize("dtype", contract.TYPES, ids=str)
OURS = {
    1: phaseconv.conv_transpose1d,
    2: phaseconv.conv_transpose2d,
    3: phaseconv.conv_transpose3d,
}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def data(rank, device, dtype=torch.float32, batch=2, channels=(6, 4), size=5, kernel=3):
    """input, weight, bias"""
    x = torch.randn(batch, channels[0], *[size] * rank, device=device, dtype=dtype)
    w = torch.randn(*channels, *[kernel] * rank, device=device, dtype=dtype)
    return x, w, torch.randn(channels[1], device=device, dtype=dtype)


def layouts(t):
    """The same values with other strides."""
    rank = t.dim() - 2
    yield "contiguous", t
    if rank in CHANNELS_LAST:
        yield "channels last", t.contiguous(memory_format=CHANNELS_LAST[rank])
    yield "channels innermost", t.movedim(1, -1).contiguous().movedim(-1, 1)
    yield (
        "axes reversed",
        t.permute(*reversed(range(t.dim()))).contiguous().permute(*reversed(range(t.dim()))),
    )
    yield "every second", torch.stack([t, t], -1).flatten(-2)[..., ::2]
    yield "at an odd address", torch.cat([t.flatten()[:1], t.flatten()])[1:].view_as(t)
    yield "one batch for all", t[:1].expand_as(t) if t.shape[0] > 1 else t


@ranks
@types
def test_every_layout(rank, dtype, device, spy):
    x, w, b = data(rank, device, dtype)
    b = torch.stack([b, b], 1)[:, 0]  # with a stride
    count = 0
    for _, input in layouts(x):
        for _, weight in layouts(w):
            output = OURS[rank](input, weight, b, stride=2, padding=1)
            theirs = contract.FUNCTIONS[rank](input, weight, b, stride=2, padding=1)
            assert output.stride() == theirs.stride()
            contract.check(output, input, weight, b, stride=2, padding=1)
            count += 1
    assert spy.ours == count


@ranks
def test_contiguous_and_channels_last_are_not_copied(rank, device):
    x, w, b = data(rank, device)
    for name, input in layouts(x):
        if name not in ("contiguous", "channels last"):
            continue
        OURS[rank](input, w, b)  # packs
        with torch.profiler.profile() as profile:
            OURS[rank](input, w, b)
        names = [event.key for event in profile.key_averages()]
        assert "phaseconv::run" in names
        assert not {"aten::copy_", "aten::clone", "phaseconv::pack"} & set(names), name


@ranks
def test_unbatched_and_empty_batch(rank, device, spy):
    x, w, b = data(rank, device)
    one = OURS[rank](x[0], w, b)
    assert torch.equal(one, OURS[rank](x[:1], w, b)[0])
    none = OURS[rank](x[:0], w, b)
    assert none.shape == (0, *one.shape)
    assert none.stride() == contract.FUNCTIONS[rank](x[:0], w, b).stride()
    assert spy.theirs == 0


@ranks
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast(rank, dtype, device, spy):
    x, w, b = data(rank, device)
    with torch.autocast(device, dtype=dtype):
        output = OURS[rank](x, w, b, 2)
        assert output.dtype == contract.FUNCTIONS[rank](x, w, b, 2).dtype == dtype
        contract.check(output, x.to(dtype), w.to(dtype), b.to(dtype), 2)
        half = OURS[rank](x.to(dtype), w, b, 2)  # as after another layer
        assert torch.equal(half, output)
        with torch.autocast(device, enabled=False), pytest.raises(RuntimeError, match="as input"):
            OURS[rank](x.to(dtype), w, b, 2)
    assert spy.ours == 2
    weight = phaseconv.packing._sources[w.untyped_storage()._cdata]
    assert len(weight.derived) == 1, "weights are converted and packed once"


@pytest.mark.cuda
@pytest.mark.parametrize("groups", [1, 2])
def test_tf32_follows_pytorch(groups, monkeypatch):
    x, w, _ = data(2, "cuda", channels=(32, 16))
    b = torch.randn(16 * groups, device="cuda")
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "ieee"
        exact = phaseconv.conv_transpose2d(x, w, b, groups=groups)
        contract.check(exact, x, w, b, groups=groups, tf32=False)
        conv.fp32_precision = "tf32"
        rounded = phaseconv.conv_transpose2d(x, w, b, groups=groups)
        contract.check(rounded, x, w, b, groups=groups, tf32=groups == 1)
        assert torch.equal(exact, rounded) == (groups > 1)
    finally:
        conv.fp32_precision = before


@pytest.mark.cuda
def test_tf32_follows_the_old_switch():
    x, w, b = data(2, "cuda", channels=(32, 16))
    results = {}
    for allowed in (True, False):
        with torch.backends.cudnn.flags(allow_tf32=allowed):
            torch.backends.cudnn.allow_tf32 = allowed
            results[allowed] = phaseconv.conv_transpose2d(x, w, b)
            contract.check(results[allowed], x, w, b, tf32=allowed)
    assert not torch.equal(results[True], results[False])


def test_float32_on_the_cpu_ignores_tf32():
    x, w, b = data(2, "cpu", channels=(32, 16))
    contract.check(phaseconv.conv_transpose2d(x, w, b), x, w, b)


def test_results_do_not_depend_on_threads():
    x, w, b = data(3, "cpu", channels=(24, 16), size=9)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(phaseconv.conv_transpose3d(x, w.clone(), b, 2, 1))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def test_large_outputs_are_whole():
    """From 32 MiB on their memory is asked to be of huge pages, but for what is beside it."""
    for size in (2048, 2049):  # a whole number of pages, and not
        x, w = torch.randn(1, 1, size, size), torch.randn(1, 1, 1, 2)
        ours = phaseconv.conv_transpose2d(x, w, stride=(1, 2))
        assert ours.numel() * ours.element_size() >= 2**25
        assert torch.equal(ours, F.conv_transpose2d(x, w, stride=(1, 2)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64], ids=str)
def test_other_types_are_pytorchs(dtype, device, spy):
    x, w, b = data(2, device, dtype)
    # Two calls of PyTorch's may differ in their last bits on a GPU.
    torch.testing.assert_close(phaseconv.conv_transpose2d(x, w, b), F.conv_transpose2d(x, w, b))
    assert (spy.ours, spy.theirs) == (0, 1)


def test_other_devices_and_layouts_are_pytorchs(spy):
    x, w, b = data(2, "meta")
    assert phaseconv.conv_transpose2d(x, w, b).is_meta
    x, w, b = data(2, "cpu")
    assert phaseconv.conv_transpose2d(x.to_mkldnn(), w, b).is_mkldnn
    assert spy.theirs == 2


def test_negated_views(device, spy):
    x, w, b = data(2, device)
    f = phaseconv.conv_transpose2d
    zx, zw, zb = (torch.complex(t, t) for t in (x, w, b))
    expected = f(x, w, b)
    assert torch.equal(f(zx.imag, zw.imag, zb.imag), expected)
    for nx, nw, nb in ((-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)):
        # A negated view differs from the plain one by a flag alone.
        tensors = [(z.conj() if sign < 0 else z).imag for z, sign in ((zx, nx), (zw, nw), (zb, nb))]
        assert torch.equal(f(*tensors), f(nx * x, nw * w, nb * b))
    assert spy.theirs == 0


def test_gradients_are_pytorchs(device, spy):
    x, w, b = data(2, device)
    w.requires_grad_()
    with torch.enable_grad():
        phaseconv.conv_transpose2d(x, w, b).sum().backward()
    assert w.grad is not None
    assert (spy.ours, spy.theirs) == (0, 1)
    phaseconv.conv_transpose2d(x, w, b)
    assert spy.ours == 1


def test_transforms_are_pytorchs(device, spy):
    x, w, b = data(2, device)
    f = phaseconv.conv_transpose2d
    with torch.enable_grad():
        grad = torch.func.grad(lambda w: f(x, w, b).sum())(w)
        _, tangent = torch.func.jvp(lambda x: f(x, w, b), (x,), (x,))
        batched = torch.vmap(f, in_dims=(0, None, None))(x[:, None], w, b)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, x)
            assert torch.autograd.forward_ad.unpack_dual(f(dual, w, b)).tangent is not None
    assert grad.shape == w.shape
    assert tangent.shape == batched[:, 0].shape
    assert spy.ours == 0


def test_what_the_library_refuses_is_pytorchs(device, spy, monkeypatch):
    def refuse(problem, device):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(phaseconv.execution, "prepare", refuse)
    x, w, b = data(2, device, size=11)
    with pytest.warns(UserWarning, match="leaves n2,ic6.* to PyTorch: no such instruction"):
        output = phaseconv.conv_transpose2d(x, w, b)
    assert torch.equal(output, F.conv_transpose2d(x, w, b))
    assert (spy.ours, spy.theirs) == (0, 1)
    phaseconv.execution._calls.clear()


class Tagged(torch.Tensor):
    pass


def test_subclasses_are_pytorchs(device, spy):
    x, w, b = data(2, device)
    assert type(phaseconv.conv_transpose2d(x.as_subclass(Tagged), w, b)) is Tagged
    assert spy.ours == 0


X, W = torch.randn(1, 4, 5, 5), torch.randn(4, 2, 3, 3)
WRONG = [
    ((None, W), {}),
    (([1.0], W), {}),
    ((X, None), {}),
    ((X, W, "bias"), {}),
    ((X, W, torch.randn(3)), {}),
    ((X, W, torch.randn(2, 1)), {}),
    ((X, W, torch.randn(2).half()), {}),
    ((X[0, 0], W), {}),
    ((X, W[0]), {}),
    ((X[:, :3], W), {}),
    ((X.half(), W), {}),
    ((X, W.double()), {}),
    ((X.int(), W.int()), {}),
    ((X.to("meta"), W), {}),
    ((X[:, :, :0], W), {}),
    ((X[:, :0], W[:0]), {}),
    ((X, W[:, :0]), {}),
    ((X, W[:, :, :0]), {}),
    *[
        ((X, W), {name: value})
        for name in ("stride", "padding", "output_padding", "dilation")
        for value in (
            -1, 0, 9, 2**31, True, 1.0, "same", (), (1, 2, 3), (1, -1), (2,), [2], (1, 1.5),
            (True, 1), None, numpy.int64(2), numpy.float32(1), torch.Size((2, 1)), torch.tensor(1),
        )
    ],
    *[((X, W), {"groups": value}) for value in (0, -1, 3, 8, 2, True, 1.0, None, numpy.int64(2))],
]  # fmt: skip


@pytest.mark.parametrize("args, kwargs", WRONG)
def test_raises_what_pytorch_raises(args, kwargs):
    try:
        expected = F.conv_transpose2d(*args, **kwargs)
    except Exception as error:
        with pytest.raises(type(error)) as raised:
            phaseconv.conv_transpose2d(*args, **kwargs)
        assert type(raised.value) is type(error)
    else:
        output = phaseconv.conv_transpose2d(*args, **kwargs)
        assert output.shape == expected.shape
        assert output.dtype == expected.dtype


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        (([1.0], W), {}, "input is list; it must be a Tensor"),
        ((X, W, "bias"), {}, "bias is str; it must be a Tensor or None"),
        ((X, W), {"stride": 0}, "stride is 0; it must be a whole number of at least 1, or 2 of"),
        ((X, W), {"padding": (1, -1)}, r"padding is \(1, -1\); .* at least 0, or 2 of them"),
        ((X, W), {"padding": 9}, "padding 9 on axis h leaves no output"),
        ((X, W), {"output_padding": 1}, "output padding 1 on axis h must be smaller than"),
        ((X, W), {"groups": 3}, r"input channels \(4\) must be divisible by groups \(3\)"),
        ((X, W), {"groups": 0}, "groups is 0; it must be a whole number of at least 1"),
        ((X[:, :3], W), {}, "input has 3 channels, weight is for 4"),
        ((X[0, 0], W), {}, "input has 2 dimensions; it must have 4, or 3 without a batch"),
        ((X, W[0]), {}, "weight has 3 dimensions; it must have 4"),
        ((X.half(), W), {}, "weight is torch.float32; it must be torch.float16, as input is"),
        ((X, W, torch.randn(3)), {}, r"bias has shape \(3,\); it must be \(2,\)"),
    ],
)
def test_messages(args, kwargs, message):
    with pytest.raises((RuntimeError, TypeError), match="conv_transpose2d: .*" + message) as raised:
        phaseconv.conv_transpose2d(*args, **kwargs)
    assert raised.value.__cause__ is not None


def test_no_memory_for_the_output():
    x, weight = torch.randn(1, 1, 3, 3), torch.randn(1, 1, 2, 2)
    with torch.no_grad(), pytest.raises(RuntimeError, match="allocate"):
        phaseconv.conv_transpose2d(x, weight, None, 2**20)
