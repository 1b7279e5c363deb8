// Checks results against the float64 reference under the precision contract (docs/precision.md).
// Used by `phaseconv verify` and by the tests; no backend is named here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "phaseconv/convolution.h"

namespace phaseconv::check {

/// `random`: normal-like values; `integers`: small integers whose sums are exact in every type;
/// `special`: random with NaN, Inf and huge values sprinkled in.
enum class Fill { random, integers, special };

/// Host data of one problem, in its element type and layout.
struct Data {
  std::vector<std::byte> input, weight, bias;  ///< bias empty where the problem has none
};
/// The same problem, fill and seed give the same data on every machine.
Data make_data(const Problem& problem, Fill fill, std::uint64_t seed);

struct Result {
  bool pass = false;
  double max_error_over_bound = 0;  ///< largest |y - reference| / bound; at most 1 passes
  double rms_error = 0;             ///< root-mean-square of (y - reference), over that of reference
  double rms_over_plain = 0;        ///< f32: rms error over that of a plain float32 loop; at most 4
  Index wrong = 0;                  ///< elements outside the bound
  std::string reason;               ///< empty where it passed; else the first wrong element
};

/// Compares an output on the host (in the problem's type and layout) with the reference. `exact`
/// asks for equality, bit by bit of value (only meaningful for integer data).
Result compare(const Problem& problem, const Data& data, const void* output, bool exact,
               const Options& options = {});

/// Prepares, packs, runs into poisoned memory with canaries on both sides, copies back, compares.
/// All `runs` (at least 2) must give the same bits.
struct Outcome {
  Result result;
  std::string plan;
  std::string backend;
};
Outcome verify(const Problem& problem, const Device& device, const Options& options, Fill fill,
               std::uint64_t seed, bool exact, int runs = 2);

/// The same for a convolution that is already prepared.
Outcome verify(const TransposedConvolution& conv, const Options& options, Fill fill,
               std::uint64_t seed, bool exact, int runs = 2);

/// Reads a suite: one problem string a line, '#' starts a comment. Throws `Invalid` with the line.
std::vector<Problem> read_suite(const std::string& text, const std::string& name);

}  // namespace phaseconv::check
