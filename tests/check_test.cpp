// The checks are checked: right results pass, and every kind of wrong one is found.
#include "check/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "check_helpers.h"

namespace phaseconv::check {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// A 1D problem with one input, one tap and the given operands: one output.
struct OneProduct {
  OneProduct(DataType type, float x, float w) {
    problem.rank = 1;
    problem.type = type;
    data.input.resize(element_size(type));
    data.weight.resize(element_size(type));
    store_value(data.input.data(), type, 0, x);
    store_value(data.weight.data(), type, 0, w);
  }
  Result compare_with(float y) const {
    Output output(element_size(problem.type));
    set(problem, output, 0, y);
    return compare(problem, data, output.data(), false);
  }
  Problem problem;
  Data data;
};

class EveryType : public testing::TestWithParam<const char*> {
 protected:
  Problem problem_ =
      parse("n2,ic6,oc4,g2,i4x5x6,k3x2x3,s2x1x2,p1x0x1,bias," + std::string(GetParam()));
};
INSTANTIATE_TEST_SUITE_P(Check, EveryType,
                         testing::Values("f32", "tf32", "f16", "bf16", "f32,cl", "tf32,cl",
                                         "f16,cl", "bf16,cl"));

TEST_P(EveryType, RightOutputPasses) {
  for (const Fill fill : {Fill::random, Fill::integers, Fill::special}) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Data data = make_data(problem_, fill, seed);
      const Result result =
          compare(problem_, data, right_output(problem_, data).data(), fill == Fill::integers);
      EXPECT_TRUE(result.pass) << result.reason;
      EXPECT_LE(result.max_error_over_bound, 1);
    }
  }
}

TEST_P(EveryType, UnwrittenElementIsFound) {
  const Data data = make_data(problem_, Fill::random, 1);
  const Output right = right_output(problem_, data);
  for (const Index at :
       {Index{0}, problem_.output_elements() / 2, problem_.output_elements() - 1}) {
    Output output = right;
    set(problem_, output, at, not_a_number);
    for (const bool exact : {false, true}) {
      EXPECT_FALSE(compare(problem_, data, output.data(), exact).pass) << at;
    }
  }
}

TEST_P(EveryType, OneUlpIsTooFarForExact) {
  const Data data = make_data(problem_, Fill::integers, 1);
  Output output = right_output(problem_, data);
  ASSERT_TRUE(compare(problem_, data, output.data(), true).pass);
  output[output.size() / 2] ^= std::byte{1};
  const Result result = compare(problem_, data, output.data(), true);
  EXPECT_FALSE(result.pass);
  EXPECT_EQ(result.wrong, 1);
}

TEST_P(EveryType, SwappedElementsAreFound) {
  const Data data = make_data(problem_, Fill::random, 1);
  Output output = right_output(problem_, data);
  const float a = get(problem_, output, 7);
  set(problem_, output, 7, get(problem_, output, 8));
  set(problem_, output, 8, a);
  EXPECT_EQ(compare(problem_, data, output.data(), false).wrong, 2);
}

/// The stored value that many units in the last place away from the one nearest to `value`.
float neighbour(DataType type, double value, int steps) {
  std::array<std::byte, 4> bytes{};
  store_value(bytes.data(), type, 0, static_cast<float>(value));
  if (element_size(type) == 4) {
    const auto bits = std::bit_cast<std::uint32_t>(bytes) + static_cast<std::uint32_t>(steps);
    return std::bit_cast<float>(bits);
  }
  std::uint16_t half = 0;
  std::memcpy(&half, bytes.data(), 2);
  half = static_cast<std::uint16_t>(half + steps);
  std::memcpy(bytes.data(), &half, 2);
  return load_value(bytes.data(), type, 0);
}

TEST_P(EveryType, BoundIsTheContract) {
  const Data data = make_data(problem_, Fill::random, 3);
  const double unit = problem_.type == DataType::f32 ? 0x1p-24 : 0x1p-22;
  const int digits = problem_.type == DataType::f16 ? 11 : problem_.type == DataType::bf16 ? 8 : 0;
  Index beyond = 0;
  // Every element at the stored values next to its bound, on both sides of it and of the reference.
  for (const double sign : {-1.0, 1.0}) {
    for (int steps = -2; steps <= 2; ++steps) {
      Output output = right_output(problem_, data);
      Index wrong = 0;
      double worst = 0;
      for_each_output(problem_, data, [&](Index at, const ReferencePlane& plane, std::size_t i) {
        const double value = plane.value[i];
        double bound = static_cast<double>(plane.terms[i] + 16) * unit * plane.magnitude[i];
        if (digits > 0) {  // half a unit in the last place of |value| + bound: normal numbers here
          bound += std::ldexp(1.0, std::ilogb(std::abs(value) + bound) - digits);
        }
        const float got = neighbour(problem_.type, value + sign * bound, steps);
        set(problem_, output, at, got);
        const double error = std::abs(got - value);
        wrong += error > bound ? 1 : 0;
        worst = std::max(worst, error / bound);
      });
      const Result result = compare(problem_, data, output.data(), false);
      EXPECT_EQ(result.wrong, wrong) << result.reason;
      EXPECT_NEAR(result.max_error_over_bound, worst, 1e-9 * worst);
      beyond += wrong;
    }
  }
  EXPECT_GT(beyond, 2 * problem_.output_elements());
  EXPECT_LT(beyond, 8 * problem_.output_elements());
}

TEST_P(EveryType, MisplacedNanAndInfAreFound) {
  Index nans = 0;
  Index infinities = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Data data = make_data(problem_, Fill::special, seed);
    for (std::size_t kind = 0; kind < 3; ++kind) {
      Output output = right_output(problem_, data);
      Index wrong = 0;
      for_each_output(problem_, data, [&](Index at, const ReferencePlane& plane, std::size_t i) {
        const double value = plane.value[i];
        std::array<float, 3> bad;
        if (std::isnan(value)) {
          bad = {0, infinity, -infinity};
          ++nans;
        } else if (std::isinf(value)) {
          bad = {0, static_cast<float>(-value), 65504};
          ++infinities;
        } else if (plane.magnitude[i] < 1e4) {
          bad = {not_a_number, infinity, -infinity};
        } else {
          return;  // may overflow
        }
        set(problem_, output, at, bad[kind]);
        ++wrong;
      });
      EXPECT_EQ(compare(problem_, data, output.data(), false).wrong, wrong) << kind;
    }
  }
  EXPECT_GT(nans, 150);
  EXPECT_GT(infinities, 150);
}

TEST(Compare, NamesTheFirstWrongElement) {
  for (const char* layout : {"cf", "cl"}) {
    const Problem problem = parse("n2,ic2,oc3,i2x3x4,k2,s2," + std::string(layout));
    const Data data = make_data(problem, Fill::random, 1);
    Output output = right_output(problem, data);
    // The output is 4 x 6 x 8: d 2, h 5, w 3.
    set(problem, output, element(problem, 1, 2, (2 * 6 + 5) * 8 + 3), 1e6f);
    set(problem, output, element(problem, 1, 2, (3 * 6 + 5) * 8 + 3), 1e6f);
    const Result result = compare(problem, data, output.data(), false);
    EXPECT_NE(result.reason.find("2 of 1152 wrong, first at n 1, oc 2, d 2, h 5, w 3: got 1000000, "
                                 "expected "),
              std::string::npos)
        << result.reason;
    EXPECT_EQ(result.reason.find('\n'), std::string::npos);
  }
}

TEST(Compare, BoundOfOneProduct) {
  const OneProduct one(DataType::f32, 3, 5);  // 15, one term: 17 * 2^-24 * 15
  const double bound = 17 * 0x1p-24 * 15;
  const float ulp = 0x1p-20f;
  EXPECT_EQ(one.compare_with(15).max_error_over_bound, 0);
  EXPECT_NEAR(one.compare_with(15 + 3 * ulp).max_error_over_bound, 3 * 0x1p-20 / bound, 1e-12);
  EXPECT_TRUE(one.compare_with(15 + 15 * ulp).pass);
  EXPECT_FALSE(one.compare_with(15 + 16 * ulp).pass);
}

TEST(Compare, Tf32RoundsItsOperands) {
  const OneProduct one(DataType::tf32, 1 + 0x1p-12f, 1);
  EXPECT_EQ(one.compare_with(1).max_error_over_bound, 0);
  EXPECT_FALSE(one.compare_with(1 + 0x1p-12f).pass);
  // A tie goes away from zero.
  EXPECT_EQ(OneProduct(DataType::tf32, -1 - 0x1p-11f, 1).compare_with(-1 - 0x1p-10f).wrong, 0);
  EXPECT_EQ(OneProduct(DataType::tf32, -1 - 0x1p-11f, 1).compare_with(-1).wrong, 1);
}

TEST(Compare, HalfRoundsOnce) {
  const float x = 1 + 0x1p-10f;  // squared: 1 + 2^-9 + 2^-20
  const OneProduct one(DataType::f16, x, x);
  EXPECT_TRUE(one.compare_with(1 + 0x1p-9f).pass);
  EXPECT_FALSE(one.compare_with(1 + 0x1p-10f).pass);
  EXPECT_FALSE(one.compare_with(1 + 0x1p-9f + 0x1p-10f).pass);
}

TEST(Compare, HalfSubnormals) {
  const OneProduct one(DataType::f16, 0x1.4p-14f, 0x1p-10f);  // 1.25 of the smallest half
  EXPECT_TRUE(one.compare_with(0x1p-24f).pass);
  EXPECT_FALSE(one.compare_with(0x1p-23f).pass);
  EXPECT_FALSE(one.compare_with(0).pass);
}

TEST(Compare, OverflowOfTheOutput) {
  const OneProduct half(DataType::f16, 256, -256);  // -65536: beyond every half
  EXPECT_TRUE(half.compare_with(-infinity).pass);
  EXPECT_FALSE(half.compare_with(-65504).pass);
  EXPECT_FALSE(half.compare_with(infinity).pass);
  EXPECT_FALSE(half.compare_with(not_a_number).pass);
  EXPECT_FALSE(OneProduct(DataType::f16, 255, 256).compare_with(infinity).pass);  // 65280

  const OneProduct single(DataType::f32, 1e30f, 1e30f);
  EXPECT_TRUE(single.compare_with(infinity).pass);
  EXPECT_FALSE(single.compare_with(1e30f).pass);
  EXPECT_FALSE(OneProduct(DataType::f32, 1e18f, 1e18f).compare_with(infinity).pass);
}

TEST(Compare, CancelledOverflowMayBeEither) {
  Problem problem = parse("ic2,oc1,i1,k1");
  Data data;
  const auto bytes_of = [](std::array<float, 2> values) {
    const auto bytes = std::bit_cast<std::array<std::byte, 8>>(values);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  data.input = bytes_of({1e30f, 1e30f});
  data.weight = bytes_of({1e30f, -1e30f});
  for (const float y : {0.0f, not_a_number, infinity}) {
    EXPECT_TRUE(compare(problem, data, &y, false).pass) << y;
  }
}

TEST(Compare, SystematicErrorWithinTheBoundFails) {
  const Problem problem = parse("ic64,oc4,i8x8,k3,p1");
  const Data data = make_data(problem, Fill::random, 1);
  Output output = right_output(problem, data);
  EXPECT_LT(compare(problem, data, output.data(), false).rms_over_plain, 1);
  for_each_output(problem, data, [&](Index at, const ReferencePlane& plane, std::size_t i) {
    const double bound = static_cast<double>(plane.terms[i] + 16) * 0x1p-24 * plane.magnitude[i];
    set(problem, output, at, static_cast<float>(plane.value[i] + 0.9 * bound));
  });
  const Result result = compare(problem, data, output.data(), false);
  EXPECT_EQ(result.wrong, 0);
  EXPECT_GT(result.rms_over_plain, 4);
  EXPECT_FALSE(result.pass);
  EXPECT_NE(result.reason.find("plain float32 loop"), std::string::npos) << result.reason;
}

TEST(Compare, DoesNotDependOnThreads) {
  const Problem problem = parse("n3,ic4,oc7,i5x6,k3,s2");
  const Data data = make_data(problem, Fill::random, 1);
  Output output = right_output(problem, data);
  set(problem, output, 100, 7);
  Options one;
  one.threads = 1;
  Options many;
  many.threads = 5;
  const Result a = compare(problem, data, output.data(), false, one);
  const Result b = compare(problem, data, output.data(), false, many);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(a.rms_error), std::bit_cast<std::uint64_t>(b.rms_error));
}

TEST(Compare, EmptyBatchPasses) {
  const Problem problem = parse("n0,ic4,oc7,i5x6,k3,s2");
  EXPECT_TRUE(compare(problem, make_data(problem, Fill::random, 1), nullptr, false).pass);
}

TEST(Data, SameEverywhere) {
  const Problem problem = parse("ic3,oc2,i4,k3,bias");
  const Data data = make_data(problem, Fill::random, 42);
  EXPECT_EQ(data.input.size(), 48u);
  EXPECT_EQ(data.weight.size(), 72u);
  EXPECT_EQ(data.bias.size(), 8u);
  EXPECT_EQ(data.input, make_data(problem, Fill::random, 42).input);
  EXPECT_NE(data.input, make_data(problem, Fill::random, 43).input);
  // What this generator gave when it was written: a change would change every seed in a bug report.
  EXPECT_EQ(load_value(data.input.data(), DataType::f32, 0), -0x1.d76372p-1f);
  EXPECT_EQ(load_value(data.weight.data(), DataType::f32, 0), 0x1.6f5b6ep-1f);
  EXPECT_EQ(load_value(data.bias.data(), DataType::f32, 1), -0x1.101b9ep-1f);
}

TEST(Data, RandomIsNormalLikeAndFillsTheMantissa) {
  const Problem problem = parse("n10,ic10,oc1,i1000,k1");
  const Data data = make_data(problem, Fill::random, 1);
  double sum = 0;
  double squares = 0;
  int odd = 0;
  for (Index i = 0; i < 100000; ++i) {
    const float value = load_value(data.input.data(), DataType::f32, i);
    sum += value;
    squares += value * value;
    odd += static_cast<int>(std::bit_cast<std::uint32_t>(value) & 1);
  }
  EXPECT_NEAR(sum / 100000, 0, 0.02);
  EXPECT_NEAR(squares / 100000, 1, 0.02);
  EXPECT_NEAR(odd / 100000.0, 0.5, 0.02);
}

TEST(Data, IntegerSumsAreExact) {
  for (const char* text : {"ic512,oc2,i4x4x4,k5", "ic8,oc2,i9,k3,f16", "ic2,oc2,i9,k3,bf16"}) {
    const Problem problem = parse(text);
    const Data data = make_data(problem, Fill::integers, 1);
    const double room = problem.type == DataType::f32   ? 0x1p24
                        : problem.type == DataType::f16 ? 0x1p11
                                                        : 0x1p8;
    double largest = 0;
    for_each_output(problem, data, [&](Index, const ReferencePlane& plane, std::size_t i) {
      largest = std::max(largest, plane.magnitude[i]);
      EXPECT_EQ(plane.value[i], std::nearbyint(plane.value[i]));
    });
    EXPECT_LE(largest, room) << text;
    EXPECT_GT(largest, 8) << text;
  }
}

TEST(Suite, CommentsAndBlankLines) {
  const auto problems = read_suite(
      "# a comment\n\nic1,oc1,i4,k3   # the first\r\n  "
      "ic2,oc2,i4x4,k3\t\n#ic3,oc3,i4,k3\nic4,oc4,i1,k1",
      "list.txt");
  ASSERT_EQ(problems.size(), 3u);
  EXPECT_EQ(to_string(problems[1]), "ic2,oc2,i4x4,k3");
  EXPECT_TRUE(read_suite("", "list.txt").empty());
}

TEST(Suite, NamesTheLine) {
  try {
    read_suite("ic1,oc1,i4,k3\n\nic1,oc1,i4\n", "shapes/list.txt");
    FAIL() << "accepted";
  } catch (const Invalid& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("shapes/list.txt:3: ")) << error.what();
  }
}

}  // namespace
}  // namespace phaseconv::check
