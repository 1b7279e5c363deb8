// warp_matrices.cuh for host_cuda.h. The lanes of a warp show each other what they have, from
// barrier to barrier.
namespace host {
struct Lane {
  unsigned a[4], b[2];
  const void* place;
  unsigned address;
};
inline Lane lanes[1024];

/// The lanes of this thread's warp, once each of them has what it shows.
template <class Work>
void with_lanes(const Lane& own, Work work) {
  lanes[threadIdx.x] = own;
  __syncwarp();
  work(lanes + threadIdx.x / 32 * 32, static_cast<int>(threadIdx.x % 32));
  __syncwarp();
}
}  // namespace host

namespace phaseconv {

template <class WordProduct>
void multiply_words(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                    WordProduct product) {
  host::with_lanes({{a[0], a[1], a[2], a[3]}, {b0, b1}, nullptr}, [&](auto* lanes, int own) {
    for (int j = 0; j < 4; ++j) {
      const int row = own / 4, column = own % 4 * 2 + j % 2;
      for (int k = 0; k < 8; ++k) {
        sums[j] += product(lanes[row * 4 + k % 4].a[k / 4 * 2 + j / 2],
                           lanes[column * 4 + k % 4].b[k / 4]);
      }
    }
  });
}
inline void multiply_tf32(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  multiply_words(sums, a, b0, b1, [](unsigned x, unsigned y) {
    // The lowest 13 bits do not count.
    return __uint_as_float(x & 0xffffe000u) * __uint_as_float(y & 0xffffe000u);
  });
}
inline void multiply_f16(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  multiply_words(sums, a, b0, b1, [](unsigned x, unsigned y) {
    float sum = 0;
    for (int half = 0; half < 2; ++half, x >>= 16, y >>= 16) {
      float first, second;
      cvt_f32_f16(first, static_cast<unsigned short>(x));
      cvt_f32_f16(second, static_cast<unsigned short>(y));
      sum += first * second;
    }
    return sum;
  });
}
inline void multiply_bf16(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  multiply_words(sums, a, b0, b1, [](unsigned x, unsigned y) {
    return __uint_as_float(x << 16) * __uint_as_float(y << 16) +
           __uint_as_float(x & 0xffff0000u) * __uint_as_float(y & 0xffff0000u);
  });
}

inline void load_cells(unsigned (&a)[4], unsigned address) {
  host::Lane shown{};
  shown.address = address;
  host::with_lanes(shown, [&](auto* lanes, int own) {
    for (int i = 0; i < 4; ++i) {
      const unsigned place = lanes[8 * i + own / 4].address + own % 4 * 4;
      std::memcpy(&a[i], at_shared(place, 4), 4);
    }
  });
}
inline void load_turned(unsigned (&a)[4], const void* place) {
  host::with_lanes({{}, {}, place}, [&](auto* lanes, int own) {
    for (int i = 0; i < 4; ++i) {
      unsigned short halves[2];
      for (int half = 0; half < 2; ++half) {
        const auto* row =
            static_cast<const unsigned char*>(lanes[8 * i + own % 4 * 2 + half].place);
        std::memcpy(&halves[half], at_shared(shared_address(row), 16) + own / 4 * 2, 2);
      }
      a[i] = halves[0] | static_cast<unsigned>(halves[1]) << 16;
    }
  });
}

inline void store_cells(unsigned address, const unsigned (&a)[4]) {
  host::Lane shown{{a[0], a[1], a[2], a[3]}, {}, nullptr, address};
  host::with_lanes(shown, [&](auto* lanes, int own) {
    for (int i = 0; i < 4; ++i) {
      const unsigned place = lanes[8 * i + own / 4].address + own % 4 * 4;
      std::memcpy(at_shared(place, 4), &a[i], 4);
    }
  });
}

}  // namespace phaseconv
