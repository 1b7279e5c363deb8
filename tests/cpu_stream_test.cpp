// Outputs that are large enough to go past the caches.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "check/check.h"
#include "phaseconv/convolution.h"

namespace phaseconv {
namespace {

// What is large enough to go past the caches, in every layout, with rows cut at both ends.
TEST(CpuStream, LargeOutputsAreWhole) {
  for (const char* text : {"ic1,oc3,i2x180x1999,k3,s2,p1", "ic4,oc4,g4,i15x45x200,k4,s2,p1",
                           "ic2,oc24,i150x300,k2,s2,cl", "ic2,oc32,i150x300,k2,s2,cl",
                           "ic2,oc24,i150x300,k2,s2", "ic3,oc3,g3,i450x500,k3,s2,p1,cl"}) {
    const Problem problem = parse(text);
    const check::Outcome outcome =
        check::verify(problem, Device::cpu(), {}, check::Fill::integers, 5, true);
    EXPECT_TRUE(outcome.result.pass) << outcome.result.reason;
  }
}

// Whole lines are written past the caches, and what is around them in the ordinary way, wherever
// the caller's memory begins; what lies before and behind it stays.
TEST(CpuStream, OutputsMayBeginAnywhere) {
  constexpr float canary = 12345.5f;
  const char* const first = "ic3,oc5,i20x64x64,k2,s2,bias";
  const std::pair<const char*, const char*> plans[] = {
      {"pairs", first},
      {"cells", first},
      {"rows", first},
      {"rows", "ic3,oc5,i20x33x67,k3,s2,p1,bias"},
      {"channels", first},
      {"turned", first},
      {"turned", "ic3,oc5,i20x33x67,k3,s2,p1,bias"},
      {"straight", "ic3,oc32,i10x40x40,k2,s2,bias,cl"},
      {"straight", "ic3,oc48,i10x30x31,k3,s2,p1,bias,cl"}};
  for (const auto& [plan, text] : plans) {
    const Problem problem = parse(text);
    Options options;
    options.plan = plan;
    const TransposedConvolution conv = prepare(problem, Device::cpu(), options);
    const check::Data data = check::make_data(problem, check::Fill::integers, 7);
    const PackedWeights packed = conv.pack(data.weight.data());
    const auto count = static_cast<std::ptrdiff_t>(problem.output_elements());
    std::vector<float> expected;
    for (const std::ptrdiff_t offset : {0, 1, 7, 8, 13, 16}) {
      SCOPED_TRACE(std::string(plan) + ", " + std::to_string(offset) + " elements on");
      std::vector<float> room(static_cast<std::size_t>(count) + 64, canary);
      const auto begin = room.begin() + 24 + offset;
      conv.run(data.input.data(), packed, data.bias.data(), &*begin);
      if (offset == 0) expected.assign(begin, begin + count);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin));
      const auto is_canary = [&](float value) { return value == canary; };
      EXPECT_TRUE(std::all_of(room.begin(), begin, is_canary));
      EXPECT_TRUE(std::all_of(begin + count, room.end(), is_canary));
    }
  }
}

}  // namespace
}  // namespace phaseconv
