// copy.cuh for host_cuda.h: what goes on in the background there is done at once here.
namespace phaseconv {

inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
/// Where so many bytes of shared memory are; ends the process where the block has none.
inline unsigned char* at_shared(std::size_t address, std::size_t bytes) {
  if (address % bytes != 0 || address + bytes > host::shared_bytes) {
    std::fprintf(stderr, "shared memory has %zu bytes, %zu at %zu are beyond or misaligned\n",
                 host::shared_bytes, bytes, address);
    std::abort();
  }
  return shared + address;
}
inline unsigned load_shared(unsigned address) {
  unsigned word;
  std::memcpy(&word, at_shared(address, sizeof word), sizeof word);
  return word;
}
template <class Value>
void store_shared_if(unsigned address, const Value& value, bool condition) {
  if (condition) std::memcpy(at_shared(address, sizeof value), &value, sizeof value);
}
inline unsigned kept(unsigned value) { return value; }

template <int bytes>
void copy_to_shared(void* to, const void* from, bool exists) {
  unsigned char* const here = at_shared(shared_address(to), bytes);
  if (exists) {
    std::memcpy(here, from, bytes);
  } else {
    std::memset(here, 0, bytes);
  }
}
inline void wait_for_copies_to_shared() {}
inline void commit_copies() {}
template <int groups>
void wait_for_copies_but() {}

inline constexpr bool has_bulk_copies = true;
inline void fence_before_bulk_copies() {}
template <bool>
void bulk_copy_from_shared(void* to, const void* from, unsigned bytes) {
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(from) % 16 != 0 || bytes % 16 != 0 || bytes == 0) {
    std::abort();
  }
  std::memcpy(to, from, bytes);
}
template <int groups>
void wait_for_bulk_reads() {}
inline void commit_bulk_copies() {}

inline void bulk_copy_to_shared(void* to, const void* from, unsigned bytes, unsigned long long*) {
  for (unsigned i = 0; i < bytes; i += 16) {
    std::memcpy(at_shared(shared_address(to) + i, 16), static_cast<const char*>(from) + i, 16);
  }
}
/// Arrivals that it takes and those that are missing, 24 bits each, and the times that it was
/// passed.
inline void start_barrier(unsigned long long* barrier, int threads) {
  *barrier = static_cast<unsigned long long>(threads) << 40 |
             static_cast<unsigned long long>(threads) << 16;
}
inline void expect_bytes(unsigned long long*, unsigned) {}
inline void arrive(unsigned long long* barrier) {
  *barrier -= 1ull << 16;
  if ((*barrier >> 16 & 0xffffff) != 0) return;
  const unsigned long long passed = (*barrier + 1) & 0xffff;
  start_barrier(barrier, static_cast<int>(*barrier >> 40));
  *barrier |= passed;
}
inline void arrive_after_copies(unsigned long long* barrier) { arrive(barrier); }
inline void wait_for_barrier(unsigned long long* barrier, unsigned parity) {
  while ((*barrier & 1) == parity) host::yield();
}

}  // namespace phaseconv
