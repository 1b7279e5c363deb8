// The vector code: a few small functions, compiled once per instruction set. Everything above them
// (tasks.h) is plain C++ and knows neither lanes nor element types.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "phaseconv/problem.h"

namespace phaseconv::cpu {

/// Where one kernel tap finds its operands, in the units that a `Product` gives.
struct Tap {
  Index scalar;
  Index vector;
};

/// sums[a][b] += scalars[tap][i][a] * vectors[tap][i][b], summed over the taps of one phase and
/// over i, taps outermost: a small matrix product per tap. Elementwise kernels have a scalar for
/// every b: sums[a][b] += scalars[tap][a][b] * vectors[tap][b], and no i. Steps are in floats;
/// neighbouring b lie side by side.
struct Product {
  const float* scalars = nullptr;
  const float* vectors = nullptr;
  float* sums = nullptr;
  const Tap* taps = nullptr;
  Index tap_count = 0;
  Index scalar_tap = 1;   ///< what Tap::scalar counts
  Index vector_tap = 1;   ///< what Tap::vector counts
  Index scalar_row = 0;   ///< from a to a
  Index scalar_next = 0;  ///< from i to i
  Index vector_next = 0;  ///< from i to i
  Index sums_row = 0;     ///< from a to a
  Index depth = 1;        ///< number of i
  /// Null: the sums go on from what they hold. Else what they start as: start[a * start_row] or,
  /// with `start_along`, start[b].
  const float* start = nullptr;
  bool start_along = false;
  Index start_row = 0;
  // Of `Kernels::multiply` and `multiply_adjacent` alone:
  bool stream = false;  ///< the sums go past the caches: whole vectors
  /// Not null: they go to turned[b * turned_pitch + a] instead, and something to the next places up
  /// to a multiple of four of a.
  float* turned = nullptr;
  Index turned_pitch = 0;
  // The same again `repeats` times, each time this much further on.
  Index repeats = 1;
  Index scalar_repeat = 0, vector_repeat = 0, sums_repeat = 0, start_repeat = 0, turned_repeat = 0;
};
using Multiply = void (*)(const Product&);

constexpr int max_rows = 8;     ///< rows a of one register tile
constexpr int most_rows = 28;   ///< where their scalars lie side by side
constexpr int max_vectors = 6;  ///< vectors along b of one; more gain little and compile long

/// One tap along d and h of the two phases along w of a stride of 2: the vectors that it reads, and
/// the weights for either phase, in rows of `width`; negative: that phase has no tap here.
struct RowTap {
  Index vector = 0;
  Index weight[2] = {-1, -1};
};

/// Both phases along w of a stride of 2, interleaved in registers and written:
///     sums[r][a][b] = starts[a] + sum over the taps and i of weights[(tap.weight[r] + i) * width +
///     a]
///                                               * vectors[tap.vector + i * vector_next + b]
/// with `depth_at_once` of the i for all taps before the next ones. Vector n of the sums of a,
/// interleaved, goes to to[a * to_row + places[n]] where that is not negative; null: they go there
/// one after the other.
struct RowProduct {
  const RowTap* taps = nullptr;
  Index tap_count = 0;
  const float* weights = nullptr;
  Index width = 0;  ///< of the weights of one i
  const float* vectors = nullptr;
  Index vector_next = 0;
  Index depth = 1;  ///< number of i
  Index depth_at_once = 1;
  const float* starts = nullptr;
  float* to = nullptr;
  Index to_row = 0;
  const Index* places = nullptr;                   ///< two for each vector of cells
  Index room = std::numeric_limits<Index>::max();  ///< floats from `to` on that are written
  bool stream = false;  ///< past the caches; then there are places, those of whole vectors
  // The same again `repeats` times along the row, and all of it for `lines` rows, each time this
  // much further on.
  Index repeats = 1, vector_repeat = 0, to_repeat = 0;
  // The rows a of `Kernels::multiply_lines` are these lines, whole tiles of them.
  Index lines = 1, vector_line = 0, to_line = 0;
};
using MultiplyRows = void (*)(const RowProduct&);

/// Whether a register tile fits: its sums, one row of vectors and the scalar that multiplies them,
/// or the scalars and one vector. Five and six vectors are for a single row.
constexpr bool fits(Index rows, Index vectors, Index registers) {
  return rows * vectors + std::min(rows, vectors) + 1 <= registers && rows <= max_rows &&
         (rows == 1 || vectors <= 4);
}

/// The same where the rows' scalars lie side by side. More rows for a single vector, which has as
/// many loads as multiply-adds else; one address serves them all.
constexpr bool fits_adjacent(Index rows, Index vectors, Index registers) {
  return fits(rows, vectors, registers) ||
         (vectors == 1 && rows + 2 <= registers && rows <= most_rows);
}

/// The same for both phases along w.
constexpr bool fits_rows(Index rows, Index vectors, Index registers) {
  return 2 * rows * vectors + vectors + 1 <= registers;
}

/// The same with lines in the rows: the scalars of a tap, and one vector.
constexpr bool fits_lines(Index rows, Index vectors, Index registers) {
  return 2 * rows * vectors + 3 <= registers;
}

/// [rows - 1][vectors - 1]; null where it does not fit.
using MultiplyTable = Multiply[max_rows][max_vectors];
using MultiplyAdjacentTable = Multiply[most_rows][max_vectors];
using MultiplyRowsTable = MultiplyRows[max_rows][max_vectors];

/// `runs` runs of `count` contiguous elements each, that lie `from_step` apart here and `to_step`
/// apart there (in elements).
struct Runs {
  Index runs = 1;
  Index count = 0;
  Index from_step = 0;
  Index to_step = 0;
};

/// A row of values from planes of sums: value i is from[i % count * pitch + i / count].
struct Planes {
  const float* from = nullptr;
  Index pitch = 0;
  Index count = 1;
};

/// The last, unfinished cache line of a row of outputs that goes past the caches: only whole lines
/// should, and the next row may go on where this one ended.
struct PendingLine {
  alignas(64) float values[16];  ///< from the line's beginning
  float* next = nullptr;         ///< where the next value would go
  Index count = 0;               ///< of values
};

struct Kernels {
  const char* target;  ///< as Highway names it
  std::int64_t bit;    ///< Highway's bit for it
  Index lanes;         ///< floats of a vector
  Index registers;     ///< vector registers
  MultiplyTable multiply;
  MultiplyAdjacentTable multiply_adjacent;  ///< for scalar_row = 1
  MultiplyTable multiply_single;            ///< for depth 1
  MultiplyTable multiply_elementwise;
  MultiplyRowsTable multiply_rows;
  MultiplyRowsTable multiply_rows_single;  ///< for depth 1
  MultiplyRowsTable multiply_lines;        ///< for depth 1 and one channel

  /// Reads elements of `type` as operands: tf32 is rounded.
  void (*load)(DataType type, const void* from, float* to, const Runs& runs);
  /// Writes elements, rounded to nearest even.
  void (*store)(DataType type, const float* from, void* to, const Runs& runs);
  /// Writes values [first, first + count) of a row. A line and a vector of every plane may be read
  /// on either side of them.
  void (*write)(const Planes& row, Index first, Index count, float* to);
  /// Writes them past the caches; the last few stay in `pending` until `flush`, which must come
  /// before the memory is handed on.
  void (*stream)(const Planes& row, Index first, Index count, float* to, PendingLine& pending);
  void (*flush)(PendingLine& pending);
  /// to[c * to_pitch + r] = from[r * from_pitch + c].
  void (*transpose)(const float* from, Index rows, Index columns, Index from_pitch, float* to,
                    Index to_pitch);
  /// Multiply-adds from registers alone; returns how many floating-point operations that was.
  double (*burn)(Index repeats, float* result);
};

/// The kernels of one instruction set by Highway's name ("AVX2"); of the best one where `name` is
/// empty. Throws `Unsupported` naming those that this CPU can run.
const Kernels& kernels(const std::string& name);

/// What `kernels` accepts here, best first.
std::vector<std::string> instruction_sets();

}  // namespace phaseconv::cpu
