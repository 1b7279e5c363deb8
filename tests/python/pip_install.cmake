# pip install, then one converted layer: cmake -DPYTHON= -DSOURCE= -DWORK= -P pip_install.cmake
file(REMOVE_RECURSE ${WORK})
function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# Without isolation and dependencies: what it needs is installed, and pinned, already.
run(${PYTHON} -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps
    --target ${WORK}/site --config-settings=build-dir=${WORK}/build ${SOURCE})
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
