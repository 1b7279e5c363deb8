// The CPU kernels: every instruction set that this machine can run, every family, element
// type and layout, over shapes chosen to be awkward.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "backend.h"
#include "check/check.h"
#include "cpu/kernels.h"
#include "cpu/pairs.h"
#include "cpu/reference.h"
#include "cpu/rows.h"
#include "cpu/straight.h"
#include "phaseconv/convolution.h"

namespace phaseconv {
namespace {

struct Shape {
  const char* text;
  const char* what;
};

constexpr Shape shapes[] = {
    {"ic1,oc1,i1,k1", "one product"},
    {"n2,ic3,oc1,i1x1x1,k3,s2,p1,bias", "a single input position"},
    {"ic5,oc7,i70,k3,s2,p1", "rank 1, two register tiles of cells and a rest"},
    {"ic2,oc3,i5x37,k4,s2,p1", "rank 2"},
    {"n2,ic2,oc33,i2x3x19,k3,s2,p1,op1,bias", "one channel more than whole vectors"},
    {"ic6,oc18,g6,i3x4x5,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias", "every axis different"},
    {"ic4,oc4,g4,i3x5x17,k4,s2,p1", "depthwise"},
    {"n2,ic37,oc37,g37,i3x4x5,k3,s2,p1,op1,bias", "depthwise, with a rest of channels"},
    {"ic9,oc9,g9,i7x8,k3,s2,d3,p2", "depthwise, dilated"},
    {"ic2,oc2,g2,i3x23x37,k3x4x3,s2,p1,bias", "depthwise, lines for register tiles of two heights"},
    {"ic130,oc130,g130,i21,k16,s8,p4", "depthwise, more channels than one task takes"},
    {"ic12,oc12,g4,i4x9,k3,s2,p1,bias", "three channels a group"},
    {"ic3,oc9,i4x5x6,k2,s2", "kernel = stride"},
    {"ic5,oc7,i3x4x24,k3x2x2,s3x2x2,bias", "two phases along w, rows of whole vectors"},
    {"n2,ic6,oc9,g3,i2x5x16,k1x2x2,s1x2x2", "and groups"},
    {"ic130,oc2,i2x2088,k2,s2", "and several tasks of a row"},
    {"ic3,oc5,i4x21,k2,s5", "stride beyond the kernel: phases without taps"},
    {"ic3,oc5,i4x21,k2,s5,bias", "and with a bias"},
    {"ic2,oc3,i6x18,k3,s2,d2,p1", "dilation shares a factor with stride"},
    {"ic2,oc3,i6x18,k4,s6,d4,p2", "dilation shares one factor of stride"},
    {"ic2,oc3,i6x18,k3,s3,d2,p2", "dilation and stride without a common factor"},
    {"ic2,oc2,i7x9,k3,p4", "padding beyond the kernel"},
    {"ic2,oc2,i40,k5,s1,p2", "stride 1"},
    {"ic2,oc3,i33,k3,s4,p1", "stride 4"},
    {"ic2,oc3,i33,k7,s7,p3", "stride 7"},
    {"ic1,oc2,i3,k3,s700", "stride beyond the scratch memory"},
    {"ic1,oc2,i3,k3,s5000,d3", "and beyond that"},
    {"ic2,oc2,i40,k4,d3000", "dilation beyond the scratch memory"},
    {"ic3,oc2,i20,k600,s3,p7", "more taps than staged rows hold"},
    {"ic2,oc3,i2x2x40,k13x12x5,s2,p3", "many taps along d and h"},
    {"ic300,oc9,i3x40,k3,s2,p1", "more channels than are staged at once"},
    {"ic3,oc70,i3x11,k3,s2,p1", "several vectors of channels"},
    {"ic2,oc600,i9,k3,s2,p1,bias", "several tasks of channels"},
    {"ic2,oc3,i2x1100,k3,s2,p1", "several tasks of cells"},
    {"ic2,oc3,i2x3x4,k2,s3,op2", "output padding past the last tap"},
    {"n2,ic6,oc32,g2,i2x3x13,k2x1x3,s2x1x3,bias", "kernel = stride, groups of whole vectors"},
    {"ic300,oc80,i3x5,k2,s2", "kernel = stride, many channels"},
    {"ic3,oc32,i2x9x15,k3x2x7,p0x0x2", "rows enough for tiles along h, at both ends of w"},
    {"ic70,oc16,i3x7x5,k3x5x5,bias", "and more taps than are worked out at a time elsewhere"},
    {"ic3,oc19,i2x6x9,k3,s2,d3,p1,op1,bias", "and dilated"},
};

std::vector<std::string> types_and_layouts() {
  return {"", ",tf32", ",f16", ",bf16", ",cl", ",tf32,cl", ",f16,cl", ",bf16,cl"};
}

const auto everything = testing::Combine(
    testing::ValuesIn(cpu::instruction_sets()),
    testing::Values("cells", "channels", "groups", "pairs", "rows", "straight", "turned"));

class CpuKernel : public testing::TestWithParam<std::tuple<std::string, const char*>> {
 protected:
  Options options() const {
    Options o;
    o.instruction_set = std::get<0>(GetParam());
    o.plan = std::get<1>(GetParam());
    o.threads = 2;
    return o;
  }
  /// Some families are for some problems alone.
  bool has_plan(const Problem& problem) const {
    const cpu::Kernels& kernels = cpu::kernels(options().instruction_set);
    return options().plan == "pairs"      ? cpu::pairs_refusal(problem, kernels.lanes).empty()
           : options().plan == "rows"     ? cpu::rows_refusal(problem).empty()
           : options().plan == "straight" ? cpu::straight_refusal(problem, kernels.lanes).empty()
           : options().plan == "turned"   ? cpu::turned_refusal(problem, kernels.lanes).empty()
           : options().plan == "groups"
               ? problem.in_channels == problem.groups && problem.out_channels == problem.groups
               : true;
  }
};

TEST_P(CpuKernel, SmallIntegersAreExact) {
  for (const Shape& shape : shapes) {
    for (const std::string& suffix : types_and_layouts()) {
      const Problem problem = parse(shape.text + suffix);
      if (!has_plan(problem)) continue;
      const check::Outcome outcome =
          check::verify(problem, Device::cpu(), options(), check::Fill::integers, 1, true);
      EXPECT_TRUE(outcome.result.pass) << shape.what << ": " << outcome.result.reason;
    }
  }
}

TEST_P(CpuKernel, RandomDataKeepThePromise) {
  for (const Shape& shape : shapes) {
    for (const std::string& suffix : types_and_layouts()) {
      const Problem problem = parse(shape.text + suffix);
      if (!has_plan(problem)) continue;
      const check::Outcome outcome =
          check::verify(problem, Device::cpu(), options(), check::Fill::random, 2, false);
      EXPECT_TRUE(outcome.result.pass) << shape.what << ": " << outcome.result.reason;
    }
  }
}

TEST_P(CpuKernel, SpecialValuesComeOutWhereTheReferenceHasThem) {
  for (const Shape& shape : shapes) {
    for (const std::string& suffix : types_and_layouts()) {
      const Problem problem = parse(shape.text + suffix);
      if (!has_plan(problem)) continue;
      const check::Outcome outcome =
          check::verify(problem, Device::cpu(), options(), check::Fill::special, 3, false);
      EXPECT_TRUE(outcome.result.pass) << shape.what << ": " << outcome.result.reason;
    }
  }
}

TEST_P(CpuKernel, EveryPlanOfTheFamilyIsExact) {
  const Options asked = options();
  const Backend& backend = cpu_backend();
  const Machine machine = backend.machine(Device::cpu(), asked);
  for (const char* text :
       {"ic3,oc13,i2x3x67,k3,s2,p1,bias", "ic3,oc67,i2x3x13,k3,s2,p1,bias,cl",
        "ic67,oc67,g67,i2x3x13,k3,s2,p1,bias,cl", "ic3,oc13,i2x5x24,k2,s2,bias",
        "ic130,oc35,i2x6x11,k4,s2,p1,bias", "ic70,oc13,i2x3x67,k4x5x4,s1x3x2,p1x0x1,bias",
        "ic6,oc96,g2,i2x5x13,k2,s2,bias,cl",
        "n8,ic3,oc5,i2x19x12,k3"}) {  // more rows to a column than its register tiles have
    const Problem problem = parse(text);
    if (!has_plan(problem)) continue;
    for (const Candidate& candidate : candidates(problem, machine, backend.families())) {
      if (candidate.plan.family != asked.plan) continue;
      Options one = asked;
      one.plan = to_string(candidate.plan);
      const check::Outcome outcome =
          check::verify(problem, Device::cpu(), one, check::Fill::integers, 4, true);
      EXPECT_TRUE(outcome.result.pass) << outcome.result.reason;
      EXPECT_EQ(outcome.plan, one.plan);
    }
  }
}

// An infinite weight outside of whose reach there is no input must not meet a made-up zero.
TEST_P(CpuKernel, InfiniteWeightsMakeNoNansAtTheEnds) {
  for (const char* text : {"ic2,oc3,i40,k3,s2,p1", "ic2,oc3,i40,k3,s2,p1,cl", "ic1,oc2,i3x20,k5,p2",
                           "ic2,oc2,i5x6x7,k4,s2,p1", "ic9,oc9,g9,i5x6x7,k4,s2,p1,cl",
                           "ic2,oc3,i5x6x8,k2,s2", "ic2,oc16,i5x6x7,k2,s2,cl"}) {
    const Problem problem = parse(text);
    if (!has_plan(problem)) continue;
    const std::vector<float> x(static_cast<std::size_t>(problem.input_elements()), 1.0f);
    const std::vector<float> w(static_cast<std::size_t>(problem.weight_elements()),
                               std::numeric_limits<float>::infinity());
    std::vector<float> y(static_cast<std::size_t>(problem.output_elements()), -1.0f);
    const TransposedConvolution conv = prepare(problem, Device::cpu(), options());
    conv.run(x.data(), conv.pack(w.data()), nullptr, y.data());
    for (const float value : y) EXPECT_EQ(value, std::numeric_limits<float>::infinity()) << text;
  }
}

TEST_P(CpuKernel, SaysWhichInstructionSetRan) {
  const TransposedConvolution conv =
      prepare(parse(options().plan == "pairs"      ? "ic2,oc2,g2,i8,k2,s2"
                    : options().plan == "straight" ? "ic2,oc16,i8,k2,s2,cl"
                    : options().plan == "turned"   ? "ic2,oc4,g2,i9,k3,s2"
                                                   : "ic2,oc2,g2,i9,k3,s2"),
              Device::cpu(), options());
  EXPECT_EQ(conv.backend(), "cpu " + options().instruction_set);
  EXPECT_TRUE(conv.plan().starts_with(options().plan)) << conv.plan();
}

INSTANTIATE_TEST_SUITE_P(, CpuKernel, everything, [](const auto& one) {
  return std::get<0>(one.param) + "_" + std::get<1>(one.param);
});

TEST(CpuInstructionSet, BestIsTakenAndTheBaselineIsThere) {
  const std::vector<std::string> sets = cpu::instruction_sets();
  ASSERT_FALSE(sets.empty());
  EXPECT_EQ(cpu::kernels("").target, sets.front());
  for (const std::string& set : sets) EXPECT_EQ(cpu::kernels(set).target, set);
}

TEST(CpuInstructionSet, UnknownOneNamesThoseThereAre) {
  Options options;
  options.instruction_set = "AVX9";
  try {
    prepare(parse("ic1,oc1,i4,k2"), Device::cpu(), options);
    FAIL() << "accepted";
  } catch (const Unsupported& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("\"AVX9\""), std::string::npos) << message;
    for (const std::string& set : cpu::instruction_sets()) {
      EXPECT_NE(message.find(set), std::string::npos) << message;
    }
  }
}

// The planner's part: lanes run along what is contiguous, unless there is too little of it.
TEST(CpuPlan, FollowsTheLayout) {
  const auto family = [](const char* text) {
    const std::string plan = prepare(parse(text), Device::cpu()).plan();
    // The same lanes.
    return plan.starts_with("straight") || plan.starts_with("turned") ? "chann"
           : plan.starts_with("rows")                                 ? "cells"
                                                                      : plan.substr(0, 5);
  };
  EXPECT_EQ(family("n1,ic32,oc32,g4,i32x64x128,k3,s2,p1"), "cells");
  EXPECT_EQ(family("n1,ic64,oc32,i64x64x64,k2,s2"), "pairs");
  EXPECT_EQ(family("n1,ic64,oc32,i64x64x64,k2,s2,cl"), "chann");
  EXPECT_EQ(family("n1,ic256,oc256,i4x4x4,k4,s2,p1,cl"), "chann");
  EXPECT_EQ(family("n1,ic64,oc64,g64,i48x48x48,k4,s2,p1"), "cells");
  EXPECT_EQ(family("n1,ic64,oc64,g64,i48x48x48,k4,s2,p1,cl"), "group");
}

TEST(CpuBackend, PacksIntoTheCallersMemory) {
  const Problem problem = parse("ic4,oc3,i9,k3,s2");
  const TransposedConvolution conv = prepare(problem, Device::cpu());
  const check::Data data = check::make_data(problem, check::Fill::random, 1);
  const std::size_t alignment = TransposedConvolution::packed_alignment;
  const std::size_t bytes = conv.packed_bytes();
  std::vector<std::byte> room(bytes + 2 * alignment);
  void* memory = room.data();
  std::size_t space = room.size() - 1;
  ASSERT_NE(std::align(alignment, bytes, memory, space), nullptr);

  conv.pack_into(data.weight.data(), memory);
  std::vector<float> y(static_cast<std::size_t>(problem.output_elements()));
  std::vector<float> expected = y;
  conv.run(data.input.data(), PackedWeights::borrowed(memory, bytes), nullptr, y.data());
  conv.run(data.input.data(), conv.pack(data.weight.data()), nullptr, expected.data());
  EXPECT_EQ(y, expected);

  EXPECT_THROW(conv.pack_into(nullptr, memory), Invalid);
  EXPECT_THROW(conv.pack_into(data.weight.data(), nullptr), Invalid);
  EXPECT_THROW(conv.pack_into(data.weight.data(), static_cast<std::byte*>(memory) + 1), Invalid);
}

TEST(CpuBackend, EmptyBatchIsDoneAtOnce) {
  const TransposedConvolution conv = prepare(parse("n0,ic2,oc2,i9,k3,s2"), Device::cpu());
  const std::vector<float> w(12, 1.0f);
  conv.run(nullptr, conv.pack(w.data()), nullptr, nullptr);
}

TEST(CpuBackend, CeilingsArePlausible) {
  Options options;
  options.threads = 1;
  const Ceilings c = cpu_backend().ceilings(Device::cpu(), DataType::f32, options);
  EXPECT_GT(c.copy_bytes_per_second, 1e8);
  EXPECT_GT(c.flops_per_second, 1e8);
  EXPECT_NE(c.method.find("copy"), std::string::npos);
}

}  // namespace
}  // namespace phaseconv
