// Both phases along w of a stride of 2, from their taps to interleaved rows. Compiled once per
// instruction set by kernels.cpp; see RowProduct in kernels.h for the contract.
#if defined(PHASECONV_CPU_ROW_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PHASECONV_CPU_ROW_PRODUCTS_INL_H
#undef PHASECONV_CPU_ROW_PRODUCTS_INL_H
#else
#define PHASECONV_CPU_ROW_PRODUCTS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "cpu/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phaseconv::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// What a kernel is made for: any product; one of depth 1; and that of one channel with lines of
/// cells in the rows, whose vectors are their own and whose scalars are the same.
enum class RowKind { any, single, lines };

/// One tap of both phases, or of one of them: kFirst to kLast.
template <RowKind kKind, int kFirst, int kLast, int kRows, int kVectors>
HWY_INLINE void MultiplyRowTap(const RowProduct& p, const RowTap& tap, Index begin, Index depth,
                               const float* all_vectors, Vector (&sum)[2][kRows][kVectors]) {
  const Floats f;
  const float* vectors = all_vectors + tap.vector + begin * p.vector_next;
  const float* weights[2];
#pragma GCC unroll 2
  for (int r = kFirst; r <= kLast; ++r) weights[r] = p.weights + (tap.weight[r] + begin) * p.width;
  if constexpr (kKind == RowKind::single) depth = 1;
#pragma GCC unroll 2
  for (Index i = 0, at = 0; i < depth; ++i, at += p.width, vectors += p.vector_next) {
    Vector v[kVectors];
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      v[b] = hn::LoadU(f, vectors + b * kLanes);
      if constexpr (kRows > 1 || kFirst < kLast) KeepInRegister(v[b]);
    }
#pragma GCC unroll 2
    for (int r = kFirst; r <= kLast; ++r) {
#pragma GCC unroll 8
      for (int a = 0; a < kRows; ++a) {
        const Vector s = hn::Set(f, weights[r][at + a]);
#pragma GCC unroll 8
        for (int b = 0; b < kVectors; ++b) sum[r][a][b] = hn::MulAdd(s, v[b], sum[r][a][b]);
      }
    }
  }
}

/// kTaps taps of lines, each of which reads one line before the last one: vectors of a line are
/// loaded once, from the last line on, so that every sum adds the taps in their order.
template <int kTaps, int kFirst, int kLast, int kRows, int kVectors>
HWY_INLINE void MultiplyLineTaps(const RowProduct& p, const RowTap* taps, const float* all_vectors,
                                 Vector (&sum)[2][kRows][kVectors]) {
  const Floats f;
  Vector s[kTaps][2];
#pragma GCC unroll 2
  for (int n = 0; n < kTaps; ++n) {
#pragma GCC unroll 2
    for (int r = kFirst; r <= kLast; ++r) {
      s[n][r] = hn::Set(f, p.weights[taps[n].weight[r] * p.width]);
    }
  }
#pragma GCC unroll 10
  for (int line = kRows - 1; line > -kTaps; --line) {
    const float* const vectors = all_vectors + taps->vector + line * p.vector_line;
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      Vector v = hn::LoadU(f, vectors + b * kLanes);
      KeepInRegister(v);
#pragma GCC unroll 2
      for (int n = 0; n < kTaps; ++n) {
        const int a = line + n;
        if (a < 0 || a >= kRows) continue;
#pragma GCC unroll 2
        for (int r = kFirst; r <= kLast; ++r) sum[r][a][b] = hn::MulAdd(s[n][r], v, sum[r][a][b]);
      }
    }
  }
}

/// The next tap; of lines two, where the second one reads the line before and serves the same
/// phases. Returns how many.
template <RowKind kKind, int kFirst, int kLast, int kRows, int kVectors>
HWY_INLINE Index MultiplyNextTaps(const RowProduct& p, const RowTap* tap, Index begin, Index depth,
                                  const float* all_vectors, Vector (&sum)[2][kRows][kVectors]) {
  if constexpr (kKind == RowKind::lines) {
    const RowTap* const next = tap + 1;
    if (next != p.taps + p.tap_count && next->vector + p.vector_line == tap->vector &&
        (next->weight[0] < 0) == (tap->weight[0] < 0) &&
        (next->weight[1] < 0) == (tap->weight[1] < 0)) {
      MultiplyLineTaps<2, kFirst, kLast, kRows, kVectors>(p, tap, all_vectors, sum);
      return 2;
    }
    MultiplyLineTaps<1, kFirst, kLast, kRows, kVectors>(p, tap, all_vectors, sum);
  } else {
    MultiplyRowTap<kKind, kFirst, kLast, kRows, kVectors>(p, *tap, begin, depth, all_vectors, sum);
  }
  return 1;
}

#if HWY_TARGET != HWY_SCALAR
/// The first `count` lanes, fewer than all, by halves: masked stores are slow on some processors.
template <class D>
HWY_INLINE void StoreSome(D, hn::Vec<D> v, Index count, float* to) {
  if constexpr (hn::MaxLanes(D()) > 1) {
    const hn::Half<D> half;
    constexpr auto lanes = static_cast<Index>(hn::MaxLanes(hn::Half<D>()));
    if (count < lanes) {
      StoreSome(half, hn::LowerHalf(half, v), count, to);
    } else {
      hn::StoreU(hn::LowerHalf(half, v), half, to);
      StoreSome(half, hn::UpperHalf(half, v), count - lanes, to + lanes);
    }
  }
}
#else
template <class D>
HWY_INLINE void StoreSome(D, hn::Vec<D>, Index, float*) {}  // a vector is all or nothing
#endif

template <RowKind kKind, int kRows, int kVectors>
HWY_INLINE void MultiplyRowOnce(const RowProduct& p, const float* all_vectors, float* all_to,
                                Index room) {
  const Floats f;
  constexpr bool kLines = kKind == RowKind::lines;
  Vector sum[2][kRows][kVectors];
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
    const Vector start = hn::Set(f, p.starts[kLines ? 0 : a]);
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) sum[0][a][b] = sum[1][a][b] = start;
  }
  for (Index i = 0; i < p.depth; i += p.depth_at_once) {
    const Index depth = std::min(p.depth_at_once, p.depth - i);
    for (const RowTap* tap = p.taps; tap != p.taps + p.tap_count;) {
      if (tap->weight[0] >= 0 && tap->weight[1] >= 0) [[likely]] {
        tap += MultiplyNextTaps<kKind, 0, 1, kRows, kVectors>(p, tap, i, depth, all_vectors, sum);
      } else if (tap->weight[0] >= 0) {
        tap += MultiplyNextTaps<kKind, 0, 0, kRows, kVectors>(p, tap, i, depth, all_vectors, sum);
      } else {
        tap += MultiplyNextTaps<kKind, 1, 1, kRows, kVectors>(p, tap, i, depth, all_vectors, sum);
      }
    }
  }
  const bool whole = p.places == nullptr && room >= 2 * kVectors * kLanes;
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
    float* const to = all_to + a * (kLines ? p.to_line : p.to_row);
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      Vector out[2];
      InterleaveTwo(sum[0][a][b], sum[1][a][b], out[0], out[1]);
#pragma GCC unroll 2
      for (int n = 0; n < 2; ++n) {
        const Index beside = (2 * b + n) * kLanes;
        if (whole) {
          hn::StoreU(out[n], f, to + beside);
          continue;
        }
        const Index place = p.places == nullptr ? beside : p.places[2 * b + n];
        if (place < 0 || place >= room) continue;
        if (p.stream) {
          hn::Stream(out[n], f, to + place);
        } else if (place + kLanes <= room) [[likely]] {
          hn::StoreU(out[n], f, to + place);
        } else {
          StoreSome(f, out[n], room - place, to + place);
        }
      }
    }
  }
}

template <RowKind kKind, int kRows, int kVectors>
void MultiplyRowTile(const RowProduct& p) {
  for (Index line = 0; line < p.lines; line += kKind == RowKind::lines ? kRows : 1) {
    const float* const vectors = p.vectors + line * p.vector_line;
    float* const to = p.to + line * p.to_line;
    for (Index n = 0; n < p.repeats; ++n) {
      MultiplyRowOnce<kKind, kRows, kVectors>(p, vectors + n * p.vector_repeat,
                                              to + n * p.to_repeat, p.room - n * p.to_repeat);
    }
  }
}

}  // namespace phaseconv::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
