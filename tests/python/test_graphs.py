"""torch.compile, torch.export, fake tensors, CUDA graphs, streams, several devices."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import contract
import phaseconv
from phaseconv import packing

pytestmark = pytest.mark.usefixtures("no_grad")
OP = torch.ops.phaseconv.conv_transpose.default
BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.cuda)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()


def model(device, kind=torch.nn.ConvTranspose2d):
    net = torch.nn.Sequential(kind(6, 4, 3, stride=2), torch.nn.ReLU(), kind(4, 6, 2)).to(device)
    phaseconv.convert(net)
    return net.eval()


def assert_packed_once(net):
    for layer in (net[0], net[2]):
        source = packing._sources[layer.weight.untyped_storage()._cdata]
        assert len(source.derived) == 1


def graph_of(net, *args, dynamic=False):
    """The compiled function, and the operators of its graphs."""
    found = []

    def backend(module, inputs):
        found.extend(node.target for node in module.graph.nodes if node.op == "call_function")
        return module

    torch.compile(net, fullgraph=True, dynamic=dynamic, backend=backend)(*args)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(backend, dynamic, device):
    net = model(device)
    x = torch.randn(2, 6, 5, 5, device=device)
    expected = net(x)
    compiled = torch.compile(net, fullgraph=True, backend=backend, dynamic=dynamic)
    for _ in range(2):
        assert torch.equal(compiled(x), expected)
    assert_packed_once(net)
    net[0].weight.mul_(2)  # no new compilation, but new packed weights
    assert torch.equal(compiled(x), net(x))
    other = torch.randn(3, 6, 7, 4, device=device)
    assert torch.equal(compiled(other), net(other))
    x = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(compiled(x), net(x))
    assert compiled(x).stride() == net(x).stride()


def test_compiled_graph_holds_our_operator(device):
    net = model(device)
    x = torch.randn(2, 6, 5, 5, device=device)
    assert graph_of(net, x).count(OP) == 2
    with torch.enable_grad():  # the weights require gradients
        torch.compiler.reset()
        assert OP not in graph_of(net, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_compile_under_autocast(dtype, device):
    net = model(device)
    x = torch.randn(2, 6, 5, 5, device=device)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    with torch.autocast(device, dtype=dtype):
        expected = net(x)
        assert torch.equal(compiled(x), expected)
    assert expected.dtype == dtype
    assert_packed_once(net)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_export(strict, autocast, device):
    class Autocast(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model(device)

        def forward(self, x):
            with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
                return self.net(x)

    net = Autocast()
    x = torch.randn(2, 6, 5, 5, device=device)
    batch = torch.export.Dim("batch", min=2, max=64)
    expected = net(x)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},), strict=strict)
    program = program.run_decompositions()
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(OP) == 2
    assert torch.equal(program.module()(x), expected)
    x = torch.randn(5, 6, 5, 5, device=device)
    assert program.module()(x).shape[0] == 5


def test_output_size_of_an_export_may_vary(device):
    class Like(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = phaseconv.nn.ConvTranspose1d(6, 4, 3, stride=4)

        def forward(self, x, like):
            return self.up(x, output_size=like.shape[2:])

    net = Like().to(device)
    x = torch.randn(1, 6, 5, device=device)
    compiled = torch.compile(net, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (19, 20, 21):
        like = torch.randn(1, 6, size, device=device)
        assert torch.equal(compiled(x, like), net(x, like))


def test_fake_tensors(device):
    net = model(device)
    x = torch.randn(2, 6, 5, 5, device=device)
    expected = net(x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = net(mode.from_tensor(x))
    assert (y.shape, y.stride(), y.device) == (expected.shape, expected.stride(), expected.device)


def test_flop_counter(device):
    net = model(device)
    x = torch.randn(2, 6, 5, 5, device=device)
    with FlopCounterMode(display=False) as ours:
        net(x)
    with FlopCounterMode(display=False) as theirs:
        x = torch.nn.ConvTranspose2d.forward(net[0], x)
        torch.nn.ConvTranspose2d.forward(net[2], x)
    assert ours.get_total_flops() == theirs.get_total_flops() > 0


def test_jit_trace_records_pytorchs_operator():
    net = model("cpu")
    x = torch.randn(2, 6, 5, 5)
    with pytest.warns(DeprecationWarning):
        traced = torch.jit.trace(net, (x,))
    assert "phaseconv::" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x), net(x))


# --- CUDA ---------------------------------------------------------------------------------------


def captured(function, warm_up=True):
    if warm_up:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            function()
        torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()
    return graph, output


@pytest.mark.cuda
@pytest.mark.parametrize("warm_up", [True, False])
def test_cuda_graph(warm_up):
    layer = phaseconv.nn.ConvTranspose2d(6, 4, 3, stride=2).cuda()
    x = torch.randn(2, 6, 5, 5, device="cuda")
    graph, output = captured(lambda: layer(x), warm_up)
    for _ in range(2):
        x.normal_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(output, layer(x))
    layer.weight.mul_(2)
    layer(x)  # packs again, into the memory that the graph reads
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(output, layer(x))
    contract.check(output, x, layer.weight, layer.bias, 2)


@pytest.mark.cuda
def test_cuda_graph_holds_only_the_kernel():
    layer = phaseconv.nn.ConvTranspose2d(6, 4, 3, stride=2).cuda()
    x = torch.randn(2, 6, 5, 5, device="cuda")
    graph, _ = captured(lambda: layer(x))
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        graph.replay()
        torch.cuda.synchronize()
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    assert len(kernels) == 1


@pytest.mark.cuda
def test_graphs_of_compiled_models():
    net = model("cuda")
    x = torch.randn(2, 6, 5, 5, device="cuda")
    compiled = torch.compile(net, fullgraph=True, mode="reduce-overhead")
    for _ in range(5):
        torch.compiler.cudagraph_mark_step_begin()
        x = torch.randn_like(x)
        torch.testing.assert_close(compiled(x).clone(), net(x))


@pytest.mark.cuda
def test_streams():
    layer = phaseconv.nn.ConvTranspose2d(64, 64, 3, stride=2).cuda()
    x = torch.randn(8, 64, 32, 32, device="cuda")
    expected = torch.nn.ConvTranspose2d.forward(layer, x)
    streams = [torch.cuda.Stream() for _ in range(4)]
    outputs = []
    for round in range(20):
        layer.weight.data = layer.weight.data.clone()  # to be packed again, on another stream
        current = torch.cuda.current_stream()
        for stream in streams[round % 4 :] + streams[: round % 4]:
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                x.record_stream(stream)
                layer.weight.record_stream(stream)
                outputs.append(layer(x))
        for stream in streams:
            current.wait_stream(stream)
    torch.cuda.synchronize()
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    torch.testing.assert_close(outputs[0], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.cuda
def test_nothing_waits_for_the_device():
    layer = phaseconv.nn.ConvTranspose2d(64, 64, 3, stride=2).cuda()
    x = torch.randn(8, 64, 32, 32, device="cuda")
    layer(x)
    torch.cuda.set_sync_debug_mode("error")
    try:
        before = torch.cuda.memory_stats()["allocation.all.allocated"]
        output = layer(x)
        assert torch.cuda.memory_stats()["allocation.all.allocated"] == before + 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert output.is_cuda


@pytest.mark.cuda
def test_several_devices():
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    for index in (1, 0, 1):
        layer = phaseconv.nn.ConvTranspose2d(6, 4, 3, stride=2).to(f"cuda:{index}")
        x = torch.randn(2, 6, 5, 5, device=f"cuda:{index}")
        contract.check(layer(x), x, layer.weight, layer.bias, 2)
