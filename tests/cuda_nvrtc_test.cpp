// NVRTC alone: a kernel that compiles, and every way in which it may not.
#include "cuda/nvrtc.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "phaseconv/convolution.h"

namespace phaseconv::cuda {
namespace {

constexpr const char* kKernel = R"(
extern "C" __global__ void __launch_bounds__(64) scale(const void* input, void* output) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  static_cast<float*>(output)[i] = 2.0f * static_cast<const float*>(input)[i];
}
)";

std::string message_of(const auto& work) {
  try {
    work();
  } catch (const Unsupported& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class CudaNvrtc : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      nvrtc.emplace(Options::from_environment());
    } catch (const Unsupported& error) {
      // Where CI says that it is CI, nothing may be left out unseen.
      ASSERT_EQ(std::getenv("CI"), nullptr) << error.what();
      GTEST_SKIP() << "needs NVRTC: " << error.what();
    }
  }
  std::optional<Nvrtc> nvrtc;
};

TEST_F(CudaNvrtc, KnowsItsVersionAndPath) {
  EXPECT_GE(std::stoi(nvrtc->version()), 12);
  EXPECT_TRUE(contains(nvrtc->version(), "."));
  EXPECT_TRUE(contains(nvrtc->path(), "libnvrtc"));
}

TEST_F(CudaNvrtc, TakesTheOneThatIsLoadedAlready) {
  Options nothing;
  nothing.nvrtc_libraries = {"/nowhere/libnvrtc.so"};
  EXPECT_EQ(Nvrtc(nothing).path(), nvrtc->path());
}

TEST_F(CudaNvrtc, MakesACubinAndAReport) {
  for (const char* arch : {"sm_80", "sm_90a"}) {
    const Nvrtc::Output made = nvrtc->compile(kKernel, "scale.cu", arch);
    EXPECT_TRUE(made.cubin.starts_with("\177ELF")) << arch;
    EXPECT_TRUE(contains(made.cubin, "scale")) << arch;
    const auto resources = read_resources(made.log);
    ASSERT_EQ(resources.size(), 1u) << made.log;
    EXPECT_EQ(resources[0].kernel, "scale");
    EXPECT_GT(resources[0].registers, 0) << made.log;
    EXPECT_EQ(resources[0].spill_bytes, 0) << made.log;
  }
}

TEST_F(CudaNvrtc, CountsSpills) {
  // 128 values live at once, of which a block of 1024 threads leaves room for 64.
  const std::string source = R"(
extern "C" __global__ void __launch_bounds__(1024) spill(const float* input, float* output) {
  float value[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) value[i] = input[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; ++i) output[i * 1024 + threadIdx.x] = value[i] * value[127 - i];
}
)";
  const auto resources = read_resources(nvrtc->compile(source, "spill.cu", "sm_80").log);
  ASSERT_EQ(resources.size(), 1u);
  EXPECT_GT(resources[0].spill_bytes, 0);
  EXPECT_LE(resources[0].registers, 64);
}

TEST_F(CudaNvrtc, FailureHoldsTheLog) {
  const std::string message = message_of([&] {
    nvrtc->compile("extern \"C\" __global__ void f() { no_such_name = 1; }", "bad.cu", "sm_80");
  });
  for (const char* part : {"could not compile bad.cu for sm_80", "NVRTC_ERROR_COMPILATION",
                           "bad.cu(1)", "\"no_such_name\" is undefined"}) {
    EXPECT_TRUE(contains(message, part)) << part << " is not in: " << message;
  }
}

TEST_F(CudaNvrtc, LongLogsAreCut) {
  std::string source;
  for (int i = 0; i < 90; ++i) source += "int f" + std::to_string(i) + "() { return missing; }\n";
  const std::string message = message_of([&] { nvrtc->compile(source, "bad.cu", "sm_80"); });
  EXPECT_TRUE(contains(message, "bad.cu(1)"));
  EXPECT_TRUE(message.ends_with("... (more left out)")) << message;
}

TEST_F(CudaNvrtc, UnknownArchitectures) {
  const std::string future = message_of([&] { nvrtc->require("sm_990"); });
  EXPECT_TRUE(contains(future, "does not know sm_990, only")) << future;
  EXPECT_TRUE(contains(future, "sm_90")) << future;
  EXPECT_TRUE(contains(future, "a newer NVRTC may")) << future;
  const std::string past = message_of([&] { nvrtc->compile(kKernel, "scale.cu", "sm_20"); });
  EXPECT_TRUE(contains(past, "does not know sm_20")) << past;
  EXPECT_FALSE(contains(past, "newer")) << past;
  EXPECT_THROW(nvrtc->require("compute_90"), Invalid);
}

TEST(CudaNvrtcSearch, SaysWhereItLooked) {
  const std::string message = message_of([] {
    Nvrtc({{"/nowhere/libnvrtc.so.13"}, {"libm.so.6"}, {"not loaded", true}});
  });
  for (const char* part : {"install the Python package nvidia-cuda-nvrtc", "PHASECONV_NVRTC",
                           "/nowhere/libnvrtc.so.13: cannot open shared object file"}) {
    EXPECT_TRUE(contains(message, part)) << part << " is not in: " << message;
  }
  EXPECT_TRUE(contains(message, "libm.so.6: is no NVRTC of version 12 or newer: it lacks"));
  EXPECT_FALSE(contains(message, "not loaded")) << message;
}

TEST(CudaNvrtcSearch, Order) {
  Options options;
  options.nvrtc_libraries = {"/one", "/two"};
  const auto list = Nvrtc::candidates(options);
  ASSERT_EQ(list.size(), 8u);
  EXPECT_TRUE(list[0].only_if_loaded && list[1].only_if_loaded);
  EXPECT_EQ(list[2].library, "/one");
  EXPECT_EQ(list[3].library, "/two");
  EXPECT_EQ(list[4].library, "libnvrtc.so.13");
  EXPECT_EQ(list[5].library, "libnvrtc.so.12");
  EXPECT_EQ(list[6].library, "/usr/local/cuda/lib64/libnvrtc.so.13");
  options.nvrtc_library = "/asked/for";
  EXPECT_EQ(Nvrtc::candidates(options)[0].library, "/asked/for");
}

TEST(CudaArchitectures, Numbers) {
  EXPECT_EQ(architecture_number("sm_80"), 80);
  EXPECT_EQ(architecture_number("sm_90a"), 90);
  EXPECT_EQ(architecture_number("sm_120f"), 120);
  for (const char* wrong : {"", "sm_", "sm_a", "sm_90x", "sm_90aa", "sm_86a", "sm_90f", "sm_-80",
                            "90", "compute_90", "sm_99999999999999999999"}) {
    EXPECT_THROW(architecture_number(wrong), Invalid) << wrong;
  }
}

TEST(CudaResources, AreReadFromTheLog) {
  const auto kernels = read_resources(R"(
phaseconv.cu(3): warning #177-D: variable "x" was declared but never referenced
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'pack' for 'sm_90a'
ptxas info    : Function properties for pack
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Compile time = 248.452 ms
ptxas info    : Compiling entry function 'run' for 'sm_90a'
ptxas info    : Function properties for run
ptxas         .     16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 255 registers
)");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].kernel, "pack");
  EXPECT_EQ(kernels[0].registers, 10);
  EXPECT_EQ(kernels[0].spill_bytes, 0);
  EXPECT_EQ(kernels[1].kernel, "run");
  EXPECT_EQ(kernels[1].registers, 255);
  EXPECT_EQ(kernels[1].spill_bytes, 32);
  EXPECT_TRUE(read_resources("").empty());
}

}  // namespace
}  // namespace phaseconv::cuda
