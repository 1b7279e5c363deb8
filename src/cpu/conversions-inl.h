// Elements read as operands and written from sums. Compiled once per instruction set by
// kernels.cpp; see kernels.h for the contracts.
#if defined(PHASECONV_CPU_CONVERSIONS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef PHASECONV_CPU_CONVERSIONS_INL_H
#undef PHASECONV_CPU_CONVERSIONS_INL_H
#else
#define PHASECONV_CPU_CONVERSIONS_INL_H
#endif

#include <hwy/highway.h>

#include "cpu/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phaseconv::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Words = hn::RebindToUnsigned<Floats>;
using Halves = hn::Rebind<std::uint16_t, Floats>;
using WordVector = hn::Vec<Words>;

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

template <DataType type>
HWY_INLINE Vector LoadVector(const void* from, Index i) {
  if constexpr (type == DataType::f16 || type == DataType::bf16) {
    const auto bits = hn::LoadU(Halves(), static_cast<const std::uint16_t*>(from) + i);
    return FromHalfBits(type, hn::PromoteTo(Words(), bits));
  } else {
    const Vector v = hn::LoadU(Floats(), static_cast<const float*>(from) + i);
    return type == DataType::tf32 ? RoundToTf32(v) : v;
  }
}

template <DataType type>
HWY_INLINE void LoadRuns(const void* from, float* to, const Runs& runs) {
  const Floats f;
  for (Index r = 0; r < runs.runs; ++r, to += runs.to_step) {
    const Index first = r * runs.from_step;
    Index i = 0;
    for (; i + kLanes <= runs.count; i += kLanes) {
      hn::StoreU(LoadVector<type>(from, first + i), f, to + i);
    }
    if (i < runs.count && runs.count >= kLanes) {  // the last vector again, from the end
      i = runs.count - kLanes;
      hn::StoreU(LoadVector<type>(from, first + i), f, to + i);
    } else {
      for (; i < runs.count; ++i) to[i] = load_operand(from, type, first + i);
    }
  }
}

inline void Load(DataType type, const void* from, float* to, const Runs& runs) {
  switch (type) {
    case DataType::f32:
      return LoadRuns<DataType::f32>(from, to, runs);
    case DataType::tf32:
      return LoadRuns<DataType::tf32>(from, to, runs);
    case DataType::f16:
      return LoadRuns<DataType::f16>(from, to, runs);
    case DataType::bf16:
      return LoadRuns<DataType::bf16>(from, to, runs);
  }
}

template <DataType type>
HWY_INLINE void StoreHalves(const float* from, std::uint16_t* to, const Runs& runs) {
  const Floats f;
  for (Index r = 0; r < runs.runs; ++r, from += runs.from_step, to += runs.to_step) {
    Index i = 0;
    for (; i + kLanes <= runs.count; i += kLanes) {
      const WordVector bits = ToHalfBits(type, hn::LoadU(f, from + i));
      // Signed, because only that narrowing saturates alike on every target; the value fits.
      const auto narrow = hn::DemoteTo(Halves(), hn::BitCast(hn::RebindToSigned<Floats>(), bits));
      hn::StoreU(narrow, Halves(), to + i);
    }
    for (; i < runs.count; ++i) store_value(to, type, i, from[i]);
  }
}

HWY_INLINE void StoreFloats(const float* from, float* to, const Runs& runs) {
  const Floats f;
  for (Index r = 0; r < runs.runs; ++r, from += runs.from_step, to += runs.to_step) {
    Index i = 0;
    for (; i + kLanes <= runs.count; i += kLanes) hn::StoreU(hn::LoadU(f, from + i), f, to + i);
    CopySome<kLanes>(from + i, runs.count - i, to + i);
  }
}

inline void Store(DataType type, const float* from, void* to, const Runs& runs) {
  switch (type) {
    case DataType::f32:
    case DataType::tf32:
      return StoreFloats(from, static_cast<float*>(to), runs);
    case DataType::f16:
      return StoreHalves<DataType::f16>(from, static_cast<std::uint16_t*>(to), runs);
    case DataType::bf16:
      return StoreHalves<DataType::bf16>(from, static_cast<std::uint16_t*>(to), runs);
  }
}

}  // namespace phaseconv::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
