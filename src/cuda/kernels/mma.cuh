// Products of tensor cores, a warp at a time, on 32-bit words (warp_matrices.cuh), for each type of
// elements.
#pragma once

namespace phaseconv {

struct F32;
struct TF32;
struct F16;
struct BF16;

/// To 10 explicit mantissa bits, to nearest, ties away. Infinities stay; a NaN may become any other
/// value, so that of a difference from it is what shows it.
__device__ __forceinline__ unsigned nearest_tf32(unsigned word) {
  return (word + 0x1000u) & 0xffffe000u;
}

/// One of the two parts of a float32 that together have at least 22 bits of it. What is not finite
/// is all in the upper part, and what rounds to infinity is cut instead.
__device__ inline unsigned split_tf32(float value, bool lower_part) {
  const unsigned bits = __float_as_uint(value), exponent = 0x7f800000u;
  const bool finite = (bits & exponent) != exponent;
  unsigned upper = finite ? nearest_tf32(bits) : bits;
  if (finite && (upper & exponent) == exponent) upper = bits & 0xffffe000u;
  if (!lower_part) return upper;
  return finite ? nearest_tf32(__float_as_uint(value - __uint_as_float(upper))) : 0u;
}

/// `sums += a · b`, in `parts` instructions that may have others between them. Products of float32
/// that are small go to `small`, which may be the same: apart, fewer instructions wait for each
/// other.
///
/// Operands of one product: `Cells` and `Columns` are fragments, prepared once and used often.
/// This one is for words that hold a value with at most 11 bits: 16-bit elements as float32.
template <class Element, bool pairs>
struct Product {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) { word[i] = raw; }
  };
  struct Columns {
    using Packed = uint2;
    unsigned word[2];
    __device__ __forceinline__ explicit Columns(Packed packed) : word{packed.x, packed.y} {}
  };
  static constexpr bool split = false;  ///< whether sums lose more than float32 ones would
  static constexpr int parts = 1;
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_tf32(sum, a.word, b.word[0], b.word[1]);
  }
};

template <>
struct Product<TF32, false> : Product<F16, false> {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) { word[i] = nearest_tf32(raw); }
  };  // weights are rounded as they are packed
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_tf32(sum, a.word, b.word[0], b.word[1]);
  }
};

/// float32 as three products of its upper and lower parts, the small ones first; what is left out,
/// lower times lower, is below 2^-22 of the product.
template <>
struct Product<F32, false> {
  struct Cells {
    unsigned upper[4], lower[4];
    __device__ __forceinline__ void set(int i, unsigned raw) {
      upper[i] = nearest_tf32(raw);
      // The tensor cores ignore the 13 lowest bits: half of the last that counts rounds.
      lower[i] = __float_as_uint(__uint_as_float(raw) - __uint_as_float(upper[i])) + 0x1000u;
    }
  };
  struct Columns {  // split as they are packed
    using Packed = uint4;
    unsigned upper[2], lower[2];
    __device__ __forceinline__ explicit Columns(Packed packed)
        : upper{packed.x, packed.y}, lower{packed.z, packed.w} {}
  };
  static constexpr bool split = true;
  static constexpr int parts = 3;
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    const unsigned(&x)[4] = part == 0 ? a.lower : a.upper;
    const unsigned(&y)[2] = part == 1 ? b.lower : b.upper;
    multiply_tf32(sum, x, y[0], y[1]);
  }
};

template <>
struct Product<F16, true> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_f16(sum, a.word, b.word[0], b.word[1]);
  }
};

template <>
struct Product<BF16, true> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_bf16(sum, a.word, b.word[0], b.word[1]);
  }
};

/// All parts, of several tiles of cells: the small products first.
template <class Multiply, int tiles>
__device__ __forceinline__ void add_products(float (&sums)[tiles][4], float (&small)[tiles][4],
                                             const typename Multiply::Cells (&a)[tiles],
                                             const typename Multiply::Columns& b) {
  constexpr int parts = Multiply::parts;
  if constexpr (parts == 3) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) Multiply::template add_part<0>(small[i], a[i], b);
#pragma unroll
    for (int i = 0; i < tiles; ++i) Multiply::template add_part<1>(small[i], a[i], b);
  }
#pragma unroll
  for (int i = 0; i < tiles; ++i) Multiply::template add_part<parts - 1>(sums[i], a[i], b);
}

}  // namespace phaseconv
