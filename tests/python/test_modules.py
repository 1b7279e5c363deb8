"""Modules, packed weights and `convert`."""

import copy
import gc
import io
import threading

import pytest
import torch

import contract
import phaseconv
from phaseconv import packing

ranks = pytest.mark.parametrize("rank", [1, 2, 3])


def pair(rank, device="cpu", **kwargs):
    """The same module from torch.nn and from phaseconv.nn, and an input."""
    name = f"ConvTranspose{rank}d"
    kwargs = {"stride": 2, "padding": 1} | kwargs
    torch.manual_seed(3)
    theirs = getattr(torch.nn, name)(6, 4, 3, **kwargs).to(device)
    torch.manual_seed(3)
    ours = getattr(phaseconv.nn, name)(6, 4, 3, **kwargs).to(device)
    return ours, theirs, torch.randn(2, 6, *[5] * rank, device=device)


def check(module, x, output_size=None, output_padding=None):
    contract.check(
        module(x, output_size), x, module.weight, module.bias, module.stride, module.padding,
        module.output_padding if output_padding is None else output_padding, module.groups,
        module.dilation,
    )  # fmt: skip


def packed_of(weight):
    source = packing._sources.get(weight.untyped_storage()._cdata)
    return [] if source is None else list(source.derived.values())


@pytest.fixture
def packs(monkeypatch):
    """How often weights were packed."""
    calls = []
    fill = packing.Packing.fill
    monkeypatch.setattr(packing.Packing, "fill", lambda *args: (calls.append(args), fill(*args))[1])
    return calls


@ranks
def test_module(rank, device, no_grad, spy):
    ours, theirs, x = pair(rank, device)
    assert isinstance(ours, getattr(torch.nn, f"ConvTranspose{rank}d"))
    check(ours, x)
    for size in (9, 10):
        output_size = [size] * rank
        assert ours(x, output_size=output_size).shape == theirs(x, output_size).shape
        check(ours, x, [2, 4, *output_size], output_padding=size - 9)
        # A batch of one is the same problem, with the same plan; others may add in another order.
        assert torch.equal(ours(x[0], output_size), ours(x[:1], [1, 4, *output_size])[0])
    for wrong in ([8] * rank, [9] * (rank + 1)):
        with pytest.raises(ValueError):
            theirs(x, wrong)
        with pytest.raises(ValueError):
            ours(x, wrong)
    assert repr(ours) == repr(theirs)
    assert spy.theirs == 0


@ranks
def test_padding_mode(rank):
    ours, theirs, x = pair(rank)
    kind = type(ours)
    with pytest.raises(ValueError):
        kind(6, 4, 3, padding_mode="circular")
    ours.padding_mode = theirs.padding_mode = "reflect"
    for module in (ours, theirs):
        with pytest.raises(ValueError):
            module(x)


def test_weights_are_packed_once(device, no_grad, packs):
    module, _, x = pair(2, device)
    for _ in range(3):
        module(x)
        phaseconv.conv_transpose2d(x, module.weight, module.bias, 2, 1)
        phaseconv.conv_transpose2d(x, module.weight.detach(), module.bias, 2, 1)
    assert len(packs) == 1


CHANGES = {
    "in place": lambda m: m.weight.mul_(2),
    "through a view": lambda m: m.weight[1:, :, 1].zero_(),
    "data": lambda m: setattr(m.weight, "data", m.weight.data * 2),
    "data twice": lambda m: [setattr(m.weight, "data", m.weight.data * 2) for _ in range(9)],
    "in the data, and told": lambda m: [
        m.weight.data.mul_(2),
        torch.autograd.graph.increment_version(m.weight),
    ],
    "parameter": lambda m: setattr(m, "weight", torch.nn.Parameter(m.weight * 2)),
    "state_dict": lambda m: m.load_state_dict(type(m)(6, 4, 3).state_dict()),
    "assigned": lambda m: m.load_state_dict(
        type(m)(6, 4, 3).to(m.weight).state_dict(), assign=True
    ),
    "to and back": lambda m: m.half().float(),
    "to": lambda m: m.bfloat16(),
    "memory format": lambda m: m.to(memory_format=torch.channels_last),
    "optimizer": lambda m: torch.optim.SGD([m.weight], 1.0, weight_decay=0.5).step(
        lambda: setattr(m.weight, "grad", torch.ones_like(m.weight))
    ),
    "init": lambda m: torch.nn.init.normal_(m.weight),
    "bias": lambda m: m.bias.fill_(7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(change, device, no_grad):
    module, _, x = pair(2, device)
    before = module(x)
    CHANGES[change](module)
    x = x.to(module.weight.dtype)
    check(module, x)
    check(module, x)
    if change not in ("to and back", "to", "memory format"):
        assert not torch.equal(module(x), before)


def test_new_aliases_begin_to_count_anew(device, no_grad):
    module, _, x = pair(2, device)
    for _ in range(3):
        reference = torch.nn.functional.conv_transpose2d(x, module.weight.data, None, 2)
        output = phaseconv.conv_transpose2d(x, module.weight.data, None, 2)
        torch.testing.assert_close(output, reference)
        module.weight.add_(1)


def test_weights_of_one_buffer(device, no_grad, packs):
    count = packing.MOST_PER_WEIGHT + 3
    buffer = torch.randn(count, 2, 3, 4, device=device)
    x = torch.randn(1, 2, 5, device=device)
    for _ in range(2):
        for weight in buffer:
            phaseconv.conv_transpose1d(x, weight)
    assert len(packs) == count


def test_inference_mode(device, packs):
    module, _, x = pair(2, device)
    with torch.inference_mode():
        check(module, x)
        check(module, x)
        assert len(packs) == 1, "a parameter from outside counts its versions"
        made_inside, _, x = pair(2, device)
        check(made_inside, x)
        made_inside.weight.mul_(3)
        check(made_inside, x)


def test_memory_goes_with_the_weight(device, no_grad):
    gc.collect()
    before = len(packing._sources)
    module, _, x = pair(2, device)
    module(x)
    assert len(packing._sources) == before + 1
    alias = module.weight.detach()
    del module
    assert len(packing._sources) == before + 1, "the alias still reads it"
    phaseconv.conv_transpose2d(x, alias)
    del alias
    another, _, x = pair(2, device)
    another(x)
    assert len(packing._sources) == before + 1
    del another
    assert len(packing._sources) == before


def test_memory_goes_with_the_last_of_many_names(device, no_grad):
    gc.collect()
    before = len(packing._sources)
    x, weight = torch.randn(2, 6, 5, 5, device=device), torch.randn(6, 36, device=device)
    phaseconv.conv_transpose2d(x, weight.view(6, 4, 3, 3))
    phaseconv.conv_transpose2d(x, weight.detach().view(6, 4, 3, 3))
    assert len(packing._sources) == before + 1
    del weight
    assert len(packing._sources) == before


def test_many_shapes_keep_few_copies(device, no_grad):
    module, _, _ = pair(1, device)
    for length in range(5, 30):
        check(module, torch.randn(1, 6, length, device=device))
    assert len(packed_of(module.weight)) <= packing.MOST_PER_WEIGHT


def test_bias_of_other_strides_is_gathered_once(device, no_grad):
    x, w = torch.randn(1, 6, 5, device=device), torch.randn(6, 4, 3, device=device)
    b = torch.randn(4, 2, device=device)[:, 0]
    for _ in range(2):
        contract.check(phaseconv.conv_transpose1d(x, w, b), x, w, b)
    b.mul_(2)
    contract.check(phaseconv.conv_transpose1d(x, w, b), x, w, b)
    assert len(packed_of(b)) == 1


def test_views_at_one_address_are_told_apart(device, no_grad):
    x, w = torch.randn(1, 4, 5, device=device), torch.randn(4, 4, 4, device=device)
    for weight in (w, w.transpose(1, 2), w.transpose(0, 1), w[:, :2], w[:, :, :2], w[:, ::2]):
        contract.check(phaseconv.conv_transpose1d(x, weight), x, weight)


def test_threads(device, no_grad):
    module, _, x = pair(2, device)
    expected = module(x)
    wrong = []

    def work():
        with torch.no_grad():
            for _ in range(50):
                fresh = copy.deepcopy(module)
                if not torch.equal(fresh(x), expected) or not torch.equal(module(x), expected):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_copies_and_files(no_grad):
    module, _, x = pair(2)
    expected = module(x)
    assert torch.equal(copy.deepcopy(module)(x), expected)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), expected)
    assert list(module.state_dict()) == ["weight", "bias"]


class Subclass(torch.nn.ConvTranspose2d):
    pass


def test_convert():
    nn = torch.nn
    parametrized = nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(2, 2, 2))
    patched = nn.ConvTranspose1d(2, 2, 2)
    patched.forward = lambda x: x
    hooked = nn.ConvTranspose2d(6, 4, 3)
    hooked.register_forward_hook(lambda module, args, output: output + 1)
    model = nn.Sequential()
    model.one = nn.ConvTranspose1d(2, 2, 2)
    model.nested = nn.Sequential(nn.ConvTranspose2d(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    model.three = nn.ConvTranspose3d(2, 2, 2)
    model.again = model.three
    model.hooked = hooked
    model.parametrized = parametrized
    model.patched = patched
    model.subclass = Subclass(2, 2, 2)
    model.lazy = nn.LazyConvTranspose2d(2, 2)
    model.ours = phaseconv.nn.ConvTranspose2d(2, 2, 2)
    model.quantised = torch.ao.nn.quantized.dynamic.ConvTranspose2d(2, 2, 2)
    parameters = {name: id(p) for name, p in model.one.named_parameters()}
    report = phaseconv.convert(model)
    assert report.converted == ["one", "nested.0", "three", "hooked"]
    left = {one.name: one.reason for one in report.left}
    assert set(left) == {"parametrized", "patched", "subclass", "lazy", "ours", "quantised"}
    for name, word in {
        "parametrized": "remove_parametrizations",
        "patched": "replaced on the instance",
        "subclass": "subclass",
        "lazy": "run the model once",
        "ours": "already",
        "quantised": "quantised",
    }.items():
        assert word in left[name]
        assert name in str(report)
    assert "4 converted, 6 left" in str(report)
    assert "gradients" in str(report)
    assert {name: id(p) for name, p in model.one.named_parameters()} == parameters
    x = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        expected = phaseconv.conv_transpose2d(x, hooked.weight, hooked.bias) + 1
        assert torch.equal(model.hooked(x), expected)
        model.lazy(x)
    assert phaseconv.convert(model).converted == ["lazy"]


def test_convert_the_model_itself_and_old_weight_norm():
    module = torch.nn.ConvTranspose2d(6, 4, 3)
    assert phaseconv.convert(module).converted == [""]
    assert type(module) is phaseconv.nn.ConvTranspose2d
    with pytest.warns(FutureWarning):
        module = torch.nn.utils.weight_norm(torch.nn.ConvTranspose2d(6, 4, 3))
    assert "remove_weight_norm" in phaseconv.convert(module).left[0].reason
    torch.nn.utils.remove_weight_norm(module)
    assert phaseconv.convert(module).converted == [""]
