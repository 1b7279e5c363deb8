// A run of outputs on its way from shared memory to memory. It lies there as it will in memory, at
// the same offset modulo 16 bytes. Its aligned middle leaves in bulk (sm_90 and later) or in
// 16-byte stores; the few elements before and after it in one store, or in one for each bit of
// their number.
#pragma once

namespace phaseconv {

/// Elements since the last one that lies at a multiple of so many.
template <int elements, class Stored>
__device__ __forceinline__ int beyond(const Stored* pointer) {
  return int(reinterpret_cast<unsigned long long>(pointer) / sizeof(Stored) % elements);
}

/// Outputs that the second-level cache cannot hold leave it first, so that inputs stay. Not those
/// of short runs: the sectors at their ends have two writers, who should meet there.
__device__ constexpr bool leave_first(Index output_bytes, Index run_bytes) {
  return output_bytes > Index{48} * 1024 * 1024 && run_bytes >= 4000;
}

template <class Stored, bool leaves_first>
struct Run {
  static constexpr int unit = 16 / int(sizeof(Stored));  ///< elements of an aligned store

  Stored* to;
  const Stored* from;
  int length, head, middle, tail;

  __device__ __forceinline__ Run(Stored* memory, const Stored* shared, int elements)
      : to(memory), from(shared), length(elements) {
    head = int(least((unit - beyond<unit>(to)) % unit, length));
    tail = (length - head) % unit;
    middle = length - head - tail;
  }

  /// By `lanes` threads: a constant.
  __device__ __forceinline__ void write(int own, int lanes) const {
    if constexpr (has_bulk_copies) {
      if (own == 0 && middle > 0) {
        bulk_copy_from_shared<leaves_first>(to + head, from + head, middle * int(sizeof(Stored)));
      }
    } else {
      for (int i = own * unit; i < middle; i += lanes * unit) copy<unit>(head + i);
    }
    if (lanes > 2 || middle == 0) {
#pragma unroll 1
      for (int i = own; i < length - middle; i += lanes) copy<1>(i < head ? i : i + middle);
    } else {
      if (own == 0) before();
      if (own == lanes - 1) after(head + middle);
    }
  }

 private:
  template <int elements>
  __device__ __forceinline__ void copy(int at) const {
    constexpr int bytes = elements * int(sizeof(Stored));
    using Narrow = typename Choose<bytes == 4, unsigned, unsigned short>::Type;
    using Wide = typename Choose<bytes == 16, uint4, uint2>::Type;
    using Words = typename Choose<(bytes >= 8), Wide, Narrow>::Type;
    *reinterpret_cast<Words*>(to + at) = *reinterpret_cast<const Words*>(from + at);
  }
  /// From the first element to the aligned ones, in stores that grow, and from those to the last
  /// one in stores that shrink: so each is aligned.
  template <int elements = 1>
  __device__ __forceinline__ void before(int at = 0) const {
    if constexpr (elements < unit) {
      if (head & elements) copy<elements>(at);
      before<2 * elements>(at + (head & elements));
    }
  }
  template <int elements = unit / 2>
  __device__ __forceinline__ void after(int at) const {
    if constexpr (elements > 0) {
      if (tail & elements) copy<elements>(at);
      after<elements / 2>(at + (tail & elements));
    }
  }
};

}  // namespace phaseconv
