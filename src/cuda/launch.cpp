#include "cuda/launch.h"

#include <algorithm>
#include <array>
#include <utility>

namespace phaseconv::cuda {
namespace {

constexpr unsigned kSharedMemoryUnasked = 48 * 1024;  // more must be asked for, kernel by kernel
constexpr std::size_t kMostParameters = 8;

std::string describe(const LaunchShape& shape) {
  return "kernel " + shape.kernel + " of " + std::to_string(shape.blocks) + " blocks of " +
         std::to_string(shape.threads) + " threads";
}

}  // namespace

Module::Module(const Context& context, const std::string& cubin) : context_(context) {
  const Driver& driver = context_.driver();
  const CurrentContext current(context_);
  const RelaxedCapture relaxed(driver);
  driver.check(driver.cuModuleLoadData(&module_, cubin.data()), "loading the compiled kernels");
}

Module::~Module() {
  try {
    const CurrentContext current(context_);
    const RelaxedCapture relaxed(context_.driver());
    context_.driver().cuModuleUnload(module_);
  } catch (const Unsupported&) {  // the driver is shutting down: nothing left to unload
  }
}

CUfunction Module::function(const std::string& name) const {
  const Driver& driver = context_.driver();
  const CurrentContext current(context_);
  const RelaxedCapture relaxed(driver);
  CUfunction found = nullptr;
  driver.check(driver.cuModuleGetFunction(&found, module_, name.c_str()),
               "finding kernel " + name + " in its module");
  // Drivers load lazily. The first launch may be inside a graph's capture, where loading may not
  // be.
  if (driver.cuFuncLoad != nullptr) driver.check(driver.cuFuncLoad(found), "loading " + name);
  return found;
}

Kernel::Kernel(const Module& module, LaunchShape shape)
    : context_(module.context()),
      shape_(std::move(shape)),
      function_(module.function(shape_.kernel)) {
  if (shape_.resident > 0) {
    const int units = context_.attribute(CUdeviceAttribute::multiprocessor_count);
    shape_.blocks = std::min(shape_.blocks, shape_.resident * static_cast<unsigned>(units));
  }
  if (context_.driver().cuLaunchKernelEx == nullptr ||
      context_.attribute(CUdeviceAttribute::compute_capability_major) < 9) {
    shape_.early = false;
  }
  if (shape_.shared_memory_bytes <= kSharedMemoryUnasked) return;
  const int most = context_.attribute(CUdeviceAttribute::max_shared_memory_per_block_optin);
  const int bytes = static_cast<int>(shape_.shared_memory_bytes);
  if (bytes > most) {
    throw Unsupported(describe(shape_) + " needs " + std::to_string(bytes) +
                      " bytes of shared memory a block; " + context_.name() + " has " +
                      std::to_string(most));
  }
  const CurrentContext current(context_);
  context_.driver().check(context_.driver().cuFuncSetAttribute(
                              function_, CUfunctionAttribute::max_dynamic_shared_size_bytes, bytes),
                          "asking for " + std::to_string(bytes) + " bytes of shared memory");
}

void Kernel::launch(Stream stream, std::initializer_list<const void*> parameters) const {
  if (parameters.size() > kMostParameters) throw Invalid("a kernel has too many parameters");
  std::array<void*, kMostParameters> pointers{};
  std::size_t count = 0;
  for (const void* const& parameter : parameters) {
    pointers[count++] = const_cast<void*>(static_cast<const void*>(&parameter));
  }
  const Driver& driver = context_.driver();
  const CurrentContext current(context_);
  const auto own_stream = static_cast<CUstream>(stream);
  CUresult result;
  if (shape_.early) {
    const CUlaunchAttribute early = {.id = CUlaunchAttribute::Id::programmatic_stream_serialization,
                                     .value = {1}};
    const CUlaunchConfig config = {
        shape_.blocks, 1,      1, shape_.threads, 1, 1, shape_.shared_memory_bytes,
        own_stream,    &early, 1};
    result = driver.cuLaunchKernelEx(&config, function_, pointers.data(), nullptr);
  } else {
    result =
        driver.cuLaunchKernel(function_, shape_.blocks, 1, 1, shape_.threads, 1, 1,
                              shape_.shared_memory_bytes, own_stream, pointers.data(), nullptr);
  }
  if (result != CUresult::success) driver.fail(result, "launching " + describe(shape_));
}

}  // namespace phaseconv::cuda
