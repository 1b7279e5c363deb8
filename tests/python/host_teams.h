// teams.cuh for host_cuda.h: registers are nobody's, and barriers those of host_cuda.h.
namespace phaseconv {

template <int first, int size, int pieces_ahead = 1>
struct Team {
  static constexpr int count = size, ahead = pieces_ahead;
  static int number() { return int(threadIdx.x) - first; }
  static bool has_this() { return unsigned(number()) < unsigned(size); }
};

/// Of which threads a barrier is nobody says: those that come, as many as there should be.
template <int barrier, int threads>
void sync_team() {
  host::Barrier& own = host::barriers[barrier];
  const std::size_t before = own.passed;
  if (++own.here == threads) {
    own.here = 0;
    ++own.passed;
  }
  while (own.passed == before) host::yield();
}
template <int barrier, int threads>
bool sync_team_or(bool value) {
  static bool any = false;
  any |= value;
  sync_team<barrier, threads>();
  const bool found = any;
  sync_team<barrier, threads>();
  any = false;
  sync_team<barrier, threads>();
  return found;
}
template <int count>
void leave_registers() {}
template <int count>
void take_registers() {}

/// Buffers that are filled and emptied one after the other. Each has a barrier that it is full and,
/// `buffers` barriers later, one that it is free.
template <int buffers>
struct Ring {
  unsigned long long* barriers;
  int at = 0;
  unsigned turn = 0;  ///< odd and even, of the whole ring

  unsigned long long* full() const { return barriers + at; }
  unsigned long long* free() const { return barriers + buffers + at; }
  void wait_full() const { wait_for_barrier(full(), turn); }
  void wait_free() const { wait_for_barrier(free(), turn ^ 1); }
  void advance() {
    if (++at == buffers) at = 0, turn ^= 1;
  }
  /// One thread, before anything: so many arrivals make a buffer full, or free.
  void start(int fillers, int readers) const {
    for (int i = 0; i < buffers; ++i) {
      start_barrier(barriers + i, fillers);
      start_barrier(barriers + buffers + i, readers);
    }
  }
};

}  // namespace phaseconv
