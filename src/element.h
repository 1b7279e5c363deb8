// Conversions between the stored element types and float, one value at a time: round to nearest,
// ties to even, as the hardware does; and the operand rounding of tf32. Scalar code: the reference,
// packing on the host and the checks use it, the vector kernels have their own instructions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "phaseconv/problem.h"

namespace phaseconv {

inline float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

inline std::uint16_t bf16_from_float(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);  // stay a NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float float_from_f16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) {  // Inf, NaN
    return std::bit_cast<float>(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  }
  // A half is this pattern read as a float, scaled: exact for normal and subnormal numbers alike.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

inline std::uint16_t f16_from_float(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 65536 and beyond
  if (magnitude < 0x38800000u) {
    // Subnormal half: adding 0.5 makes the float adder round to its last bit, 2^-24.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/// Rounds to 10 explicit mantissa bits, to nearest, ties away from zero (cvt.rna.tf32.f32).
inline float round_to_tf32(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

/// Element `index` of an array of `type`, as an operand of a product sees it.
inline float load_operand(const void* array, DataType type, Index index) {
  switch (type) {
    case DataType::f16:
      return float_from_f16(static_cast<const std::uint16_t*>(array)[index]);
    case DataType::bf16:
      return float_from_bf16(static_cast<const std::uint16_t*>(array)[index]);
    case DataType::tf32:
      return round_to_tf32(static_cast<const float*>(array)[index]);
    case DataType::f32:
      break;
  }
  return static_cast<const float*>(array)[index];
}

/// Element `index` as a plain value: `tf32` is a float32 here (bias, output).
inline float load_value(const void* array, DataType type, Index index) {
  return load_operand(array, type == DataType::tf32 ? DataType::f32 : type, index);
}

inline void store_value(void* array, DataType type, Index index, float value) {
  switch (type) {
    case DataType::f16:
      static_cast<std::uint16_t*>(array)[index] = f16_from_float(value);
      return;
    case DataType::bf16:
      static_cast<std::uint16_t*>(array)[index] = bf16_from_float(value);
      return;
    case DataType::f32:
    case DataType::tf32:
      static_cast<float*>(array)[index] = value;
      return;
  }
}

}  // namespace phaseconv
