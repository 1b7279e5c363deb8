// Matrix products of a warpgroup, four warps, on operands in shared memory (sm_90a): with words as
// in mma.cuh,
//
//     sums[64 cells][columns] += a[64 cells][8 words] · b[8 words][columns]
//
// Operands in shared memory are core matrices, 8 rows (cells or columns) of 16 bytes (4 words)
// after each other, "no swizzle, K-major" in the PTX ISA ("Matrix-Descriptor Format", "Strides").
// Warp w has the sums of cells 16·w to 16·w + 15, as in mma.cuh. Cells may be in registers instead,
// as fragments of warp_matrices.cuh. The products go on while the warps do other things.
#pragma once

namespace phaseconv {

/// Where an operand lies, as instructions want it: address and distances in units of 16 bytes; from
/// eight rows to the next 8, from four words to the next `leading`, which is added to the address.
__device__ __forceinline__ unsigned long long core_matrices(unsigned place) {
  return (8ull << 32) | place;
}
__device__ __forceinline__ constexpr unsigned leading(unsigned distance) { return distance << 16; }

/// The same for all threads of the warp, and known as such.
__device__ __forceinline__ unsigned uniform(unsigned value) {
  return __shfl_sync(0xffffffff, value, 0);
}

enum class Operands { tf32, f16, bf16 };
__device__ constexpr Operands operands_of(const F32*) { return Operands::tf32; }
__device__ constexpr Operands operands_of(const TF32*) { return Operands::tf32; }
__device__ constexpr Operands operands_of(const F16*) { return Operands::f16; }
__device__ constexpr Operands operands_of(const BF16*) { return Operands::bf16; }

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/// Before the first product on sums that were written by other instructions.
__device__ __forceinline__ void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// For all but the latest `groups` groups that ended.
template <int groups = 0>
__device__ __forceinline__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups) : "memory");
}
/// Keeps what the compiler does with sums on its side of this.
template <int column_tiles, int cell_tiles>
__device__ __forceinline__ void pin(float (&sums)[column_tiles][cell_tiles][4]) {
#pragma unroll
  for (int c = 0; c < column_tiles; ++c) {
#pragma unroll
    for (int i = 0; i < cell_tiles; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(sums[c][i][j])::"memory");
    }
  }
}

// The sums of 1 to 16 column tiles as operands, and their names in the instruction.
#define PHASECONV_TILE(c)                                                                \
  "+f"(sums[first + c][i][0]), "+f"(sums[first + c][i][1]), "+f"(sums[first + c][i][2]), \
      "+f"(sums[first + c][i][3])
#define PHASECONV_TILES_1 PHASECONV_TILE(0)
#define PHASECONV_TILES_2 PHASECONV_TILES_1, PHASECONV_TILE(1)
#define PHASECONV_TILES_3 PHASECONV_TILES_2, PHASECONV_TILE(2)
#define PHASECONV_TILES_4 PHASECONV_TILES_3, PHASECONV_TILE(3)
#define PHASECONV_TILES_5 PHASECONV_TILES_4, PHASECONV_TILE(4)
#define PHASECONV_TILES_6 PHASECONV_TILES_5, PHASECONV_TILE(5)
#define PHASECONV_TILES_7 PHASECONV_TILES_6, PHASECONV_TILE(6)
#define PHASECONV_TILES_8 PHASECONV_TILES_7, PHASECONV_TILE(7)
#define PHASECONV_TILES_9 PHASECONV_TILES_8, PHASECONV_TILE(8)
#define PHASECONV_TILES_10 PHASECONV_TILES_9, PHASECONV_TILE(9)
#define PHASECONV_TILES_11 PHASECONV_TILES_10, PHASECONV_TILE(10)
#define PHASECONV_TILES_12 PHASECONV_TILES_11, PHASECONV_TILE(11)
#define PHASECONV_TILES_13 PHASECONV_TILES_12, PHASECONV_TILE(12)
#define PHASECONV_TILES_14 PHASECONV_TILES_13, PHASECONV_TILE(13)
#define PHASECONV_TILES_15 PHASECONV_TILES_14, PHASECONV_TILE(14)
#define PHASECONV_TILES_16 PHASECONV_TILES_15, PHASECONV_TILE(15)
#define PHASECONV_NAMES_1 "%0,%1,%2,%3"
#define PHASECONV_NAMES_2 PHASECONV_NAMES_1 ",%4,%5,%6,%7"
#define PHASECONV_NAMES_3 PHASECONV_NAMES_2 ",%8,%9,%10,%11"
#define PHASECONV_NAMES_4 PHASECONV_NAMES_3 ",%12,%13,%14,%15"
#define PHASECONV_NAMES_5 PHASECONV_NAMES_4 ",%16,%17,%18,%19"
#define PHASECONV_NAMES_6 PHASECONV_NAMES_5 ",%20,%21,%22,%23"
#define PHASECONV_NAMES_7 PHASECONV_NAMES_6 ",%24,%25,%26,%27"
#define PHASECONV_NAMES_8 PHASECONV_NAMES_7 ",%28,%29,%30,%31"
#define PHASECONV_NAMES_9 PHASECONV_NAMES_8 ",%32,%33,%34,%35"
#define PHASECONV_NAMES_10 PHASECONV_NAMES_9 ",%36,%37,%38,%39"
#define PHASECONV_NAMES_11 PHASECONV_NAMES_10 ",%40,%41,%42,%43"
#define PHASECONV_NAMES_12 PHASECONV_NAMES_11 ",%44,%45,%46,%47"
#define PHASECONV_NAMES_13 PHASECONV_NAMES_12 ",%48,%49,%50,%51"
#define PHASECONV_NAMES_14 PHASECONV_NAMES_13 ",%52,%53,%54,%55"
#define PHASECONV_NAMES_15 PHASECONV_NAMES_14 ",%56,%57,%58,%59"
#define PHASECONV_NAMES_16 PHASECONV_NAMES_15 ",%60,%61,%62,%63"
#define PHASECONV_A(n0, n1, n2, n3) "{" n0 "," n1 "," n2 "," n3 "}"
// With the products' first operand in shared memory (a), or in registers (a[0] to a[3]).
#define PHASECONV_WGMMA(tiles, shape, ab, transposed, a_name, b_name, adds_name, ...)             \
  asm volatile("{.reg .pred add; setp.ne.u32 add, " adds_name                                     \
               ", 0; wgmma.mma_async.sync.aligned."                                               \
               "m64n" shape ".f32." ab " {" PHASECONV_NAMES_##tiles "}, " a_name ", " b_name      \
                                                                    ", add, 1, 1" transposed ";}" \
               : PHASECONV_TILES_##tiles                                                          \
               : __VA_ARGS__, "l"(b), "r"(unsigned(adds)));
#define PHASECONV_PRODUCT(tiles, columns, n0, n1, n2, n3, n4, n5)                                  \
  if constexpr (count == tiles) {                                                                  \
    if constexpr (in_shared && operands == Operands::tf32) {                                       \
      PHASECONV_WGMMA(tiles, columns "k8", "tf32.tf32", "", n0, n1, n2, "l"(a))                    \
    } else if constexpr (in_shared && operands == Operands::f16) {                                 \
      PHASECONV_WGMMA(tiles, columns "k16", "f16.f16", ", 0, 0", n0, n1, n2, "l"(a))               \
    } else if constexpr (in_shared) {                                                              \
      PHASECONV_WGMMA(tiles, columns "k16", "bf16.bf16", ", 0, 0", n0, n1, n2, "l"(a))             \
    } else if constexpr (operands == Operands::tf32) {                                             \
      PHASECONV_WGMMA(tiles, columns "k8", "tf32.tf32", "", PHASECONV_A(n0, n1, n2, n3), n4, n5,   \
                      "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                                  \
    } else if constexpr (operands == Operands::f16) {                                              \
      PHASECONV_WGMMA(tiles, columns "k16", "f16.f16", ", 0", PHASECONV_A(n0, n1, n2, n3), n4, n5, \
                      "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                                  \
    } else {                                                                                       \
      PHASECONV_WGMMA(tiles, columns "k16", "bf16.bf16", ", 0", PHASECONV_A(n0, n1, n2, n3), n4,   \
                      n5, "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]))                              \
    }                                                                                              \
  }

/// `sums[first .. first + count)[i] += a · b`, of `count` column tiles, or `= a · b` where nothing
/// `adds`. `a` is where cells lie in shared memory, or this lane's fragment of them, which stays as
/// it is until they are waited for.
template <int count, Operands operands, class Sums, class Cells>
__device__ __forceinline__ void multiply_shared(Sums& sums, int first, int i, const Cells& a,
                                                unsigned long long b, bool adds = true) {
  constexpr bool in_shared = sizeof(Cells) == 8;
  PHASECONV_PRODUCT(1, "8", "%4", "%5", "%6", "%7", "%8", "%9")
  PHASECONV_PRODUCT(2, "16", "%8", "%9", "%10", "%11", "%12", "%13")
  PHASECONV_PRODUCT(3, "24", "%12", "%13", "%14", "%15", "%16", "%17")
  PHASECONV_PRODUCT(4, "32", "%16", "%17", "%18", "%19", "%20", "%21")
  PHASECONV_PRODUCT(5, "40", "%20", "%21", "%22", "%23", "%24", "%25")
  PHASECONV_PRODUCT(6, "48", "%24", "%25", "%26", "%27", "%28", "%29")
  PHASECONV_PRODUCT(7, "56", "%28", "%29", "%30", "%31", "%32", "%33")
  PHASECONV_PRODUCT(8, "64", "%32", "%33", "%34", "%35", "%36", "%37")
  PHASECONV_PRODUCT(9, "72", "%36", "%37", "%38", "%39", "%40", "%41")
  PHASECONV_PRODUCT(10, "80", "%40", "%41", "%42", "%43", "%44", "%45")
  PHASECONV_PRODUCT(11, "88", "%44", "%45", "%46", "%47", "%48", "%49")
  PHASECONV_PRODUCT(12, "96", "%48", "%49", "%50", "%51", "%52", "%53")
  PHASECONV_PRODUCT(13, "104", "%52", "%53", "%54", "%55", "%56", "%57")
  PHASECONV_PRODUCT(14, "112", "%56", "%57", "%58", "%59", "%60", "%61")
  PHASECONV_PRODUCT(15, "120", "%60", "%61", "%62", "%63", "%64", "%65")
  PHASECONV_PRODUCT(16, "128", "%64", "%65", "%66", "%67", "%68", "%69")
}
#else  // what a host's compiler reads
__device__ __forceinline__ void begin_products() {}
__device__ __forceinline__ void end_products() {}
template <int groups = 0>
__device__ __forceinline__ void wait_for_products() {}
template <int column_tiles, int cell_tiles>
__device__ __forceinline__ void pin(float (&)[column_tiles][cell_tiles][4]) {}
template <int count, Operands operands, class Sums, class Cells>
__device__ __forceinline__ void multiply_shared(Sums&, int, int, const Cells&, unsigned long long,
                                                bool = true) {}
#endif

}  // namespace phaseconv
