// Compiles every family of CUDA kernels for every type, layout and architecture, with no GPU, and
// holds the register budget: a spilled register costs more than any tile size wins. Of each,
// several problems, not the same ones for every type and architecture.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string>

#include "cuda/compile.h"
#include "cuda/source.h"
#include "phaseconv/convolution.h"

namespace phaseconv::cuda {
namespace {

// Stores plus loads. Left to itself ptxas 13.0 trades a few spills for occupancy in two of these
// kernels: 16 bytes at 32 registers (sm_90a, 9x9 kernel, stride 3, channels last), 80 bytes at 72
// registers (sm_100, 3x4x5 kernel, channels last). A plan that states its registers should end
// that.
constexpr int kSpillBudgetBytes = 80;

constexpr const char* kProblems[] = {
    "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1",
    "ic64,oc64,g64,i48x48x48,k4,s2,p1",
    "n3,ic30,oc18,g6,i17x29x41,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias",
    "ic56,oc1,i256x256,k9,s3,p4,op2,bias",
    "ic256,oc128,i2048,k16,s8,p4,bias",
};

/// So many of them for each type of a family: those that it can do, from another one on for the
/// next type and the next architecture, so that all of them are compiled for every type somewhere.
/// All for every type and architecture take 385 s. A family of one architecture has them all there.
constexpr std::size_t kProblemsEach = 2;

/// Every type and every layout; a kernel's layout is strides, whatever the type.
struct Variant {
  DataType type;
  Layout layout;
};
constexpr Variant kVariants[] = {{DataType::f32, Layout::channels_first},
                                 {DataType::f32, Layout::channels_last},
                                 {DataType::tf32, Layout::channels_first},
                                 {DataType::f16, Layout::channels_last},
                                 {DataType::bf16, Layout::channels_first}};

constexpr const char* kArchitectures[] = {"sm_80", "sm_89", "sm_90a", "sm_100", "sm_120"};

/// Of the family's best plan; empty: there is a legal one.
std::string refusal(const Family& family, const Problem& problem, const Machine& machine) {
  return candidates(problem, machine, {family}).front().refusal;
}

bool is_for_another_architecture(const Family& family, const std::string& arch) {
  return refusal(family, parse(kProblems[0]), typical_machine(arch)).find("is an instruction of") !=
         std::string::npos;
}

void expect_to_compile(const Problem& problem, const std::string& arch, const Options& options) {
  const std::string where = to_string(problem) + " for " + arch;
  try {
    const Compiled kernel = compile(problem, arch, options);
    std::printf("%s: %s, %d registers, %d bytes spilled, %.2f s\n", where.c_str(),
                to_string(kernel.decision.plan()).c_str(), kernel.registers, kernel.spill_bytes,
                kernel.seconds);
    EXPECT_FALSE(kernel.cubin.empty()) << where;
    EXPECT_GT(kernel.registers, 0) << where << "\n" << kernel.log;
    EXPECT_LE(kernel.spill_bytes, kSpillBudgetBytes) << where << "\n" << kernel.log;
  } catch (const Error& error) {
    ADD_FAILURE() << where << "\n" << error.what();
  }
}

class KernelsCompile : public ::testing::TestWithParam<int> {};  // of kArchitectures

TEST_P(KernelsCompile, WithinTheSpillBudget) {
  const std::string arch = kArchitectures[GetParam()];
  Options options = Options::from_environment();
  try {
    compile(parse("ic1,oc1,i1,k1"), arch, options);
  } catch (const Unsupported& error) {
    // Where CI says that it is CI, nothing may be left out unseen.
    ASSERT_EQ(std::getenv("CI"), nullptr) << error.what();
    GTEST_SKIP() << "needs NVRTC, which ./run test installs: " << error.what();
  }

  const Machine machine = typical_machine(arch);
  for (const Family& family : kernel_families()) {
    options.plan = std::string(family.name) + ":";
    const std::size_t each = is_for_another_architecture(family, kArchitectures[0])
                                 ? std::size(kProblems)
                                 : kProblemsEach;
    auto first = static_cast<std::size_t>(GetParam());
    for (const auto& [type, layout] : kVariants) {
      std::size_t compiled = 0;
      for (std::size_t n = 0; n < std::size(kProblems) && compiled < each; ++n) {
        Problem problem = parse(kProblems[(first + n) % std::size(kProblems)]);
        problem.type = type;
        problem.layout = layout;
        if (!refusal(family, problem, machine).empty()) continue;
        ++compiled;
        expect_to_compile(problem, arch, options);
      }
      ++first;
      EXPECT_TRUE(compiled > 0 || is_for_another_architecture(family, arch))
          << family.name << " was never legal for " << arch << ", " << name(type);
    }
  }
}

TEST(CubinsCompile, OneForEachKernel) {
  Options options = Options::from_environment();
  options.cache_folder.clear();
  const Problem problem = parse("ic1,oc1,i1,k1");
  const Decision decision = decide(problem, typical_machine("sm_90a"), kernel_families(), "");
  const KernelSource source = generate_source(problem, decision.plan());
  try {
    const Cubins made = cubins(source, "sm_90a", options);
    const auto holds = [](const Cubin& cubin, const LaunchShape& kernel) {
      return cubin->find(kernel.kernel) != std::string::npos;
    };
    EXPECT_TRUE(holds(made.run, source.run) && !holds(made.run, source.pack));
    EXPECT_TRUE(holds(made.pack, source.pack) && !holds(made.pack, source.run));
  } catch (const Unsupported& error) {
    // As above: in CI nothing is left out.
    ASSERT_EQ(std::getenv("CI"), nullptr) << error.what();
    GTEST_SKIP() << "needs NVRTC, which ./run test installs: " << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, KernelsCompile,
                         ::testing::Range(0, static_cast<int>(std::size(kArchitectures))),
                         [](const auto& arch) { return std::string(kArchitectures[arch.param]); });

}  // namespace
}  // namespace phaseconv::cuda
