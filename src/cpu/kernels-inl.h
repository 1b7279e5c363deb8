// Compiled once per instruction set by kernels.cpp; see kernels.h for the contracts.
#if defined(PHASECONV_CPU_KERNELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PHASECONV_CPU_KERNELS_INL_H
#undef PHASECONV_CPU_KERNELS_INL_H
#else
#define PHASECONV_CPU_KERNELS_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <utility>

HWY_BEFORE_NAMESPACE();
namespace phaseconv::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;
using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<std::uint16_t, Floats>;
using WordVector = hn::Vec<Words>;

constexpr Index kLanes = static_cast<Index>(hn::MaxLanes(Floats()));
constexpr Index kRegisters =
    HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SCALAR ? 16 : 32;

// ------------------------------------------------------------------------------------- multiply

template <int kRows, int kVectors>
void MultiplyTile(const Product& p) {
  const Floats f;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      sum[a][b] = hn::LoadU(f, p.sums + a * p.sums_row + b * kLanes);
    }
  }
  for (Index td = 0; td < p.taps[0]; ++td) {
    for (Index th = 0; th < p.taps[1]; ++th) {
      for (Index tw = 0; tw < p.taps[2]; ++tw) {
        const float* scalars =
            p.scalars + td * p.scalar_step[0] + th * p.scalar_step[1] + tw * p.scalar_step[2];
        const float* vectors =
            p.vectors + td * p.vector_step[0] + th * p.vector_step[1] + tw * p.vector_step[2];
        const float* row[kRows];
#pragma GCC unroll 8
        for (int a = 0; a < kRows; ++a) row[a] = scalars + a * p.scalar_row;
        for (Index i = 0; i < p.depth; ++i, vectors += p.vector_row) {
          Vector v[kVectors];
#pragma GCC unroll 8
          for (int b = 0; b < kVectors; ++b) v[b] = hn::LoadU(f, vectors + b * kLanes);
#pragma GCC unroll 8
          for (int a = 0; a < kRows; ++a) {
            const Vector s = hn::Set(f, row[a][i]);
#pragma GCC unroll 8
            for (int b = 0; b < kVectors; ++b) sum[a][b] = hn::MulAdd(s, v[b], sum[a][b]);
          }
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int a = 0; a < kRows; ++a) {
#pragma GCC unroll 8
    for (int b = 0; b < kVectors; ++b) {
      hn::StoreU(sum[a][b], f, p.sums + a * p.sums_row + b * kLanes);
    }
  }
}

template <int kRows, int kVectors>
constexpr Multiply MultiplyIfFits() {
  if constexpr (fits(kRows, kVectors, kRegisters)) {
    return &MultiplyTile<kRows, kVectors>;
  } else {
    return nullptr;
  }
}

template <int kRows, int... kVectors>
constexpr void FillRow(Kernels& k, std::integer_sequence<int, kVectors...>) {
  ((k.multiply[kRows][kVectors] = MultiplyIfFits<kRows + 1, kVectors + 1>()), ...);
}

template <int... kRows>
constexpr void FillTable(Kernels& k, std::integer_sequence<int, kRows...>) {
  (FillRow<kRows>(k, std::make_integer_sequence<int, max_vectors>()), ...);
}

// ---------------------------------------------------------------------------------- load, store
// The conversions of element.h, a vector at a time. Integer arithmetic on every target: Highway
// 1.0.3 truncates where it converts to bf16, and where it emulates f16 it knows no infinities.

HWY_INLINE Vector FromHalfBits(DataType type, WordVector bits) {
  const Floats f;
  const Words w;
  if (type == DataType::bf16) return hn::BitCast(f, hn::ShiftLeft<16>(bits));
  const WordVector sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(w, 0x8000u)));
  const WordVector rest = hn::ShiftLeft<13>(hn::And(bits, hn::Set(w, 0x7fffu)));
  const WordVector finite = hn::BitCast(w, hn::Mul(hn::BitCast(f, rest), hn::Set(f, 0x1p112f)));
  const WordVector special = hn::Or(rest, hn::Set(w, 0x7f800000u));
  const auto is_finite = hn::Lt(rest, hn::Set(w, 0x7c00u << 13));
  return hn::BitCast(f, hn::Or(sign, hn::IfThenElse(is_finite, finite, special)));
}

HWY_INLINE WordVector ToHalfBits(DataType type, Vector value) {
  const Floats f;
  const Words w;
  const WordVector bits = hn::BitCast(w, value);
  const WordVector one = hn::Set(w, 1);
  const WordVector magnitude = hn::And(bits, hn::Set(w, 0x7fffffffu));
  const auto is_nan = hn::Gt(magnitude, hn::Set(w, 0x7f800000u));
  const WordVector high = hn::ShiftRight<16>(bits);
  if (type == DataType::bf16) {
    const WordVector even = hn::Add(hn::Set(w, 0x7fffu), hn::And(high, one));
    const WordVector rounded = hn::ShiftRight<16>(hn::Add(bits, even));
    return hn::IfThenElse(is_nan, hn::Or(high, hn::Set(w, 0x40u)), rounded);
  }
  const WordVector even = hn::Add(hn::Set(w, 0xfffu), hn::And(hn::ShiftRight<13>(magnitude), one));
  const WordVector normal =
      hn::ShiftRight<13>(hn::Sub(hn::Add(magnitude, even), hn::Set(w, 0x38000000u)));
  const WordVector half = hn::Set(w, 0x3f000000u);
  const WordVector subnormal =
      hn::Sub(hn::BitCast(w, hn::Add(hn::BitCast(f, magnitude), hn::BitCast(f, half))), half);
  WordVector result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(w, 0x38800000u)), subnormal, normal);
  result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(w, 0x477ff000u)), result, hn::Set(w, 0x7c00u));
  result = hn::IfThenElse(is_nan, hn::Set(w, 0x7e00u), result);
  return hn::Or(result, hn::And(high, hn::Set(w, 0x8000u)));
}

HWY_INLINE Vector RoundToTf32(Vector value) {
  const Words w;
  const WordVector bits = hn::BitCast(w, value);
  const WordVector exponent = hn::Set(w, 0x7f800000u);
  const WordVector rounded = hn::And(hn::Add(bits, hn::Set(w, 0x1000u)), hn::Set(w, 0xffffe000u));
  const auto special = hn::Eq(hn::And(bits, exponent), exponent);
  return hn::BitCast(Floats(), hn::IfThenElse(special, bits, rounded));
}

HWY_INLINE void LoadElements(DataType type, const void* from, Index count, float* to) {
  const Floats f;
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vector v;
    if (type == DataType::f16 || type == DataType::bf16) {
      const auto bits = hn::LoadU(Halves(), static_cast<const std::uint16_t*>(from) + i);
      v = FromHalfBits(type, hn::PromoteTo(Words(), bits));
    } else {
      v = hn::LoadU(f, static_cast<const float*>(from) + i);
      if (type == DataType::tf32) v = RoundToTf32(v);
    }
    hn::StoreU(v, f, to + i);
  }
  for (; i < count; ++i) to[i] = load_operand(from, type, i);
}

inline void Load(DataType type, const void* from, Index count, float* to) {
  switch (type) {  // each with its type a constant
    case DataType::f32:
      return LoadElements(DataType::f32, from, count, to);
    case DataType::tf32:
      return LoadElements(DataType::tf32, from, count, to);
    case DataType::f16:
      return LoadElements(DataType::f16, from, count, to);
    case DataType::bf16:
      return LoadElements(DataType::bf16, from, count, to);
  }
}

HWY_INLINE void StoreHalves(DataType type, const float* from, Index count, std::uint16_t* to) {
  const Floats f;
  Index i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const WordVector bits = ToHalfBits(type, hn::LoadU(f, from + i));
    // Signed, because only that narrowing saturates alike on every target; the value fits.
    const auto narrow = hn::DemoteTo(Halves(), hn::BitCast(hn::RebindToSigned<Floats>(), bits));
    hn::StoreU(narrow, Halves(), to + i);
  }
  for (; i < count; ++i) store_value(to, type, i, from[i]);
}

inline void StoreFloats(const float* from, Index count, float* to, bool stream) {
  const Floats f;
  Index i = 0;
  if (stream) {
    for (; i < count && reinterpret_cast<std::uintptr_t>(to + i) % sizeof(Vector) != 0; ++i) {
      to[i] = from[i];
    }
    for (; i + kLanes <= count; i += kLanes) hn::Stream(hn::LoadU(f, from + i), f, to + i);
  }
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::LoadU(f, from + i), f, to + i);
  for (; i < count; ++i) to[i] = from[i];
}

inline void Store(DataType type, const float* from, Index count, void* to, bool stream) {
  switch (type) {
    case DataType::f32:
    case DataType::tf32:
      return StoreFloats(from, count, static_cast<float*>(to), stream);
    case DataType::f16:
      return StoreHalves(DataType::f16, from, count, static_cast<std::uint16_t*>(to));
    case DataType::bf16:
      return StoreHalves(DataType::bf16, from, count, static_cast<std::uint16_t*>(to));
  }
}

inline void Flush() { hwy::FlushStream(); }

inline void Interleave(const float* from, Index pitch, Index planes, Index cells, float* row) {
  const Floats f;
  for (Index q = 0; q < cells; q += kLanes, row += planes * kLanes) {
    const Vector v0 = hn::LoadU(f, from + q);
    const Vector v1 = hn::LoadU(f, from + pitch + q);
    if (planes == 2) {
      hn::StoreInterleaved2(v0, v1, f, row);
      continue;
    }
    const Vector v2 = hn::LoadU(f, from + 2 * pitch + q);
    if (planes == 3) {
      hn::StoreInterleaved3(v0, v1, v2, f, row);
      continue;
    }
    hn::StoreInterleaved4(v0, v1, v2, hn::LoadU(f, from + 3 * pitch + q), f, row);
  }
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
  Kernels k{target, HWY_TARGET, kLanes, kRegisters, {}, &Load, &Store, &Flush, &Interleave, &Burn};
  FillTable(k, std::make_integer_sequence<int, max_rows>());
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
