// Compiled once per instruction set by kernels.cpp; see kernels.h for the contracts.
#if defined(PHASECONV_CPU_KERNELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PHASECONV_CPU_KERNELS_INL_H
#undef PHASECONV_CPU_KERNELS_INL_H
#else
#define PHASECONV_CPU_KERNELS_INL_H
#endif

#include <hwy/highway.h>

#include <utility>

#include "cpu/conversions-inl.h"
#include "cpu/row-products-inl.h"
#include "cpu/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phaseconv::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr Index kRegisters =
    HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SCALAR ? 16 : 32;

// ------------------------------------------------------------------------------------- multiply

/// What a kernel is made for: any product; one whose rows' scalars lie side by side, so that one
/// address serves all of them; one of depth 1, whose taps are too short for a loop in them (2 x 4
/// sums: 9.9 to 6.4 cycles a tap); and that with a scalar for every column.
enum class Kind { any, adjacent, single, elementwise };

/// Cells are rows of a tile and channels its columns; here each channel's cells go side by side.
template <int kRows, int kVectors>
HWY_INLINE void StoreTurned(const Vector (&sum)[kRows][kVectors], float* to, Index pitch) {
  const Floats f;
#if HWY_TARGET == HWY_SCALAR
  for (int a = 0; a < kRows; ++a) {
    for (int b = 0; b < kVectors; ++b) hn::StoreU(sum[a][b], f, to + b * pitch + a);
  }
#else
#pragma GCC unroll 8
  for (int b = 0; b < kVectors; ++b) {
#pragma GCC unroll 8
    for (int a = 0; a < kRows; a += 4) {
      float* const at = to + b * kLanes * pitch + a;
      const Vector first = sum[a][b];
      const Vector second = sum[a + 1 < kRows ? a + 1 : a][b];
      const Vector third = sum[a + 2 < kRows ? a + 2 : a][b];
      const Vector fourth = sum[a + 3 < kRows ? a + 3 : a][b];
      TransposeBlocks(f, first, second, third, fourth, [=](Index i, Vector v) {
        StoreBlocks(Floats(), v, at + i * pitch, 4 * pitch);
      });
    }
  }
#endif
}

/// Where the scalars of a tile's rows lie, for one tap: from i to i.
template <Kind kKind, int kRows>
class Scalars {
 public:
  HWY_INLINE Scalars(const float* first, Index row_step) {
#pragma GCC unroll 8
    for (int a = 0; a < kRows; ++a) rows_[a] = first + a * row_step;
  }
  HWY_INLINE const float* row(int a) const { return rows_[a] + at_; }
  HWY_INLINE void next(Index step) { at_ += step; }

 private:
  const float* rows_[kRows];
  Index at_ = 0;
};

/// With one address for all of them. GCC would count to each row apart, and keep those offsets in
/// memory (24 rows: 24 loads more).
template <int kRows>
class Scalars<Kind::adjacent, kRows> {
 public:
  HWY_INLINE Scalars(const float* first, Index) : first_(first) {}
  HWY_INLINE const float* row(int a) const { return first_ + a; }
  HWY_INLINE void next(Index step) {
    first_ += step;
#if HWY_COMPILER_GCC || HWY_COMPILER_CLANG
    asm("" : "+r"(first_));
#endif
  }

 private:
  const float* first_;
};

template <Kind kKind, int kRows, int kVectors>
HWY_INLINE void MultiplyOnce(const Product& p, const float* all_scalars, const float* all_vectors,
                             const float* start, float* sums, float* turned) {
  const Floats f;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 28
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      sum[a][b] = start == nullptr ? hn::LoadU(f, sums + a * p.sums_row + b * kLanes)
                  : p.start_along  ? hn::LoadU(f, start + b * kLanes)
                                   : hn::Set(f, start[a * p.start_row]);
    }
  }
  for (const Tap* tap = p.taps; tap != p.taps + p.tap_count; ++tap) {
    const float* vectors = all_vectors + tap->vector * p.vector_tap;
    Scalars<kKind, kRows> scalars(all_scalars + tap->scalar * p.scalar_tap, p.scalar_row);
    const Index depth = kKind == Kind::any || kKind == Kind::adjacent ? p.depth : 1;
#pragma GCC unroll 2
    for (Index i = 0; i < depth; ++i, scalars.next(p.scalar_next), vectors += p.vector_next) {
      if constexpr (kRows * kVectors + kVectors + 1 > kRegisters) {
        Vector s[kRows];
#pragma GCC unroll 28
        for (int a = 0; kKind != Kind::elementwise && a < kRows; ++a) {
          s[a] = hn::Set(f, *scalars.row(a));
          KeepInRegister(s[a]);
        }
#pragma GCC unroll 8
        for (int b = 0; b < kVectors; ++b) {
          const Vector v = hn::LoadU(f, vectors + b * kLanes);
#pragma GCC unroll 28
          for (int a = 0; a < kRows; ++a) {
            if constexpr (kKind == Kind::elementwise)
              s[a] = hn::LoadU(f, scalars.row(a) + b * kLanes);
            sum[a][b] = hn::MulAdd(s[a], v, sum[a][b]);
          }
        }
        continue;
      }
      Vector v[kVectors];
#pragma GCC unroll 8
      for (int b = 0; b < kVectors; ++b) {
        v[b] = hn::LoadU(f, vectors + b * kLanes);
        if constexpr (kRows > 1) KeepInRegister(v[b]);
      }
#pragma GCC unroll 28
      for (int a = 0; a < kRows; ++a) {
        if constexpr (kKind == Kind::elementwise) {
#pragma GCC unroll 8
          for (int b = 0; b < kVectors; ++b) {
            sum[a][b] = hn::MulAdd(hn::LoadU(f, scalars.row(a) + b * kLanes), v[b], sum[a][b]);
          }
        } else {
          const Vector s = hn::Set(f, *scalars.row(a));
#pragma GCC unroll 8
          for (int b = 0; b < kVectors; ++b) sum[a][b] = hn::MulAdd(s, v[b], sum[a][b]);
        }
      }
    }
  }
  if constexpr (kKind == Kind::any || kKind == Kind::adjacent) {
    if (p.turned != nullptr) return StoreTurned<kRows, kVectors>(sum, turned, p.turned_pitch);
  }
#pragma GCC unroll 28
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      float* const to = sums + a * p.sums_row + b * kLanes;
      if (kKind == Kind::any && p.stream) {
        hn::Stream(sum[a][b], f, to);
      } else {
        hn::StoreU(sum[a][b], f, to);
      }
    }
  }
}

template <Kind kKind, int kRows, int kVectors>
void MultiplyTile(const Product& p) {
  for (Index n = 0; n < p.repeats; ++n) {
    MultiplyOnce<kKind, kRows, kVectors>(
        p, p.scalars + n * p.scalar_repeat, p.vectors + n * p.vector_repeat,
        p.start + n * p.start_repeat, p.sums + n * p.sums_repeat, p.turned + n * p.turned_repeat);
  }
}

template <Kind kKind, int kRows, int kVectors>
constexpr Multiply MultiplyIfFits() {
  if constexpr (kKind == Kind::adjacent ? fits_adjacent(kRows, kVectors, kRegisters)
                                        : fits(kRows, kVectors, kRegisters)) {
    return &MultiplyTile<kKind, kRows, kVectors>;
  } else {
    return nullptr;
  }
}

template <Kind kKind, int kRows, typename Table, int... kVectors>
constexpr void FillRow(Table& table, std::integer_sequence<int, kVectors...>) {
  ((table[kRows][kVectors] = MultiplyIfFits<kKind, kRows + 1, kVectors + 1>()), ...);
}

template <Kind kKind, typename Table, int... kRows>
constexpr void FillTable(Table& table, std::integer_sequence<int, kRows...>) {
  (FillRow<kKind, kRows>(table, std::make_integer_sequence<int, max_vectors>()), ...);
}

template <RowKind kKind, int kRows, int kVectors>
constexpr MultiplyRows MultiplyRowsIfFits() {
  if constexpr (kKind == RowKind::lines ? fits_lines(kRows, kVectors, kRegisters)
                                        : fits_rows(kRows, kVectors, kRegisters)) {
    return &MultiplyRowTile<kKind, kRows, kVectors>;
  } else {
    return nullptr;
  }
}

template <RowKind kKind, int kRows, int... kVectors>
constexpr void FillRowsRow(MultiplyRowsTable& table, std::integer_sequence<int, kVectors...>) {
  ((table[kRows][kVectors] = MultiplyRowsIfFits<kKind, kRows + 1, kVectors + 1>()), ...);
}

template <RowKind kKind, int... kRows>
constexpr void FillRows(MultiplyRowsTable& table, std::integer_sequence<int, kRows...>) {
  (FillRowsRow<kKind, kRows>(table, std::make_integer_sequence<int, max_vectors>()), ...);
}

inline double Burn(Index repeats, float* result) {
  constexpr int kChains =
      12;  // enough to hide the latency of two units, few enough for 16 registers
  const Floats f;
  const Vector a = hn::Set(f, 0.999f);
  const Vector b = hn::Set(f, 0.001f);
  Vector sum[kChains];
#pragma GCC unroll 12
  for (int c = 0; c < kChains; ++c) sum[c] = hn::Set(f, static_cast<float>(c));
  for (Index r = 0; r < repeats; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sum[c] = hn::MulAdd(sum[c], a, b);
  }
#pragma GCC unroll 12
  for (int c = 1; c < kChains; ++c) sum[0] = hn::Add(sum[0], sum[c]);
  *result = hn::GetLane(sum[0]);
  return 2.0 * kChains * static_cast<double>(kLanes) * static_cast<double>(repeats);
}

constexpr Kernels MakeKernels(const char* target) {
  Kernels k{target, HWY_TARGET, kLanes, kRegisters, {},     {},      {},     {},         {},
            {},     {},         &Load,  &Store,     &Write, &Stream, &Flush, &Transpose, &Burn};
  FillTable<Kind::any>(k.multiply, std::make_integer_sequence<int, max_rows>());
  FillTable<Kind::adjacent>(k.multiply_adjacent, std::make_integer_sequence<int, most_rows>());
  FillTable<Kind::single>(k.multiply_single, std::make_integer_sequence<int, max_rows>());
  FillTable<Kind::elementwise>(k.multiply_elementwise, std::make_integer_sequence<int, max_rows>());
  FillRows<RowKind::any>(k.multiply_rows, std::make_integer_sequence<int, max_rows>());
  FillRows<RowKind::single>(k.multiply_rows_single, std::make_integer_sequence<int, max_rows>());
  FillRows<RowKind::lines>(k.multiply_lines, std::make_integer_sequence<int, max_rows>());
  return k;
}

#define PHASECONV_TEXT(x) #x
#define PHASECONV_TEXT_OF(x) PHASECONV_TEXT(x)
// "N_AVX2", the namespace that this very code is compiled in, without its first two characters.
constexpr Kernels kKernels = MakeKernels(&PHASECONV_TEXT_OF(HWY_NAMESPACE)[2]);
#undef PHASECONV_TEXT_OF
#undef PHASECONV_TEXT

}  // namespace phaseconv::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
