// Verification finds what an executable does wrong besides wrong values.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>

#include "backend.h"
#include "check_helpers.h"

namespace phaseconv::check {
namespace {

/// An executable that computes by the reference, then does one thing wrong.
class Faulty : public Executable {
 public:
  using Fault = std::function<void(const Problem& problem, std::byte* output, int run)>;
  Faulty(const Problem& p, Fault fault)
      : Executable(p, Device::cpu(), Decision{{Candidate{}}, "test"}), fault_(std::move(fault)) {}

  void pack(const void* weight, void* packed, Stream) const override {
    std::memcpy(packed, weight, packed_bytes());
  }
  std::size_t packed_bytes() const override {
    return static_cast<std::size_t>(problem.weight_elements()) * element_size(problem.type);
  }
  void run(const void* input, const PackedWeights& weights, const void* bias, void* output,
           Stream) const override {
    for (Index n = 0; n < problem.batch; ++n) {
      for (Index oc = 0; oc < problem.out_channels; ++oc) {
        const ReferencePlane plane = reference_plane(problem, input, weights.data(), bias, n, oc);
        for (Index i = 0; i < problem.output_positions(); ++i) {
          store_value(output, problem.type, element(problem, n, oc, i),
                      static_cast<float>(plane.value[static_cast<std::size_t>(i)]));
        }
      }
    }
    fault_(problem, static_cast<std::byte*>(output), runs_++);
  }
  std::string backend() const override { return "faulty"; }

 private:
  Fault fault_;
  mutable std::atomic<int> runs_ = 0;
};

Result verify_faulty(const Faulty::Fault& fault, Fill fill = Fill::random,
                     const char* text = "n2,ic3,oc5,i4x5,k3,s2", int runs = 2) {
  const TransposedConvolution conv(std::make_shared<Faulty>(parse(text), fault));
  return verify(conv, Options{}, fill, 7, fill == Fill::integers, runs).result;
}

std::size_t output_bytes(const Problem& problem) {
  return static_cast<std::size_t>(problem.output_elements()) * element_size(problem.type);
}

TEST(Verify, RightExecutablePasses) {
  for (const char* type : {"f32", "tf32", "f16", "bf16"}) {
    for (const Fill fill : {Fill::random, Fill::integers, Fill::special}) {
      const std::string text = std::string("n2,ic3,oc5,i4x5,k3,s2,bias,") + type;
      const auto nothing = [](const Problem&, std::byte*, int) {};
      const Result result = verify_faulty(nothing, fill, text.c_str());
      EXPECT_TRUE(result.pass) << result.reason;
    }
  }
}

TEST(Verify, WritingOutsideIsFound) {
  const auto before = [](const Problem&, std::byte* output, int) { output[-1] = std::byte{0}; };
  EXPECT_NE(verify_faulty(before).reason.find("before the output's start"), std::string::npos);
  const auto beyond = [](const Problem& problem, std::byte* output, int) {
    output[output_bytes(problem)] = std::byte{0};
  };
  EXPECT_NE(verify_faulty(beyond).reason.find("beyond the output's end"), std::string::npos);
  // In the second run only, and far away.
  const auto later = [](const Problem& problem, std::byte* output, int run) {
    if (run == 1) output[output_bytes(problem) + 4000] = std::byte{0};
  };
  EXPECT_NE(verify_faulty(later).reason.find("beyond the output's end"), std::string::npos);
}

TEST(Verify, ElementsNobodyWroteAreFound) {
  // Whatever was there before comes back: the poison of each run.
  const auto skip = [](const Problem& problem, std::byte* output, int run) {
    std::memset(output + output_bytes(problem) - 4, run == 0 ? 0xff : 0x7b, 4);
  };
  EXPECT_FALSE(verify_faulty(skip).pass);
  EXPECT_FALSE(verify_faulty(skip, Fill::integers).pass);
}

TEST(Verify, AnUnwrittenNanIsFoundWhereNanIsExpected) {
  const auto skip_nans = [](const Problem& problem, std::byte* output, int run) {
    for (Index i = 0; i < problem.output_elements(); ++i) {
      if (!std::isnan(load_value(output, problem.type, i))) continue;
      std::memset(output + i * 4, run == 0 ? 0xff : 0x7b, 4);
    }
  };
  const Result result = verify_faulty(skip_nans, Fill::special);
  EXPECT_EQ(result.wrong, 0);
  EXPECT_FALSE(result.pass);
  EXPECT_NE(result.reason.find("two runs differ"), std::string::npos) << result.reason;
}

TEST(Verify, RunsThatDifferAreFound) {
  const auto flip = [](const Problem&, std::byte* output, int run) {
    if (run == 1) output[40] ^= std::byte{1};
  };
  const Result result = verify_faulty(flip);
  EXPECT_EQ(result.wrong, 0);
  EXPECT_FALSE(result.pass);
  EXPECT_NE(result.reason.find("two runs differ, first at output element 10"), std::string::npos)
      << result.reason;
}

TEST(Verify, ARareDifferenceIsFoundInManyRuns) {
  const auto rare = [](const Problem&, std::byte* output, int run) {
    if (run == 57) output[40] ^= std::byte{1};
  };
  EXPECT_TRUE(verify_faulty(rare).pass);
  const Result result = verify_faulty(rare, Fill::random, "n2,ic3,oc5,i4x5,k3,s2", 100);
  EXPECT_FALSE(result.pass);
  EXPECT_NE(result.reason.find("and in run 58 "), std::string::npos) << result.reason;
  EXPECT_NE(result.reason.find("--runs 100"), std::string::npos) << result.reason;
}

TEST(Verify, FailureRepeatsItself) {
  const auto wrong = [](const Problem& problem, std::byte* output, int) {
    store_value(output, problem.type, 3, 1e9f);
  };
  const std::string reason = verify_faulty(wrong, Fill::integers).reason;
  EXPECT_TRUE(reason.starts_with("n2,ic3,oc5,i4x5,k3,s2: 1 of 990 wrong, first at n 0, oc 0"))
      << reason;
  EXPECT_NE(reason.find("phaseconv verify n2,ic3,oc5,i4x5,k3,s2 --device cpu --plan"),
            std::string::npos)
      << reason;
  EXPECT_NE(reason.find("--seed 7 --exact"), std::string::npos) << reason;
  EXPECT_EQ(reason.find('\n'), std::string::npos) << reason;
}

}  // namespace
}  // namespace phaseconv::check
