// The vector code: a few small functions, compiled once per instruction set. Everything above them
// (worker.cpp) is plain C++ and knows neither lanes nor element types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phaseconv/problem.h"

namespace phaseconv::cpu {

/// sums[a][b] += scalars[tap][a][i] * vectors[tap][i][b], summed over the taps of one phase and
/// over i: a small matrix product per tap. Rows a and i lie `*_row` floats apart, b and the i of a
/// scalar row are contiguous, taps lie `*_step` floats apart along d, h, w.
struct Product {
  const float* scalars = nullptr;
  const float* vectors = nullptr;
  float* sums = nullptr;
  Index scalar_row = 0;
  Index vector_row = 0;
  Index sums_row = 0;
  Index scalar_step[3] = {};
  Index vector_step[3] = {};
  Index taps[3] = {};
  Index depth = 0;  ///< number of i
};
using Multiply = void (*)(const Product&);

constexpr int max_rows = 8;     ///< rows a of one register tile
constexpr int max_vectors = 4;  ///< vectors along b of one; more gain little and compile long

/// Whether a register tile fits: its sums, one row of vectors and the scalar that multiplies them.
constexpr bool fits(Index rows, Index vectors, Index registers) {
  return rows * vectors + vectors + 1 <= registers;
}

struct Kernels {
  const char* target;  ///< as Highway names it
  std::int64_t bit;    ///< Highway's bit for it
  Index lanes;         ///< floats of a vector
  Index registers;     ///< vector registers
  /// [rows - 1][vectors - 1]; null where it does not fit.
  Multiply multiply[max_rows][max_vectors];

  /// Reads `count` contiguous elements of `type` as operands: tf32 is rounded.
  void (*load)(DataType type, const void* from, Index count, float* to);
  /// Writes `count` contiguous elements, rounded to nearest even; `stream` goes past the caches
  /// (call `flush` before the memory is handed on).
  void (*store)(DataType type, const float* from, Index count, void* to, bool stream);
  void (*flush)();
  /// row[cell * planes + r] = from[r * pitch + cell], for 2 to 4 planes and whole vectors of cells.
  void (*interleave)(const float* from, Index pitch, Index planes, Index cells, float* row);
  /// Multiply-adds from registers alone; returns how many floating-point operations that was.
  double (*burn)(Index repeats, float* result);
};

/// The kernels of one instruction set by Highway's name ("AVX2"); of the best one where `name` is
/// empty. Throws `Unsupported` naming those that this CPU can run.
const Kernels& kernels(const std::string& name);

/// What `kernels` accepts here, best first.
std::vector<std::string> instruction_sets();

}  // namespace phaseconv::cpu
