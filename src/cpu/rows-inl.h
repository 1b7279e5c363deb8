// Rows of outputs, interleaved from planes of sums, and transposition. Compiled once per
// instruction set by kernels.cpp; see kernels.h for the contracts.
#if defined(PHASECONV_CPU_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PHASECONV_CPU_ROWS_INL_H
#undef PHASECONV_CPU_ROWS_INL_H
#else
#define PHASECONV_CPU_ROWS_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace phaseconv::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Floats()));

/// Keeps GCC from loading a vector again for each of its uses: loads that cross a cache line count
/// twice, and then they are the bound.
HWY_INLINE void KeepInRegister([[maybe_unused]] Vector& v) {
#if HWY_ARCH_X86 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
  asm("" : "+v"(v.raw));
#endif
}

// ------------------------------------------------------------------------------- interleaved rows

/// Highway interleaves within blocks of four; so block k gets the pairs k of either half first.
struct PairOrder {
  constexpr PairOrder() {
    for (int i = 0; i < kLanes; ++i) {
      lane[i] = i / 4 * 2 + i % 2 + (i % 4 < 2 ? 0 : static_cast<int>(kLanes) / 2);
    }
  }
  alignas(64) std::int32_t lane[kLanes] = {};
};
constexpr PairOrder kPairOrder;

/// a0 b0 a1 b1 ..., as two vectors.
HWY_INLINE void InterleaveTwo(Vector a, Vector b, Vector& first, Vector& second) {
#if HWY_TARGET == HWY_SCALAR
  first = a;
  second = b;
#else
  const Floats f;
  const auto indices = hn::SetTableIndices(f, kPairOrder.lane);
  a = hn::TableLookupLanes(a, indices);
  b = hn::TableLookupLanes(b, indices);
  first = hn::InterleaveLower(f, a, b);
  second = hn::InterleaveUpper(f, a, b);
#endif
}

template <int kPlanes>
HWY_INLINE void InterleaveAll(const Vector* in, int step, Vector* out) {
  if constexpr (kPlanes == 1) {
    out[0] = in[0];
  } else {
    Vector even[kPlanes / 2], odd[kPlanes / 2];
    InterleaveAll<kPlanes / 2>(in, 2 * step, even);
    InterleaveAll<kPlanes / 2>(in + step, 2 * step, odd);
#pragma GCC unroll 8
    for (int i = 0; i < kPlanes / 2; ++i) {
      InterleaveTwo(even[i], odd[i], out[2 * i], out[2 * i + 1]);
    }
  }
}

/// Reads a row in vectors, kVectors at a time, from any value on; 0: any number of planes.
template <int kPlanes>
class RowReader {
 public:
  static constexpr int kVectors = kPlanes == 0 ? 1 : kPlanes;

  RowReader(const Planes& planes, Index first) : planes_(planes) {
    const Index count = kPlanes == 0 ? planes.count : kPlanes;
    const Index before = 16;  // cells, so that what is divided is positive
    for (int j = 0; j < kVectors; ++j) {
      const Index i = first + j + before * count;
      plane_ = i % count;
      at_[j] = planes.from + plane_ * planes.pitch + i / count - before;
    }
  }

  HWY_INLINE void next(Vector (&out)[kVectors]) {
    const Floats f;
    if constexpr (kPlanes == 0) {
      alignas(64) float values[kLanes];
      for (Index i = 0; i < kLanes; ++i) {
        values[i] = *at_[0];
        at_[0] += planes_.pitch;
        if (++plane_ < planes_.count) continue;
        plane_ = 0;
        at_[0] += 1 - planes_.count * planes_.pitch;
      }
      out[0] = hn::Load(f, values);
      return;
    }
    Vector in[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      in[j] = hn::LoadU(f, at_[j]);
      at_[j] += kLanes;
    }
    if constexpr (kPlanes == 3) {
      alignas(64) float values[3 * kLanes];
      hn::StoreInterleaved3(in[0], in[1], in[2], f, values);
      for (int j = 0; j < 3; ++j) out[j] = hn::Load(f, values + j * kLanes);
    } else if constexpr (kPlanes != 0) {
      InterleaveAll<kPlanes>(in, 1, out);
    }
  }

 private:
  const Planes& planes_;
  const float* at_[kVectors];
  Index plane_ = 0;
};

/// Calls f(b, vector) for `vectors` vectors of a row, from value `first` on.
template <int kPlanes, typename F>
HWY_INLINE void ForVectors(const Planes& planes, Index first, Index vectors, F f) {
  constexpr Index kEach = RowReader<kPlanes>::kVectors;
  RowReader<kPlanes> reader(planes, first);
  Vector v[kEach];
  Index b = 0;
  for (; b + kEach <= vectors; b += kEach) {
    reader.next(v);
#pragma GCC unroll 8
    for (Index k = 0; k < kEach; ++k) f(b + k, v[k]);
  }
  if (b == vectors) return;
  reader.next(v);
#pragma GCC unroll 8
  for (Index k = 0; k < kEach; ++k) {
    if (b + k < vectors) f(b + k, v[k]);
  }
}

/// Calls f(number of planes as a constant) where that is a case of its own, else f(0).
template <typename F>
HWY_INLINE void WithPlanes(Index planes, F f) {
  switch (planes) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant < int, kLanes == 1 ? 0 : 3 > ());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 8:
      return f(std::integral_constant<int, 8>());
    default:
      return f(std::integral_constant<int, 0>());
  }
}

constexpr Index kLine = 16;  // floats of a cache line
static_assert(kLine % kLanes == 0);

/// Copies fewer floats than kBelow: eight, four and so on. Neighbours may be other threads'.
template <int kBelow = kLine>
HWY_INLINE void CopySome(const float* from, Index count, float* to) {
  const auto copy = [&](auto size) {
    if constexpr (size < kBelow) {
      if ((count & size) == 0) return;
      std::memcpy(to, from, size * sizeof(float));
      from += size;
      to += size;
    }
  };
  copy(std::integral_constant<int, 8>());
  copy(std::integral_constant<int, 4>());
  copy(std::integral_constant<int, 2>());
  copy(std::integral_constant<int, 1>());
}
static_assert(kLine == 16);

template <int kPlanes>
HWY_INLINE void WriteValues(const Planes& planes, Index first, Index count, float* to) {
  const Floats f;
  const Index whole = count / kLanes;
  ForVectors<kPlanes>(planes, first, whole,
                      [&](Index b, Vector v) { hn::StoreU(v, f, to + b * kLanes); });
  if (whole * kLanes == count) return;
  alignas(64) float rest[kLanes];
  ForVectors<kPlanes>(planes, first + whole * kLanes, 1,
                      [&](Index, Vector v) { hn::Store(v, f, rest); });
  CopySome<kLanes>(rest, count - whole * kLanes, to + whole * kLanes);
}

inline void Write(const Planes& planes, Index first, Index count, float* to) {
  WithPlanes(planes.count, [&](auto n) { WriteValues<n()>(planes, first, count, to); });
}

inline void DropPending(PendingLine& pending) {
  CopySome(pending.values, pending.count, pending.next - pending.count);
  pending.count = 0;
}

inline void Flush(PendingLine& pending) {
  DropPending(pending);
  hwy::FlushStream();
}

/// Everything in whole vectors: what is put together of small pieces cannot be loaded before those
/// have left the core, after all the lines that wait to leave before them.
template <int kPlanes>
HWY_INLINE void StreamValues(const Planes& planes, Index first, Index count, float* to,
                             PendingLine& pending) {
  const Floats f;
  const auto place = static_cast<Index>(reinterpret_cast<std::uintptr_t>(to) / sizeof(float));
  if (pending.next != to) DropPending(pending);
  pending.next = to + count;
  if (pending.count != place % kLine) {  // a line that someone else has begun
    const Index head = std::min(kLine - place % kLine, count);
    WriteValues<kPlanes>(planes, first, head, to);
    first += head;
    count -= head;
    to += head;
  }
  if (count == 0) return;
  // From the beginning of the line on; what is pending is blended in.
  const Index begun = pending.count;
  first -= begun;
  count += begun;
  to -= begun;
  const Index whole = count / kLine * kLine;
  ForVectors<kPlanes>(planes, first, (count + kLanes - 1) / kLanes, [&](Index b, Vector v) {
    const Index at = b * kLanes;
    if (at < begun) {
      const auto old = static_cast<std::size_t>(std::min(begun - at, kLanes));
      v = hn::IfThenElse(hn::FirstN(f, old), hn::Load(f, pending.values + at), v);
    }
    if (at < whole) {
      hn::Stream(v, f, to + at);
    } else {
      hn::Store(v, f, pending.values + at - whole);
    }
  });
  pending.count = count - whole;
}

inline void Stream(const Planes& planes, Index first, Index count, float* to,
                   PendingLine& pending) {
  WithPlanes(planes.count, [&](auto n) { StreamValues<n()>(planes, first, count, to, pending); });
}

// ---------------------------------------------------------------------------------- transposition

#if HWY_TARGET != HWY_SCALAR
/// Four floats from each of the places `step` apart.
template <class D>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const float* from, Index step) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    constexpr auto blocks = static_cast<Index>(hn::MaxLanes(hn::Half<D>()) / 4);
    return hn::Combine(d, LoadBlocks(half, from + blocks * step, step),
                       LoadBlocks(half, from, step));
  }
}

/// The same, to such places.
template <class D>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, float* to, Index step) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    hn::StoreU(v, d, to);
  } else {
    const hn::Half<D> half;
    constexpr auto blocks = static_cast<Index>(hn::MaxLanes(hn::Half<D>()) / 4);
    StoreBlocks(half, hn::LowerHalf(half, v), to, step);
    StoreBlocks(half, hn::UpperHalf(half, v), to + blocks * step, step);
  }
}

/// Transposes the blocks of four floats that lie at the same place in the four vectors: calls
/// store(i, vector) for each i, with the floats i of the blocks.
template <class D, typename Store>
HWY_INLINE void TransposeBlocks(D d, hn::Vec<D> a, hn::Vec<D> b, hn::Vec<D> c, hn::Vec<D> e,
                                Store store) {
  const hn::RepartitionToWide<hn::RebindToUnsigned<D>> pairs;
  const auto lower = hn::BitCast(pairs, hn::InterleaveLower(d, a, b));
  const auto upper = hn::BitCast(pairs, hn::InterleaveUpper(d, a, b));
  const auto next_lower = hn::BitCast(pairs, hn::InterleaveLower(d, c, e));
  const auto next_upper = hn::BitCast(pairs, hn::InterleaveUpper(d, c, e));
  store(0, hn::BitCast(d, hn::InterleaveLower(pairs, lower, next_lower)));
  store(1, hn::BitCast(d, hn::InterleaveUpper(pairs, lower, next_lower)));
  store(2, hn::BitCast(d, hn::InterleaveLower(pairs, upper, next_upper)));
  store(3, hn::BitCast(d, hn::InterleaveUpper(pairs, upper, next_upper)));
}

/// As many rows as a vector has lanes, four columns.
template <class D>
HWY_INLINE void TransposeFour(D d, const float* from, Index from_pitch, float* to, Index to_pitch) {
  const auto load = [&](Index row) {
    return LoadBlocks(d, from + row * from_pitch, 4 * from_pitch);
  };
  TransposeBlocks(d, load(0), load(1), load(2), load(3),
                  [&](Index i, auto v) { hn::StoreU(v, d, to + i * to_pitch); });
}

/// Whole vectors of rows from row `r` on; returns the first row that is left.
template <class D>
HWY_INLINE Index TransposeRows(D d, Index r, const float* from, Index rows, Index columns,
                               Index from_pitch, float* to, Index to_pitch) {
  constexpr auto lanes = static_cast<Index>(hn::MaxLanes(D()));
  for (; columns >= 4 && r + lanes <= rows; r += lanes) {
    const float* const row = from + r * from_pitch;
    for (Index c = 0; c < columns; c += 4) {
      const Index column = std::min(c, columns - 4);  // the last four again
      TransposeFour(d, row + column, from_pitch, to + column * to_pitch + r, to_pitch);
    }
  }
  return r;
}
#endif

inline void Transpose(const float* from, Index rows, Index columns, Index from_pitch, float* to,
                      Index to_pitch) {
  Index r = 0;
#if HWY_TARGET != HWY_SCALAR
  r = TransposeRows(Floats(), r, from, rows, columns, from_pitch, to, to_pitch);
  r = TransposeRows(hn::CappedTag<float, 4>(), r, from, rows, columns, from_pitch, to, to_pitch);
#endif
  for (; r < rows; ++r) {
    for (Index c = 0; c < columns; ++c) to[c * to_pitch + r] = from[r * from_pitch + c];
  }
}

}  // namespace phaseconv::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
