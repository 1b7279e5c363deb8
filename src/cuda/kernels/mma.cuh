// Products of tensor cores, a warp at a time, on 32-bit words (warp_matrices.cuh), for each type of
// elements.
#pragma once

namespace phaseconv {

struct F32;
struct TF32;
struct F16;
struct BF16;

/// What tensor cores, which ignore the 13 lowest bits, take for a float32 rounded to 10 explicit
/// mantissa bits, to nearest, ties away. Of a number: half of the last bit that counts, added to an
/// infinity or a NaN, may make a number of it.
__device__ __forceinline__ unsigned rounds_to_tf32(unsigned word) { return word + 0x1000u; }
__device__ __forceinline__ bool is_number(unsigned word) {
  return fabsf(__uint_as_float(word)) < __uint_as_float(0x7f800000u);
}

/// One of the two parts of a float32 that together have at least 22 bits of it. What is not finite
/// is all in the upper part, and what rounds to infinity is cut instead.
__device__ inline unsigned split_tf32(float value, bool lower_part) {
  const unsigned bits = __float_as_uint(value), that_count = 0xffffe000u;
  const bool finite = is_number(bits);
  unsigned upper = finite ? rounds_to_tf32(bits) & that_count : bits;
  if (finite && !is_number(upper)) upper = bits & that_count;
  if (!lower_part) return upper;
  const unsigned lower = __float_as_uint(value - __uint_as_float(upper));
  return finite ? rounds_to_tf32(lower) & that_count : 0u;
}

/// `sums += a · b`, in `parts` instructions that may have others between them. Products of float32
/// that are small go to `small`, which may be the same: apart, fewer instructions wait for each
/// other.
///
/// Operands of one product: `Cells` and `Columns` are fragments, prepared once and used often.
/// This one is for words that hold a value with at most 11 bits: 16-bit elements as float32.
/// `long_sums`: see ProductOf.
template <class Element, bool pairs, bool long_sums = false>
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

template <bool long_sums>
struct Product<TF32, false, long_sums> : Product<F16, false> {
  struct Cells {
    unsigned word[4];
    __device__ __forceinline__ void set(int i, unsigned raw) {
      word[i] = is_number(raw) ? rounds_to_tf32(raw) : raw;
    }
  };  // weights are rounded as they are packed
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_tf32(sum, a.word, b.word[0], b.word[1]);
  }
};

/// float32 as three products of its upper and lower parts, the small ones first; what is left out,
/// lower times lower, is below 2^-22 of the product.
template <bool long_sums>
struct Product<F32, false, long_sums> {
  struct Cells {
    unsigned upper[4], lower[4];
    /// Of an infinity or a NaN the lower part is none, and so the sums are not numbers.
    __device__ __forceinline__ void set(int i, unsigned raw) {
      const float value = __uint_as_float(raw);
      if constexpr (long_sums) {
        // Tensor cores cut the upper part; of the lower one, up to 13 bits, they take 11.
        upper[i] = raw;
        lower[i] = __float_as_uint(value - __uint_as_float(raw & 0xffffe000u));
      } else {
        // 11 bits of it (T. J. Dekker, "A floating-point technique for extending the available
        // precision", 1971, with one rounding fewer). Of 2^115 and more it is not a number.
        const float nearest = fmaf(value, -8192.0f, value * 8193.0f);
        upper[i] = __float_as_uint(nearest);
        lower[i] = rounds_to_tf32(__float_as_uint(value - nearest));
      }
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

template <bool long_sums>
struct Product<F16, true, long_sums> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_f16(sum, a.word, b.word[0], b.word[1]);
  }
};

template <bool long_sums>
struct Product<BF16, true, long_sums> : Product<F16, false> {
  template <int part>
  static __device__ __forceinline__ void add_part(float (&sum)[4], const Cells& a,
                                                  const Columns& b) {
    multiply_bf16(sum, a.word, b.word[0], b.word[1]);
  }
};

/// That of a problem. Where sums have 16 terms and more an input may be cut instead of rounded as
/// it is split, which is two instructions instead of four: it loses up to 2^-21 of itself, always
/// in the same direction, but what a float32 loop loses grows faster with the terms
/// (docs/precision.md).
template <class Problem, bool pairs>
using ProductOf =
    Product<typename Problem::Element, pairs, (Problem::in_channels / Problem::groups >= 16)>;

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
