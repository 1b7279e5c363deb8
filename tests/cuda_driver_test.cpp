// The CUDA backend around its kernels: with a GPU what launching, memory and timing promise,
// without one that every way in says why.
#include "cuda/driver.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "backend.h"
#include "cuda/compile.h"
#include "cuda/launch.h"
#include "phaseconv/convolution.h"

namespace phaseconv::cuda {
namespace {

template <class Kind = Unsupported, class Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const Kind& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CudaTarget, OfComputeCapabilities) {
  EXPECT_EQ(target(8, 0), "sm_80");
  EXPECT_EQ(target(8, 9), "sm_89");
  EXPECT_EQ(target(9, 0), "sm_90a");
  EXPECT_EQ(target(10, 0), "sm_100");
  EXPECT_EQ(target(12, 0), "sm_120");
  EXPECT_EQ(message_of([] { target(7, 5); }),
            "the GPU has compute capability 7.5; 8.0 (Ampere) or newer is needed");
}

TEST(CudaTypicalMachine, DescribesEveryArchitecture) {
  for (const char* arch : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100", "sm_103", "sm_120"}) {
    const Machine machine = typical_machine(arch);
    EXPECT_EQ(machine.target, arch);
    EXPECT_GE(machine.units, 16) << arch;
    EXPECT_GE(machine.copy_bytes_per_second, 1e11) << arch;
    EXPECT_GE(machine.fma_flops_per_second, 1e12) << arch;
  }
  EXPECT_EQ(typical_machine("sm_103").name, typical_machine("sm_100").name);
  EXPECT_EQ(message_of([] { typical_machine("sm_75"); }),
            "architecture sm_75 is too old; sm_80 (Ampere) or newer is needed");
  EXPECT_THROW(typical_machine("hopper"), Invalid);
}

TEST(CudaDoctor, FindsOrSaysWhyNot) {
  Options options = Options::from_environment();
  options.cache_folder.clear();
  const auto findings = diagnose(options);
  ASSERT_GE(findings.size(), 3u);
  EXPECT_EQ(findings.front().what, "NVIDIA driver");
  EXPECT_EQ(findings[findings.size() - 2].what, "NVRTC");
  EXPECT_EQ(findings.back().what, "kernel cache");
  EXPECT_EQ(findings.back().detail, "off: no cache folder is set");
  for (const Finding& finding : findings) EXPECT_FALSE(finding.detail.empty()) << finding.what;
}

/// Without a driver, or with one that has no GPU to offer.
class CudaWithoutGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Driver::find(reason) != nullptr) GTEST_SKIP() << "this machine has a GPU";
  }
  std::string reason;
};

TEST_F(CudaWithoutGpu, EveryWayInSaysWhy) {
  EXPECT_FALSE(reason.empty());
  const Options options;
  std::string count_reason;
  EXPECT_EQ(cuda_backend().device_count(options, count_reason), 0);
  EXPECT_EQ(count_reason, "cuda: " + reason);
  for (const std::string& message : {
           message_of([] { Driver::get(); }),
           message_of([] { Context::of(0); }),
           message_of([&] { prepare(parse("ic1,oc1,i1,k1"), Device::cuda(), options); }),
           message_of([&] { cuda_backend().machine(Device::cuda(), options); }),
           message_of([&] { cuda_backend().ceilings(Device::cuda(), DataType::f32, options); }),
           message_of([] { cuda_backend().allocate(Device::cuda(), 1); }),
           message_of([] {
             cuda_backend().time(
                 Device::cuda(), [] {}, 1);
           }),
       }) {
    EXPECT_TRUE(contains(message, reason)) << message;
  }
  EXPECT_EQ(Device::best(options), Device::cpu());
}

TEST_F(CudaWithoutGpu, NoDriverIsNamedAsSuch) {
  if (!contains(reason, "not found")) GTEST_SKIP() << "a driver is installed: " << reason;
  EXPECT_EQ(reason, "libcuda.so.1 not found: no NVIDIA driver is installed");
}

class CudaWithGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (cuda_backend().device_count(options, reason) == 0 ||
        !cuda_backend().usable(0, options, reason)) {
      GTEST_SKIP() << reason;
    }
  }
  Options options = Options::from_environment();
  const Device device = Device::cuda();
  const Backend& backend = cuda_backend();
};

TEST_F(CudaWithGpu, DescribesTheDevice) {
  const Machine machine = backend.machine(device, options);
  EXPECT_FALSE(machine.name.empty());
  EXPECT_TRUE(machine.target.starts_with("sm_"));
  EXPECT_GT(machine.units, 0);
  EXPECT_EQ(machine.vector_lanes, 32);
  EXPECT_GE(machine.registers, 65536);
  EXPECT_GT(machine.copy_bytes_per_second, 1e11);
  EXPECT_GT(machine.fma_flops_per_second, 1e12);
}

TEST_F(CudaWithGpu, DeviceOutOfRange) {
  const int count = Driver::get().device_count();
  for (const int ordinal : {-1, count}) {
    const std::string message =
        message_of([&] { backend.machine(Device::cuda(ordinal), options); });
    EXPECT_TRUE(contains(message, "device cuda:" + std::to_string(ordinal) + " does not exist"));
    EXPECT_TRUE(contains(message, std::to_string(count) + " GPU")) << message;
  }
}

TEST_F(CudaWithGpu, MemoryComesBackAsItWent) {
  constexpr std::size_t kBytes = 12345;
  const auto memory = backend.allocate(device, kBytes);
  std::vector<std::uint8_t> bytes(kBytes);
  for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
  std::vector<std::uint8_t> back(kBytes);
  backend.copy_to_device(device, memory.get(), bytes.data(), kBytes);
  backend.copy_to_host(device, back.data(), memory.get(), kBytes);
  EXPECT_EQ(back, bytes);
  backend.fill(device, memory.get(), 0xab, kBytes);
  backend.copy_to_host(device, back.data(), memory.get(), kBytes);
  EXPECT_EQ(back, std::vector<std::uint8_t>(kBytes, 0xab));
  EXPECT_NE(backend.allocate(device, 0), nullptr);
}

TEST_F(CudaWithGpu, OutOfMemorySaysHowMuch) {
  const std::size_t bytes = std::size_t{1} << 50;
  const std::string message = message_of([&] { backend.allocate(device, bytes); });
  for (const std::string& part :
       {std::to_string(bytes), std::string("CUDA_ERROR_OUT_OF_MEMORY"), std::string("are free")}) {
    EXPECT_TRUE(contains(message, part)) << message;
  }
}

TEST_F(CudaWithGpu, LaunchesWithLargeSharedMemory) {
  constexpr const char* kSource = R"(
extern "C" __global__ void reverse(const void* input, void* output) {
  extern __shared__ float values[];
  values[threadIdx.x * 100] = static_cast<const float*>(input)[threadIdx.x];
  __syncthreads();
  static_cast<float*>(output)[threadIdx.x] = values[(blockDim.x - 1 - threadIdx.x) * 100];
})";
  constexpr unsigned kThreads = 128;
  const Context& context = Context::of(0);
  const auto compiled = cubin(kSource, context.target(), options);
  const Module module(context, *compiled);
  LaunchShape shape{
      .kernel = "reverse", .threads = kThreads, .shared_memory_bytes = kThreads * 400};
  const Kernel kernel(module, shape);
  std::vector<float> values(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) values[i] = static_cast<float>(i);
  const std::size_t bytes = kThreads * sizeof(float);
  const auto input = backend.allocate(device, bytes);
  const auto output = backend.allocate(device, bytes);
  backend.copy_to_device(device, input.get(), values.data(), bytes);
  kernel.launch(nullptr, {input.get(), output.get()});
  std::vector<float> result(kThreads);
  backend.copy_to_host(device, result.data(), output.get(), bytes);
  for (unsigned i = 0; i < kThreads; ++i) EXPECT_EQ(result[i], values[kThreads - 1 - i]);

  shape.shared_memory_bytes = 100u << 20;
  const std::string many = message_of([&] { Kernel(module, shape); });
  EXPECT_TRUE(contains(many, "bytes of shared memory a block")) << many;
  EXPECT_TRUE(contains(message_of([&] { module.function("absent"); }), "finding kernel absent"));
  EXPECT_TRUE(contains(message_of([&] { Module(context, std::string(1000, 'x')); }),
                       "loading the compiled kernels failed"));
}

TEST_F(CudaWithGpu, LeavesTheCallersContextAlone) {
  const Driver& driver = Driver::get();
  CUcontext before = nullptr;
  CUcontext after = nullptr;
  ASSERT_EQ(driver.cuCtxGetCurrent(&before), CUresult::success);
  backend.allocate(device, 1);
  Context::of(0).synchronize();
  ASSERT_EQ(driver.cuCtxGetCurrent(&after), CUresult::success);
  EXPECT_EQ(before, after);
}

TEST_F(CudaWithGpu, TimesEveryRun) {
  constexpr std::size_t kBytes = std::size_t{1} << 26;
  const auto memory = backend.allocate(device, kBytes);
  int calls = 0;
  const auto milliseconds = backend.time(
      device,
      [&] {
        ++calls;
        backend.fill(device, memory.get(), 0, kBytes);
      },
      7);
  EXPECT_EQ(milliseconds.size(), 7u);
  EXPECT_GE(calls, 8) << "no warm-up";
  for (const double one : milliseconds) EXPECT_GT(one, 0);
}

TEST_F(CudaWithGpu, MeasuresCeilings) {
  const Ceilings ceilings = backend.ceilings(device, DataType::f32, options);
  EXPECT_GT(ceilings.copy_bytes_per_second, 1e11);
  EXPECT_GT(ceilings.flops_per_second, 1e12);
  EXPECT_TRUE(contains(ceilings.method, "copies")) << ceilings.method;
}

}  // namespace
}  // namespace phaseconv::cuda
