// Copies between memory and a block's shared memory that go on while its threads do other things.
#pragma once

namespace phaseconv {

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return unsigned(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ unsigned load_shared(unsigned address) {
  unsigned word;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
  return word;
}

/// Writes to shared memory where the condition holds, without a branch.
__device__ __forceinline__ void store_shared_if(unsigned address, unsigned short value,
                                                bool condition) {
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p st.shared.u16 [%0], %1;}" ::"r"(address),
               "h"(value), "r"(unsigned(condition))
               : "memory");
}
__device__ __forceinline__ void store_shared_if(unsigned address, unsigned value, bool condition) {
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; @p st.shared.u32 [%0], %1;}" ::"r"(address),
               "r"(value), "r"(unsigned(condition))
               : "memory");
}
__device__ __forceinline__ void store_shared_if(unsigned address, float value, bool condition) {
  store_shared_if(address, __float_as_uint(value), condition);
}
template <int words>
__device__ __forceinline__ void store_shared_if(unsigned address, const unsigned (&word)[words],
                                                bool condition) {
  if constexpr (words == 4) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %5, 0; @p st.shared.v4.u32 [%0], {%1, %2, %3, %4};}" ::"r"(
            address),
        "r"(word[0]), "r"(word[1]), "r"(word[2]), "r"(word[3]), "r"(unsigned(condition))
        : "memory");
  } else if constexpr (words == 2) {
    asm volatile(
        "{.reg .pred p; setp.ne.u32 p, %3, 0; @p st.shared.v2.u32 [%0], {%1, %2};}" ::"r"(address),
        "r"(word[0]), "r"(word[1]), "r"(unsigned(condition))
        : "memory");
  } else {
    store_shared_if(address, word[0], condition);
  }
}
/// Keeps a value in its register: it is not worked out anew wherever it is used.
__device__ __forceinline__ unsigned kept(unsigned value) {
  asm volatile("" : "+r"(value));
  return value;
}

/// Copies 4 or 16 bytes to shared memory, aligned on both sides; zeros where there is nothing.
template <int bytes>
__device__ __forceinline__ void copy_to_shared(void* to, const void* from, bool exists) {
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(exists ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(exists ? 4 : 0)
                 : "memory");
  }
}

/// Ends a group of copies, and waits for all but the latest groups.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int groups>
__device__ __forceinline__ void wait_for_copies_but() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}
/// Waits for this thread's copies to shared memory.
__device__ __forceinline__ void wait_for_copies_to_shared() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
inline constexpr bool has_bulk_copies = true;

/// Makes what this thread wrote to shared memory visible to bulk copies, once a barrier follows.
__device__ __forceinline__ void fence_before_bulk_copies() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Copies from shared memory, both sides aligned to 16 bytes, `bytes` a multiple of 16.
/// `leaves_first`: the second-level cache gives up what was written before anything else.
template <bool leaves_first>
__device__ __forceinline__ void bulk_copy_from_shared(void* to, const void* from, unsigned bytes) {
  if constexpr (leaves_first) {
    asm volatile(
        "{.reg .b64 first; createpolicy.fractional.L2::evict_first.b64 first, 1.0; "
        "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%0], [%1], %2, first;}" ::"l"(
            __cvta_generic_to_global(to)),
        "r"(shared_address(from)), "r"(bytes)
        : "memory");
  } else {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(to)),
                 "r"(shared_address(from)), "r"(bytes)
                 : "memory");
  }
}
/// Copies to shared memory, aligned the same way; `done` counts the bytes that came.
__device__ __forceinline__ void bulk_copy_to_shared(void* to, const void* from, unsigned bytes,
                                                    unsigned long long* done) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(shared_address(done))
      : "memory");
}
/// A barrier in shared memory that so many threads arrive at, after bytes were announced and came.
__device__ __forceinline__ void start_barrier(unsigned long long* barrier, int threads) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(threads)
               : "memory");
}
__device__ __forceinline__ void expect_bytes(unsigned long long* barrier, unsigned bytes) {
  asm volatile(
      "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ __forceinline__ void arrive(unsigned long long* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Arrives there once this thread's copies of copy_to_shared have come.
__device__ __forceinline__ void arrive_after_copies(unsigned long long* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
               : "memory");
}
/// Waits until the barrier was passed an odd (parity 0) or even number of times.
__device__ __forceinline__ void wait_for_barrier(unsigned long long* barrier, unsigned parity) {
  asm volatile(
      "{.reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; "
      "@!done bra again;}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
/// Waits until this thread's bulk copies, but for the latest `groups` groups of them, have read
/// their shared memory.
template <int groups>
__device__ __forceinline__ void wait_for_bulk_reads() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(groups) : "memory");
}
/// Ends the group of copies that `wait_for_bulk_reads` waits for.
__device__ __forceinline__ void commit_bulk_copies() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
#else
inline constexpr bool has_bulk_copies = false;
__device__ __forceinline__ void fence_before_bulk_copies() {}
template <bool>
__device__ __forceinline__ void bulk_copy_from_shared(void*, const void*, unsigned) {}
__device__ __forceinline__ void bulk_copy_to_shared(void*, const void*, unsigned,
                                                    unsigned long long*) {}
__device__ __forceinline__ void start_barrier(unsigned long long*, int) {}
__device__ __forceinline__ void expect_bytes(unsigned long long*, unsigned) {}
__device__ __forceinline__ void arrive(unsigned long long*) {}
__device__ __forceinline__ void arrive_after_copies(unsigned long long*) {}
__device__ __forceinline__ void wait_for_barrier(unsigned long long*, unsigned) {}
template <int groups>
__device__ __forceinline__ void wait_for_bulk_reads() {}
__device__ __forceinline__ void commit_bulk_copies() {}
#endif

}  // namespace phaseconv
