# pip install, then one converted layer: cmake -DPYTHON= -DSOURCE= -DWORK= -DCOMPILER=
# -P pip_install.cmake
file(REMOVE_RECURSE ${WORK})
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Without isolation and dependencies: what it needs is installed, and pinned, already. Compiler and
# options are those of the presets, whose objects ccache may have.
set(ENV{CXX} ${COMPILER})
run(${PYTHON} -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps
    --target ${WORK}/site --config-settings=build-dir=${WORK}/build
    --config-settings=cmake.define.PHASECONV_WARNINGS_AS_ERRORS=ON ${SOURCE})
set(ENV{PYTHONPATH} ${WORK}/site)
run(${PYTHON} -c [==[
import phaseconv, torch
model = torch.nn.Sequential(torch.nn.ConvTranspose3d(4, 2, 3, stride=2))
print(phaseconv.__version__, phaseconv.__file__)
print(phaseconv.convert(model))
x = torch.randn(1, 4, 5, 5, 5)
with torch.no_grad():
    expected = torch.nn.functional.conv_transpose3d(x, model[0].weight, model[0].bias, stride=2)
    torch.testing.assert_close(model(x), expected)
]==])
