// The precision contract (docs/precision.md), element by element.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "check/check.h"
#include "check/products.h"
#include "cpu/parallel.h"
#include "cpu/reference.h"
#include "element.h"

namespace phaseconv::check {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double largest_float = std::numeric_limits<float>::max();
/// A ratio of two root-mean-square errors says nothing about fewer elements.
constexpr Index fewest_for_rms = 64;

/// What the stored type of the output costs.
struct OutputType {
  explicit OutputType(DataType type) {
    if (type == DataType::f16) {
      digits = 11, lowest_exponent = -14, highest_exponent = 15, largest = 65504;
    } else if (type == DataType::bf16) {
      digits = 8, lowest_exponent = -126, highest_exponent = 127, largest = 0x1.fep127;
    }
  }
  /// The most that rounding a value up to `magnitude` can change it. The rounding of a float32 sum
  /// to float32 is part of the sum's own bound.
  double half_ulp(double magnitude) const {
    if (digits == 0 || magnitude == 0) return 0;
    const int exponent = std::clamp(std::ilogb(magnitude), lowest_exponent, highest_exponent);
    return std::ldexp(1.0, exponent - digits);
  }
  double overflow() const { return largest + half_ulp(largest); }

  int digits = 0;
  int lowest_exponent = 0;
  int highest_exponent = 0;
  double largest = largest_float;
};

struct Sums {
  double error = 0;  ///< of squared errors
  double value = 0;  ///< of squared references
  Index count = 0;
};

/// What one plane, or all of them, came to.
struct Tally {
  double worst = 0;
  Index wrong = 0;
  Sums all;            ///< every finite element
  Sums sampled;        ///< where `plain` was computed too
  Sums plain;          ///< float32 loop
  std::string reason;  ///< of the first wrong element

  void add(const Tally& next) {
    worst = std::max(worst, next.worst);
    wrong += next.wrong;
    for (auto sums : {&Tally::all, &Tally::sampled, &Tally::plain}) {
      (this->*sums).error += (next.*sums).error;
      (this->*sums).value += (next.*sums).value;
      (this->*sums).count += (next.*sums).count;
    }
    if (reason.empty()) reason = next.reason;
  }
};

class PlaneCheck {
 public:
  PlaneCheck(const Problem& problem, const Data& data, const void* output, bool exact, Index n,
             Index oc)
      : problem_(problem),
        data_(data),
        output_(output),
        exact_(exact),
        type_(problem.type),
        n_(n),
        oc_(oc),
        reference_(reference_plane(problem, data.input.data(), data.weight.data(),
                                   problem.bias ? data.bias.data() : nullptr, n, oc)) {}

  Tally run(bool with_plain) {
    Tally tally;
    std::vector<float> plain;
    if (with_plain) plain = plain_plane();
    for (Index i = 0; i < problem_.output_positions(); ++i) {
      const double got = output(i);
      const double expected = reference_.value[i];
      const double ratio = exact_ ? exact_ratio(i, got) : contract_ratio(i, got);
      tally.worst = std::max(tally.worst, ratio);
      if (ratio > 1 && tally.wrong++ == 0) tally.reason = describe(i, got);
      if (!std::isfinite(expected) || !std::isfinite(got)) continue;
      add(tally.all, got, expected);
      // Sums near overflow would outweigh all others together: the ratio is about ordinary ones.
      if (with_plain && reference_.magnitude[i] < 0x1p100) {
        add(tally.sampled, got, expected);
        add(tally.plain, plain[i], expected);
      }
    }
    return tally;
  }

 private:
  static void add(Sums& sums, double got, double expected) {
    sums.error += (got - expected) * (got - expected);
    sums.value += expected * expected;
    ++sums.count;
  }

  double output(Index i) const {
    const Index positions = problem_.output_positions();
    const Index at = problem_.layout == Layout::channels_first
                         ? (n_ * problem_.out_channels + oc_) * positions + i
                         : (n_ * positions + i) * problem_.out_channels + oc_;
    return load_value(output_, problem_.type, at);
  }

  /// The reference rounded once to the type of the output.
  double rounded(Index i) const {
    float value = 0;
    store_value(&value, problem_.type, 0, static_cast<float>(reference_.value[i]));
    return load_value(&value, problem_.type, 0);
  }

  double exact_ratio(Index i, double got) const {
    const double expected = rounded(i);
    const bool same = got == expected || (std::isnan(got) && std::isnan(expected));
    return same ? 0 : infinity;
  }

  double sum_bound(Index i) const {
    const double unit = problem_.type == DataType::f32 ? 0x1p-24 : 0x1p-22;
    return static_cast<double>(reference_.terms[i] + 16) * unit * reference_.magnitude[i];
  }

  double bound(Index i) const {
    const double sum = sum_bound(i);
    return sum + type_.half_ulp(std::abs(reference_.value[i]) + sum);
  }

  /// Error over bound; infinite where no error is allowed, or none can be stated.
  double contract_ratio(Index i, double got) {
    const double expected = reference_.value[i];
    if (std::isnan(expected)) return std::isnan(got) ? 0 : infinity;
    if (std::isinf(expected)) {
      if (got == expected) return 0;
      // An infinite operand met a finite product that overflows float32 the other way.
      return std::isnan(got) && finite_magnitude(i) > largest_float / 2 ? 0 : infinity;
    }
    if (!std::isfinite(got)) {
      // Products and partial sums may overflow though the whole does not; an overflow of the
      // output itself has the sign of the sum.
      if (reference_.magnitude[i] + sum_bound(i) > largest_float) return 0;
      const bool overflows = std::abs(expected) + bound(i) >= type_.overflow();
      return overflows && got == std::copysign(infinity, expected) ? 0 : infinity;
    }
    const double error = std::abs(got - expected);
    return error == 0 ? 0 : error / bound(i);
  }

  /// Sum of the finite |x·w| of an element that has infinite ones too.
  double finite_magnitude(Index i) {
    if (finite_magnitude_.empty()) {
      finite_magnitude_.resize(reference_.value.size());
      const DataType type = problem_.type;
      for_each_product(problem_, n_, oc_, [&](Index position, Index input, Index weight) {
        const double product = double{load_operand(data_.input.data(), type, input)} *
                               double{load_operand(data_.weight.data(), type, weight)};
        if (std::isfinite(product)) finite_magnitude_[position] += std::abs(product);
      });
    }
    return finite_magnitude_[i];
  }

  /// The definition summed in float32, in the order in which it is written.
  std::vector<float> plain_plane() const {
    std::vector<float> sums(reference_.value.size());
    const auto* x = reinterpret_cast<const float*>(data_.input.data());
    const auto* w = reinterpret_cast<const float*>(data_.weight.data());
    for_each_product(problem_, n_, oc_, [&](Index position, Index input, Index weight) {
      sums[position] += x[input] * w[weight];
    });
    if (problem_.bias) {
      for (float& sum : sums) sum += load_value(data_.bias.data(), problem_.type, oc_);
    }
    return sums;
  }

  std::string describe(Index i, double got) const {
    const Index height = problem_.axes[1].output();
    const Index width = problem_.axes[2].output();
    char text[240];
    std::snprintf(text, sizeof text,
                  "first at n %lld, oc %lld, d %lld, h %lld, w %lld: got %.9g, expected %.9g, ", n_,
                  oc_, i / width / height, i / width % height, i % width, got,
                  exact_ ? rounded(i) : reference_.value[i]);
    std::string line = text;
    if (exact_) return line + "exactly";
    std::snprintf(text, sizeof text, "bound %.3g, %lld terms", bound(i), reference_.terms[i]);
    return line + text;
  }

  const Problem& problem_;
  const Data& data_;
  const void* output_;
  bool exact_;
  OutputType type_;
  Index n_, oc_;
  ReferencePlane reference_;
  std::vector<double> finite_magnitude_;
};

/// Of how many planes one is also summed in float32: all of a small problem, else so few that the
/// reference remains the larger part of the work. Odd, so that the sample walks through channels.
Index plain_step(const Problem& problem, Index planes) {
  if (problem.flops() < 0x1p24) return 1;
  return std::max<Index>(1, std::min<Index>(planes / 4, 16) - 1) | 1;
}

Result summary(const Tally& total, const Problem& problem, bool exact) {
  Result result;
  result.max_error_over_bound = total.worst;
  result.wrong = total.wrong;
  if (total.all.error > 0) result.rms_error = std::sqrt(total.all.error / total.all.value);
  if (total.wrong > 0) {
    result.reason = std::to_string(total.wrong) + " of " +
                    std::to_string(problem.output_elements()) + " wrong, " + total.reason;
  } else if (!exact && total.sampled.count >= fewest_for_rms && total.sampled.error > 0) {
    result.rms_over_plain = std::sqrt(total.sampled.error / total.plain.error);
    if (result.rms_over_plain > 4) {
      char text[160];
      std::snprintf(text, sizeof text,
                    "root-mean-square error is %.3g times that of a plain float32 loop, "
                    "at most 4 is allowed",
                    result.rms_over_plain);
      result.reason = text;
    }
  }
  result.pass = result.reason.empty();
  return result;
}

}  // namespace

Result compare(const Problem& problem, const Data& data, const void* output, bool exact,
               const Options& options) {
  const Index planes = problem.batch * problem.out_channels;
  const bool wants_plain = problem.type == DataType::f32 && !exact;
  const Index step = plain_step(problem, planes);
  // One tally a plane, added in order: the result does not depend on the threads.
  std::vector<Tally> tallies(static_cast<std::size_t>(planes));
  parallel_for(options)(planes, [&](Index begin, Index end) {
    for (Index plane = begin; plane < end; ++plane) {
      PlaneCheck check(problem, data, output, exact, plane / problem.out_channels,
                       plane % problem.out_channels);
      tallies[plane] = check.run(wants_plain && plane % step == 0);
    }
  });
  Tally total;
  for (const Tally& tally : tallies) total.add(tally);
  return summary(total, problem, exact);
}

}  // namespace phaseconv::check
