// wgmma.cuh for host_cuda.h: each thread computes its own sums, from the operands where they lie,
// or from what the lanes of its warp have of cells.
namespace phaseconv {

inline unsigned long long core_matrices(unsigned place) { return 8ull << 32 | place; }
inline constexpr unsigned leading(unsigned distance) { return distance << 16; }
inline unsigned uniform(unsigned value) { return value; }

enum class Operands { tf32, f16, bf16 };
constexpr Operands operands_of(const F32*) { return Operands::tf32; }
constexpr Operands operands_of(const TF32*) { return Operands::tf32; }
constexpr Operands operands_of(const F16*) { return Operands::f16; }
constexpr Operands operands_of(const BF16*) { return Operands::bf16; }

inline void begin_products() {}
inline void end_products() {}
template <int groups = 0>
void wait_for_products() {}
template <int column_tiles, int cell_tiles>
void pin(float (&)[column_tiles][cell_tiles][4]) {}

/// Word k of row (or column) `row` of an operand.
inline unsigned operand_word(unsigned long long matrices, int row, int k) {
  const unsigned address = matrices & 0x3fff, leading = matrices >> 16 & 0x3fff,
                 stride = matrices >> 32 & 0x3fff;
  const std::size_t place = address + k / 4 * leading + row / 8 * stride + row % 8;
  unsigned word;
  std::memcpy(&word, at_shared(place * 16 + k % 4 * 4, 4), sizeof word);
  return word;
}
/// The product of two words.
template <Operands operands>
float word_product(unsigned a, unsigned b) {
  if constexpr (operands == Operands::tf32) {
    // The lowest 13 bits do not count.
    return __uint_as_float(a & 0xffffe000u) * __uint_as_float(b & 0xffffe000u);
  } else {
    float sum = 0;
    for (int half = 0; half < 2; ++half, a >>= 16, b >>= 16) {
      float x = __uint_as_float(a << 16), y = __uint_as_float(b << 16);
      if constexpr (operands == Operands::f16) {
        cvt_f32_f16(x, static_cast<unsigned short>(a));
        cvt_f32_f16(y, static_cast<unsigned short>(b));
      }
      sum += x * y;
    }
    return sum;
  }
}

template <int count, Operands operands, class Sums>
void multiply_shared(Sums& sums, int first, int i, unsigned long long a, unsigned long long b,
                     bool adds = true) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
  for (int c = 0; c < count; ++c) {
    for (int j = 0; j < 4; ++j) {
      if (!adds) sums[first + c][i][j] = 0;
      const int row = warp * 16 + lane / 4 + j / 2 * 8, column = c * 8 + lane % 4 * 2 + j % 2;
      for (int k = 0; k < 8; ++k) {
        sums[first + c][i][j] +=
            word_product<operands>(operand_word(a, row, k), operand_word(b, column, k));
      }
    }
  }
}

template <int count, Operands operands, class Sums>
void multiply_shared(Sums& sums, int first, int i, const unsigned (&a)[4], unsigned long long b,
                     bool adds = true) {
  host::with_lanes({{a[0], a[1], a[2], a[3]}, {}, nullptr, 0}, [&](auto* lanes, int own) {
    for (int c = 0; c < count; ++c) {
      for (int j = 0; j < 4; ++j) {
        if (!adds) sums[first + c][i][j] = 0;
        const int column = c * 8 + own % 4 * 2 + j % 2;
        for (int k = 0; k < 8; ++k) {
          const unsigned word = lanes[own / 4 * 4 + k % 4].a[k / 4 * 2 + j / 2];
          sums[first + c][i][j] += word_product<operands>(word, operand_word(b, column, k));
        }
      }
    }
  });
}

}  // namespace phaseconv
