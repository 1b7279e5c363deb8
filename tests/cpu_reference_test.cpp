// The float64 reference, against sums done by hand.
#include "cpu/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "element.h"

namespace phaseconv {
namespace {

using Doubles = std::vector<double>;
using Indices = std::vector<Index>;

ReferencePlane plane(const char* text, const std::vector<float>& x, const std::vector<float>& w,
                     const std::vector<float>& bias = {}, Index n = 0, Index oc = 0) {
  const Problem problem = parse(text);
  EXPECT_EQ(problem.input_elements(), static_cast<Index>(x.size()));
  EXPECT_EQ(problem.weight_elements(), static_cast<Index>(w.size()));
  return reference_plane(problem, x.data(), w.data(), bias.empty() ? nullptr : bias.data(), n, oc);
}

TEST(Reference, OneAxis) {
  // Input 1 lands on outputs 0 1 2, input 2 on 2 3 4; they overlap at 2.
  const ReferencePlane p = plane("ic1,oc1,i2,k3,s2", {1, 2}, {10, 20, -30});
  EXPECT_EQ(p.value, (Doubles{10, 20, -30 + 20, 40, -60}));
  EXPECT_EQ(p.magnitude, (Doubles{10, 20, 30 + 20, 40, 60}));
  EXPECT_EQ(p.terms, (Indices{1, 1, 2, 1, 1}));
}

TEST(Reference, PaddingCutsBothEnds) {
  const ReferencePlane p = plane("ic1,oc1,i2,k3,s2,p1", {1, 2}, {10, 20, -30});
  EXPECT_EQ(p.value, (Doubles{20, -10, 40}));
}

TEST(Reference, OutputPaddingAddsPositionsWithoutTerms) {
  const ReferencePlane p = plane("ic1,oc1,i2,k2,s3,op2,bias", {1, 2}, {10, 20}, {7});
  EXPECT_EQ(p.value, (Doubles{17, 27, 7, 27, 47, 7, 7}));
  EXPECT_EQ(p.terms, (Indices{2, 2, 1, 2, 2, 1, 1}));
  EXPECT_EQ(p.magnitude, p.value);
}

TEST(Reference, DilationSpreadsTheTaps) {
  const ReferencePlane p = plane("ic1,oc1,i2,k2,d3", {1, 2}, {10, 20});
  EXPECT_EQ(p.value, (Doubles{10, 20, 0, 20, 40}));
  EXPECT_EQ(p.terms, (Indices{1, 1, 0, 1, 1}));
}

TEST(Reference, TwoAxesInRowOrder) {
  const ReferencePlane p = plane("ic1,oc1,i1x2,k2x1,s1x2", {1, 2}, {10, 100});
  EXPECT_EQ(p.value, (Doubles{10, 0, 20, 100, 0, 200}));
}

TEST(Reference, ThreeAxes) {
  const ReferencePlane p = plane("ic1,oc1,i1x1x1,k2,s2", {3}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(p.value, (Doubles{3, 6, 9, 12, 15, 18, 21, 24}));
}

TEST(Reference, ChannelsGroupsAndBatch) {
  // Two groups of two inputs and one output each; weights [ic, 1, 1].
  const std::vector<float> w = {1, 10, 100, 1000};
  const std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};  // [n][ic], one position
  EXPECT_EQ(plane("n2,ic4,oc2,g2,i1,k1", x, w, {}, 0, 0).value, (Doubles{1 + 20}));
  EXPECT_EQ(plane("n2,ic4,oc2,g2,i1,k1", x, w, {}, 0, 1).value, (Doubles{300 + 4000}));
  EXPECT_EQ(plane("n2,ic4,oc2,g2,i1,k1", x, w, {}, 1, 0).value, (Doubles{5 + 60}));
  EXPECT_EQ(plane("n2,ic4,oc2,g2,i1,k1", x, w, {}, 1, 1).terms, (Indices{2}));
}

TEST(Reference, ChannelsLastReadsTheSameNumbersElsewhere) {
  const std::vector<float> w = {1, 10};
  EXPECT_EQ(plane("ic2,oc1,i3,k1", {1, 2, 3, 4, 5, 6}, w).value, (Doubles{41, 52, 63}));
  EXPECT_EQ(plane("ic2,oc1,i3,k1,cl", {1, 4, 2, 5, 3, 6}, w).value, (Doubles{41, 52, 63}));
}

TEST(Reference, WeightsAreByInputChannelFirst) {
  // [ic][oc/g][k]: output 1 takes the second of each pair.
  const std::vector<float> w = {1, 2, 10, 20};
  EXPECT_EQ(plane("ic2,oc2,i1,k1", {1, 1}, w, {}, 0, 1).value, (Doubles{22}));
}

TEST(Reference, Tf32RoundsItsOperandsTiesAway) {
  const float tie = 1.0f + 0x1p-11f;  // half way between two neighbours of 10 bits
  EXPECT_EQ(plane("ic1,oc1,i1,k1,tf32", {tie}, {1}).value, (Doubles{1 + 0x1p-10}));
  EXPECT_EQ(plane("ic1,oc1,i1,k1,tf32", {1}, {-tie}).value, (Doubles{-(1 + 0x1p-10)}));
  EXPECT_EQ(plane("ic1,oc1,i1,k1", {tie}, {1}).value, (Doubles{1 + 0x1p-11}));
  EXPECT_EQ(plane("ic1,oc1,i1,k1,tf32,bias", {0}, {1}, {tie}).value, (Doubles{1 + 0x1p-11}));
}

TEST(Reference, ReadsHalves) {
  const Problem problem = parse("ic1,oc1,i1,k1,f16,bias");
  const std::uint16_t x = f16_from_float(1.5f), w = f16_from_float(-2), b = f16_from_float(0.25f);
  EXPECT_EQ(reference_plane(problem, &x, &w, &b, 0, 0).value, (Doubles{-2.75}));
}

TEST(Reference, NansAndInfinitiesFlow) {
  const float inf = std::numeric_limits<float>::infinity();
  const ReferencePlane p = plane("ic1,oc1,i3,k2,s2,p1", {1, inf, 1}, {1, inf});
  EXPECT_EQ(p.value, (Doubles{inf, inf, inf, 1}));
  EXPECT_TRUE(std::isnan(plane("ic1,oc1,i1,k1", {0}, {inf}).value[0]));
}

}  // namespace
}  // namespace phaseconv
