// A warp's instructions on matrices of 32-bit words: a word is a float32 of one channel or two
// 16-bit elements of neighbouring channels. In both cases
//
//     sums[16 cells][8 columns] += a[16 cells][8 words] · b[8 words][8 columns]
//
// and lane 4·g + t holds a[g][t], a[g+8][t], a[g][t+4], a[g+8][t+4]; b[t][g], b[t+4][g]; and the
// sums [g][2t], [g][2t+1], [g+8][2t], [g+8][2t+1] (PTX ISA, "Matrix fragments for mma.m16n8k8" and
// "mma.m16n8k16").
#pragma once

namespace phaseconv {

__device__ __forceinline__ void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_f16(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_bf16(float (&sums)[4], const unsigned (&a)[4], unsigned b0,
                                              unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// The words a of 16-bit elements that lie in shared memory channel by channel, those of eight
/// cells in 16 bytes: lane 8·i + r names the place of channel r (i < 2) or r + 8, cells 0 to 7 (i
/// even) or 8 to 15.
__device__ __forceinline__ void load_turned(unsigned (&a)[4], const void* place) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(shared_address(place))
               : "memory");
}

/// The words a of 16 cells that lie in shared memory cell by cell, four words in 16 bytes: lane
/// 8·i + r names the place of cell r (i even) or r + 8, words 0 to 3 (i < 2) or 4 to 7.
__device__ __forceinline__ void load_cells(unsigned (&a)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(address)
               : "memory");
}

/// The other way: writes words that lanes have as `load_turned` leaves them, eight cells of eight
/// channels in each, to where lane 8·i + r names the place of cell r of word i (sm_90 and later).
__device__ __forceinline__ void store_cells(unsigned address, const unsigned (&a)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3])
               : "memory");
}

}  // namespace phaseconv
