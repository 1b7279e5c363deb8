// The problem string, validation and its messages, sizes.
#include "phaseconv/problem.h"

#include <gtest/gtest.h>

#include <unordered_set>

namespace phaseconv {
namespace {

std::string message(const std::string& text) {
  try {
    parse(text);
  } catch (const Invalid& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(ProblemString, Reads) {
  const Problem p =
      parse("n3,ic30,oc18,g6,i17x29x41,k3x4x5,s2x3x2,p1x2x0,op1x0x1,d1x1x2,bias,f16,cl");
  EXPECT_EQ(p.rank, 3);
  EXPECT_EQ(p.batch, 3);
  EXPECT_EQ(p.in_channels, 30);
  EXPECT_EQ(p.out_channels, 18);
  EXPECT_EQ(p.groups, 6);
  EXPECT_EQ(p.axes[1], (Axis{29, 4, 3, 2, 0, 1}));
  EXPECT_EQ(p.axes[2], (Axis{41, 5, 2, 0, 1, 2}));
  EXPECT_TRUE(p.bias);
  EXPECT_EQ(p.type, DataType::f16);
  EXPECT_EQ(p.layout, Layout::channels_last);
}

TEST(ProblemString, LeadingAxesOfLowerRanksAreNotThere) {
  const Problem p = parse("ic4,oc2,i7,k3,s2");
  EXPECT_EQ(p.rank, 1);
  EXPECT_EQ(p.axes[0], Axis{});
  EXPECT_EQ(p.axes[1], Axis{});
  EXPECT_EQ(p.axes[2], (Axis{7, 3, 2, 0, 0, 1}));
}

TEST(ProblemString, PrintsCanonically) {
  // Any order in, the canonical order out; defaults and repeated numbers left out.
  EXPECT_EQ(to_string(parse("cf,f32,k3x3x3,oc32,ic32,n4,g4,d1,s2,op0,p1x1x1,i32x64x128")),
            "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1");
  EXPECT_EQ(to_string(parse("tf32,i8x8,ic1,oc1,k1,n1,bias")), "ic1,oc1,i8x8,k1,bias,tf32");
  EXPECT_EQ(to_string(parse("i5x6,k3x4,oc1,ic2,s2x2")), "ic2,oc1,i5x6,k3x4,s2");
}

TEST(ProblemString, IsAnIdentityAndAKey) {
  std::unordered_set<Problem> seen;
  for (const char* text :
       {"n4,ic32,oc32,g4,i32x64x128,k3,s2,p1",
        "n3,ic30,oc18,g6,i17x29x41,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias,f16,cl", "n0,ic1,oc1,i1,k1",
        "ic1,oc1,i9,k4,s3,d2,bf16", "ic8,oc8,g8,i3x3,k2,cl"}) {
    const Problem p = parse(text);
    EXPECT_EQ(to_string(p), text);
    EXPECT_EQ(parse(to_string(p)), p);
    EXPECT_TRUE(seen.insert(p).second);
    EXPECT_FALSE(seen.insert(parse(text)).second);
  }
}

TEST(Problem, SizesOfTheFirstProblem) {
  const Problem p = parse("n4,ic32,oc32,g4,i32x64x128,k3,s2,p1");
  EXPECT_EQ(p.axes[0].output(), 63);
  EXPECT_EQ(p.axes[1].output(), 127);
  EXPECT_EQ(p.axes[2].output(), 255);
  EXPECT_EQ(p.output_elements(), 261152640);
  EXPECT_EQ(p.weight_elements(), 32 * 8 * 27);
  EXPECT_EQ(p.bytes(), 4.0 * (4.0 * 32 * 32 * 64 * 128 + 32 * 8 * 27 + 261152640));
  // Along an axis of I inputs, tap 0 loses the first (its output is padding), tap 2 the last.
  EXPECT_EQ(p.flops(), 2.0 * 4 * 32 * 8 * (3 * 32 - 2) * (3 * 64 - 2) * (3 * 128 - 2));
}

struct Message {
  const char* text;
  const char* expected;
};

class Messages : public testing::TestWithParam<Message> {};

TEST_P(Messages, SaysWhatIsWrongAndWhatIsAllowed) {
  EXPECT_EQ(message(GetParam().text), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(
    String, Messages,
    testing::Values(
        Message{"", "problem string is empty; an example: n4,ic32,oc32,g4,i32x64x128,k3,s2,p1"},
        Message{"ic1,,oc1", "problem string: empty field (two commas, or one at an end)"},
        Message{"ic1,oc1,i4,k1,", "problem string: empty field (two commas, or one at an end)"},
        Message{"ic1,oc1,i4,k1,q7",
                "problem string: field 'q7' is not known; fields are n ic oc g i k s p op d with "
                "numbers, and f32 tf32 f16 bf16 cf cl bias"},
        Message{"ic1, oc1,i4,k1",
                "problem string: field ' oc1' is not known; fields are n ic oc g i k s p op d with "
                "numbers, and f32 tf32 f16 bf16 cf cl bias"},
        Message{"ic1,oc1,i4,k",
                "problem string: field 'k' needs a whole number after its name, or up to three "
                "with 'x' between"},
        Message{"ic1,oc1,i4,k-3",
                "problem string: field 'k-3' needs a whole number after its name, or up to three "
                "with 'x' between"},
        Message{"ic1,oc1,i4x,k3",
                "problem string: field 'i4x' needs a whole number after its name, or up to three "
                "with 'x' between"},
        Message{"ic1,oc1,i4,k3y", "problem string: field 'k3y' has 'y' after its number"},
        Message{"ic1,oc1,i1x2x3x4,k3",
                "problem string: field 'i1x2x3x4' has 'x4' after its number"},
        Message{"ic1,oc1,i4,k99999999999999999999",
                "problem string: field 'k99999999999999999999' does not fit in 64 bits"},
        Message{"ic1,oc1,i4,k3,k3",
                "problem string: field 'k3' repeats one that was already given"},
        Message{"ic1,oc1,i4,k3,f16,f32",
                "problem string: field 'f32' repeats one that was already given"},
        Message{"ic1x2,oc1,i4,k3", "problem string: field 'ic1x2' takes one number"},
        Message{"ic1,oc1,i4x4,k3x3x3",
                "problem string: field 'k3x3x3' has 3 numbers for a problem with 2 axes (field i "
                "sets it)"},
        Message{"ic1,oc1,k3",
                "problem string: field 'i' is missing in 'ic1,oc1,k3'; ic, oc, i and k are always "
                "needed"}));

INSTANTIATE_TEST_SUITE_P(
    Sizes, Messages,
    testing::Values(
        Message{"ic1,oc1,i4x4,k2,s1,p3x0",
                "padding 3 on axis h leaves no output: (4-1)*1 - 2*3 + 1*(2-1) + 0 + 1 = -1; "
                "padding must be at most 2 here"},
        Message{"ic1,oc1,i1,k1,p1",
                "padding 1 on axis w leaves no output: (1-1)*1 - 2*1 + 1*(1-1) + 0 + 1 = -1; "
                "padding must be at most 0 here"},
        Message{"ic0,oc1,i4,k1", "number of input channels is 0; it must be at least 1"},
        Message{"ic1,oc0,i4,k1", "number of output channels is 0; it must be at least 1"},
        Message{"ic4,oc4,g0,i4,k1", "number of groups is 0; it must be at least 1"},
        Message{"ic4,oc6,g4,i4,k1", "output channels (6) must be divisible by groups (4)"},
        Message{"ic6,oc4,g4,i4,k1", "input channels (6) must be divisible by groups (4)"},
        Message{"ic1,oc1,i0x4,k1", "input size on axis h is 0; it must be at least 1"},
        Message{"ic1,oc1,i4,k0", "kernel size on axis w is 0; it must be at least 1"},
        Message{"ic1,oc1,i4,k1,s0", "stride on axis w is 0; it must be at least 1"},
        Message{"ic1,oc1,i4,k1,d0", "dilation on axis w is 0; it must be at least 1"},
        Message{"ic1,oc1,i4,k1,s2147483648",
                "stride on axis w is 2147483648; it must be at most 2147483647"},
        Message{"ic1,oc1,i4x4x4,k3,s2,op0x2x0",
                "output padding 2 on axis h must be smaller than the stride (2) or the dilation "
                "(1)"},
        Message{"ic1,oc1,i9000000000000000000,k3,s2",
                "the output size on axis w does not fit in 64 bits"},
        Message{"n4000000000,ic4000000000,oc1,i4,k1",
                "the input would hold more bytes than 64 bits can count"},
        Message{"ic4000000000,oc4000000000,i4,k1",
                "the weight would hold more bytes than 64 bits can count"},
        Message{"n2000000000,ic1,oc1,i2,k1,s2000000000",
                "the output would hold more bytes than 64 bits can count"}));

TEST(Problem, RefusesWhatOnlyCodeCanBuild) {
  Problem p = parse("ic1,oc1,i4,k1");
  p.axes[0].kernel = 2;
  EXPECT_THROW(p.validate(), Invalid);
  p = parse("ic1,oc1,i4,k1");
  p.rank = 4;
  EXPECT_THROW(p.validate(), Invalid);
  p = parse("ic1,oc1,i4,k1");
  p.batch = -1;
  EXPECT_THROW(p.validate(), Invalid);
}

}  // namespace
}  // namespace phaseconv
