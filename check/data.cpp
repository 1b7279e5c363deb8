// Data for checks and benchmarks. Every element is a function of (seed, array, index) alone, in
// integer arithmetic and at most one float32 rounding: the same on every machine and compiler.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "check/check.h"
#include "element.h"

namespace phaseconv::check {
namespace {

std::uint64_t mix(std::uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// splitmix64 read by index instead of in turn.
class RandomBits {
 public:
  RandomBits(std::uint64_t seed, std::uint64_t stream) : start_(mix(seed) ^ mix(~stream)) {}
  std::uint64_t operator()(Index index) const {
    return mix(start_ + (static_cast<std::uint64_t>(index) + 1) * 0x9e3779b97f4a7c15u);
  }

 private:
  std::uint64_t start_;
};

/// The most products that one output can sum.
double most_terms(const Problem& problem) {
  double terms = static_cast<double>(problem.in_channels_per_group());
  for (const Axis& axis : problem.axes) {
    const Index step = Phases(axis).tap_step;
    terms *= static_cast<double>(std::min((axis.kernel + step - 1) / step, axis.input));
  }
  return terms;
}

/// Largest absolute value for which sums of `terms` products stay exact in float32, and where there
/// is room for it in the output type too. 16-bit outputs of long sums may round: once, as the
/// reference does, because the float32 sum that is rounded is exact.
Index integer_range(const Problem& problem) {
  const double room = problem.type == DataType::bf16  ? 0x1p8
                      : problem.type == DataType::f16 ? 0x1p11
                                                      : 0x1p23;
  const double range = std::sqrt(room / (most_terms(problem) + 1));
  return static_cast<Index>(std::clamp(range, 1.0, 8.0));
}

/// The sum of four uniform numbers, scaled to variance 1. The factor sqrt(3) fills all 24 bits.
float normal_like(std::uint64_t bits) {
  const auto sum = static_cast<Index>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                      ((bits >> 32) & 0xffff) + (bits >> 48));
  return static_cast<float>(sum - 2 * 0xffff) * (1.7320508f * 0x1p-16f);
}

float special_value(std::uint64_t bits, DataType type) {
  const float infinite = std::numeric_limits<float>::infinity();
  const float huge = type == DataType::f16 ? 60000.0f : 3e38f;
  switch (bits % 8) {
    case 0:
      // As processors make it, and with all bits set, as GPUs do.
      return std::bit_cast<float>((bits & 8 ? 0x7fc00000u : 0x7fffffffu) |
                                  static_cast<std::uint32_t>(bits >> 4 & 1) << 31);
    case 1:
      return infinite;
    case 2:
      return -infinite;
    case 3:
      return huge;
    case 4:
      return -huge;
    case 5:
      return 0.0f;
    case 6:
      return -0.0f;
    default:
      return 1.0f;
  }
}

struct Recipe {
  Fill fill;
  DataType type;
  Index range;           ///< of integers
  double special_share;  ///< of elements that are special
};

std::vector<std::byte> make_array(Index count, const Recipe& recipe, const RandomBits& random) {
  std::vector<std::byte> array(static_cast<std::size_t>(count) * element_size(recipe.type));
  for (Index i = 0; i < count; ++i) {
    const std::uint64_t bits = random(i);
    float value = 0;
    if (recipe.fill == Fill::integers) {
      const auto values = static_cast<std::uint64_t>(2 * recipe.range + 1);
      value = static_cast<float>(static_cast<Index>(bits % values) - recipe.range);
    } else {
      value = normal_like(bits);
      if (recipe.fill == Fill::special) {
        const std::uint64_t other = mix(~bits);
        if (static_cast<double>(other >> 11) * 0x1p-53 < recipe.special_share) {
          value = special_value(other, recipe.type);
        }
      }
    }
    store_value(array.data(), recipe.type, i, value);
  }
  return array;
}

}  // namespace

Data make_data(const Problem& problem, Fill fill, std::uint64_t seed) {
  // So few specials that about half of the outputs are free of them, whatever the length of a sum.
  const double terms = most_terms(problem);
  Recipe recipe{fill, problem.type, integer_range(problem), 1 / (2 * terms + 2)};
  Data data;
  data.input = make_array(problem.input_elements(), recipe, RandomBits(seed, 0));
  recipe.special_share = 1 / (4 * terms + 4);
  data.weight = make_array(problem.weight_elements(), recipe, RandomBits(seed, 1));
  recipe.special_share = 1.0 / 8;
  if (problem.bias) data.bias = make_array(problem.out_channels, recipe, RandomBits(seed, 2));
  return data;
}

}  // namespace phaseconv::check
