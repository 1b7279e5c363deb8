// Products of tensor cores, a warp at a time, on 32-bit words: a word is a float32 of one channel
// or two 16-bit elements of neighbouring channels. In both cases
//
//     sums[16 cells][8 columns] += a[16 cells][8 words] · b[8 words][8 columns]
//
// and lane 4·g + t holds a[g][t], a[g+8][t], a[g][t+4], a[g+8][t+4]; b[t][g], b[t+4][g]; and the
// sums [g][2t], [g][2t+1], [g+8][2t], [g+8][2t+1] (PTX ISA, "Matrix fragments for mma.m16n8k8" and
// "mma.m16n8k16").
#pragma once

namespace phaseconv {

struct F32;
struct TF32;
struct F16;
struct BF16;

__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

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

/// `sums += a · b`. Products of float32 that are small go to `small`, which may be the same: apart,
/// fewer instructions wait for each other.
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
  template <int tiles, class Sums>
  static __device__ __forceinline__ void add(Sums& sums, Sums&, const Cells* a, const Columns& b) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) multiply_tf32(sums[i], a[i].word, b.word[0], b.word[1]);
  }
};

template <>
struct Product<TF32, false> : Product<F16, false> {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) { word[i] = nearest_tf32(raw); }
  };  // weights are rounded as they are packed
  template <int tiles, class Sums>
  static __device__ __forceinline__ void add(Sums& sums, Sums&, const Cells* a, const Columns& b) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) multiply_tf32(sums[i], a[i].word, b.word[0], b.word[1]);
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
  template <int tiles, class Sums>
  static __device__ __forceinline__ void add(Sums& sums, Sums& small, const Cells* a,
                                             const Columns& b) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) multiply_tf32(small[i], a[i].lower, b.upper[0], b.upper[1]);
#pragma unroll
    for (int i = 0; i < tiles; ++i) multiply_tf32(small[i], a[i].upper, b.lower[0], b.lower[1]);
#pragma unroll
    for (int i = 0; i < tiles; ++i) multiply_tf32(sums[i], a[i].upper, b.upper[0], b.upper[1]);
  }
};

template <>
struct Product<F16, true> : Product<F16, false> {
  template <int tiles, class Sums>
  static __device__ __forceinline__ void add(Sums& sums, Sums&, const Cells* a, const Columns& b) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) {
      float(&sum)[4] = sums[i];
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[i].word[0]), "r"(a[i].word[1]), "r"(a[i].word[2]), "r"(a[i].word[3]),
            "r"(b.word[0]), "r"(b.word[1]));
    }
  }
};

template <>
struct Product<BF16, true> : Product<F16, false> {
  template <int tiles, class Sums>
  static __device__ __forceinline__ void add(Sums& sums, Sums&, const Cells* a, const Columns& b) {
#pragma unroll
    for (int i = 0; i < tiles; ++i) {
      float(&sum)[4] = sums[i];
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
          "{%8,%9}, {%0,%1,%2,%3};"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[i].word[0]), "r"(a[i].word[1]), "r"(a[i].word[2]), "r"(a[i].word[3]),
            "r"(b.word[0]), "r"(b.word[1]));
    }
  }
};

}  // namespace phaseconv
