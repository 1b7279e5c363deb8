// Mutated problem strings: parse says Invalid, or gives a problem that prints to itself.
#include <gtest/gtest.h>

#include <random>

#include "phaseconv/problem.h"

namespace phaseconv {
namespace {

constexpr int strings = 100000;

const std::vector<std::string> seeds = {
    "n4,ic32,oc32,g4,i32x64x128,k3,s2,p1",
    "n3,ic30,oc18,g6,i17x29x41,k3x4x5,s2x3x2,p1x2x0,op1x0x1,bias,f16,cl",
    "ic1,oc1,i1,k1",
    "n0,ic64,oc64,g64,i80x80,k4,s2,p1,d1,tf32",
    "ic7,oc5,i100,k9,s3,p4,op2,d2,bf16,cf,bias",
    "n1,ic512,oc256,i4x4x4,k1x2x3,s1x2x3,p0x0x1,op0x1x2,d3x2x1",
};

const std::vector<std::string> pieces = {",",
                                         ",,",
                                         "x",
                                         "xx",
                                         "-",
                                         "+",
                                         "0",
                                         "1",
                                         "00",
                                         "9223372036854775807",
                                         "9223372036854775808",
                                         "-1",
                                         "2147483647",
                                         "2147483648",
                                         "4294967296",
                                         "99999999999999999999",
                                         "1e3",
                                         "0x10",
                                         " ",
                                         "\n",
                                         "\t",
                                         "\x80",
                                         "f32",
                                         "tf32",
                                         "f16",
                                         "bf16",
                                         "cf",
                                         "cl",
                                         "bias",
                                         "n",
                                         "ic",
                                         "oc",
                                         "g",
                                         "i",
                                         "k",
                                         "s",
                                         "p",
                                         "op",
                                         "d",
                                         "i0",
                                         "k0",
                                         "s0",
                                         "p-1",
                                         "op",
                                         "d0",
                                         "n0",
                                         "g3",
                                         "k1x2x3x4",
                                         "ic4,",
                                         "=",
                                         "N4",
                                         "f64"};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::string next() {
    std::string text = pick(seeds);
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) edit(text);
    return text;
  }

 private:
  std::size_t below(std::size_t count) { return random_() % count; }
  const std::string& pick(const std::vector<std::string>& list) { return list[below(list.size())]; }

  void edit(std::string& text) {
    const std::size_t at = below(text.size() + 1);
    switch (below(8)) {
      case 0:
        text.insert(at, pick(pieces));
        break;
      case 1:
        text.erase(at, 1 + below(4));
        break;
      case 2:
        text.replace(at, std::min<std::size_t>(1, text.size() - at), 1,
                     static_cast<char>(random_()));
        break;
      case 3:  // another field
        text += "," + pick(pieces) + std::to_string(below(70));
        break;
      case 4:  // another number
        number(text);
        break;
      case 5:  // a part twice, or elsewhere
        text.insert(below(text.size() + 1), text.substr(at, below(12)));
        break;
      case 6:
        text.resize(at);
        break;
      default: {
        const std::string& other = pick(seeds);
        text = text.substr(0, at) + other.substr(below(other.size()));
      }
    }
  }

  void number(std::string& text) {
    const std::size_t begin = text.find_first_of("0123456789", below(text.size() + 1));
    if (begin == std::string::npos) return;
    const std::size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
    const std::uint64_t value = random_() >> below(64);
    text.replace(begin, end - begin, std::to_string(below(3) > 0 ? value % 40 : value));
  }

  std::mt19937_64 random_;
};

TEST(FuzzStrings, ParseRefusesOrRoundTrips) {
  Mutator mutator(20260101);
  int legal = 0;
  for (int i = 0; i < strings; ++i) {
    const std::string text = mutator.next();
    try {
      const Problem problem = parse(text);
      const std::string canonical = to_string(problem);
      const Problem again = parse(canonical);
      ASSERT_EQ(again, problem) << text << " printed as " << canonical;
      ASSERT_EQ(to_string(again), canonical) << text;
      for (const Axis& axis : problem.axes) ASSERT_GE(axis.output(), 1) << text;
      ASSERT_GE(problem.input_elements(), 0) << text;
      ASSERT_GE(problem.output_elements(), 0) << text;
      ASSERT_GT(problem.weight_elements(), 0) << text;
      ++legal;
    } catch (const Invalid& error) {
      ASSERT_GT(std::string(error.what()).size(), 10u) << text;
    }
  }
  // Both ways are taken often.
  EXPECT_GT(legal, strings / 20);
  EXPECT_LT(legal, strings * 19 / 20);
}

}  // namespace
}  // namespace phaseconv
