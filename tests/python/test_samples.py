"""Every sample that PyTorch ships for these operators and modules, in all types."""

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db

import contract
import phaseconv

OURS = {
    f"conv_transpose{rank}d": getattr(phaseconv, f"conv_transpose{rank}d") for rank in (1, 2, 3)
}
OPS = [op for op in op_db if op.name.split(".")[-1] in OURS]
MODULES = [info for info in module_db if "ConvTranspose" in info.name and "Lazy" not in info.name]
ranks = pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
types = pytest.mark.parametrize("dtype", contract.TYPES, ids=str)


def samples(op, device, dtype):
    found = list(op.sample_inputs(device, dtype))
    assert len(found) >= 10
    return found


def test_all_are_there():
    assert len(OPS) == 3
    assert len(MODULES) == 3


@ranks
@types
def test_op_samples(op, dtype, device, no_grad, spy):
    function = OURS[op.name.split(".")[-1]]
    found = samples(op, device, dtype)
    for sample in found:
        arguments = dict(zip(("weight", "bias"), sample.args, strict=False)) | sample.kwargs
        output = function(sample.input, **arguments)
        theirs = op.op(sample.input, **arguments)
        assert output.dtype == theirs.dtype
        assert output.stride() == theirs.stride()
        contract.check(output, sample.input, **arguments)
    assert spy.ours == len(found)
    assert spy.theirs == 0


@ranks
@types
def test_opcheck(op, dtype, device, no_grad):
    rank = int(op.name[-2])
    for sample in samples(op, device, dtype):
        names = ("weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
        arguments = dict(zip(names, (None, None, 1, 0, 0, 1, 1), strict=True))
        arguments |= dict(zip(names, sample.args, strict=False)) | sample.kwargs
        for name in ("stride", "padding", "output_padding", "dilation"):
            arguments[name] = phaseconv.problem.sizes(arguments[name], rank)
        torch.library.opcheck(
            torch.ops.phaseconv.conv_transpose.default, (sample.input, *arguments.values())
        )


@pytest.mark.parametrize("info", MODULES, ids=lambda info: info.name)
@types
@pytest.mark.parametrize("training", [False, True])
def test_module_inputs(info, dtype, training, device, no_grad, spy):
    kind = getattr(phaseconv.nn, info.module_cls.__name__)
    count = 0
    for module_input in info.module_inputs_func(
        info, device=device, dtype=dtype, requires_grad=False, training=training
    ):
        args, kwargs = module_input.constructor_input.args, module_input.constructor_input.kwargs
        torch.manual_seed(1)
        theirs = info.module_cls(*args, **kwargs, device=device, dtype=dtype)
        state = torch.get_rng_state()
        torch.manual_seed(1)
        module = kind(*args, **kwargs, device=device, dtype=dtype)
        assert torch.equal(torch.get_rng_state(), state)
        assert list(module.state_dict()) == list(theirs.state_dict())
        for ours, other in zip(module.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(ours, other)
        forward = module_input.forward_input
        output = module(*forward.args, **forward.kwargs)
        expected = theirs(*forward.args, **forward.kwargs)
        assert output.shape == expected.shape
        assert output.stride() == expected.stride()
        output_padding = module.output_padding
        contract.check(
            output,
            forward.args[0],
            module.weight,
            module.bias,
            module.stride,
            module.padding,
            output_padding,
            module.groups,
            module.dilation,
        )
        count += 1
    assert count > 0
    assert spy.ours == count
