// The inputs around a box of spans of phase_fma, channels first: of each channel the planes and
// rows that any span of the box reads, with zeros where there is no input. They come to shared
// memory with copies that go on while weights are loaded; then no span asks whether an input
// exists.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

/// A block's box: its first image, group, spans.
template <class Problem, class Plan>
struct SpanBox {
  int group, d, h, w;
  Index image;
  __device__ __forceinline__ explicit SpanBox(unsigned number) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    const auto take = [&](Index radix) {
      if (radix == 1) return 0;
      const unsigned digit = number % unsigned(radix);
      number /= unsigned(radix);
      return int(digit);
    };
    w = take(tile.blocks_w) * int(tile.plan.box_w);
    h = take(tile.blocks_h) * int(tile.plan.box_h);
    d = take(tile.blocks_d) * int(tile.plan.box_d);
    group = take(tile.group_blocks) * int(tile.plan.groups);
    image = number;
  }
};

template <class Problem, class Plan>
struct SpanInputs {
  using Stored = typename Problem::Element::Stored;
  using Box = SpanBox<Problem, Plan>;

  Stored* staged;

  /// Starts to copy; `input`: of the box's image and first group.
  __device__ __forceinline__ void fetch(const Stored* input, const Box& box) const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    // Rows begin on 16 bytes in memory where all of them do, in shared memory always.
    constexpr bool whole =
        Problem::w.input % unit == 0 && (tile.blocks_w == 1 || Plan::box_w % unit == 0);
    if (whole && reinterpret_cast<unsigned long long>(input) % 16 == 0) {
      copy<16>(input, box);
    } else {
      copy<size>(input, box);
    }
    commit_copies();
  }

  /// The first input around a span of one of the box's groups.
  __device__ __forceinline__ const Stored* around(int group, int d, int h, int w) const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    return staged + int(tile.lead) + group * int(tile.ic * tile.x_c) + d * int(tile.x_d) +
           h * int(tile.x_h) + w;
  }

 private:
  static constexpr int size = int(sizeof(Stored)), unit = 16 / size;
  static constexpr Index from_h = Problem::w.input, from_d = from_h * Problem::h.input,
                         from_c = from_d * Problem::d.input;

  /// So many bytes at a time. Threads share a row; each takes the same piece of every so many rows.
  template <int bytes>
  __device__ __forceinline__ void copy(const Stored* input, const Box& box) const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    constexpr int count = bytes / size, pieces = int(tile.x_h) / count;
    constexpr int team = int(team_of(pieces, Plan::threads)), teams = int(Plan::threads) / team;
    const int first_d = box.d + int(span_axis<Problem::d>().first_input());
    const int first_h = box.h + int(span_axis<Problem::h>().first_input());
    const int first_w = box.w + int(span_axis<Problem::w>().first_input()) - int(tile.lead);
    const int channels = int(least(Problem::groups - box.group, Plan::group_block) * tile.ic);
    const int row = int(threadIdx.x) / team;
    for (int piece = int(threadIdx.x) % team; piece < pieces; piece += team) {
      const int w = first_w + piece * count;
      const bool in_w = unsigned(w) < unsigned(Problem::w.input);
#pragma unroll 1
      for (int channel = 0; channel < channels; ++channel) {
#pragma unroll 1
        for (int i = 0; i < int(tile.in_d); ++i) {
          const bool there = in_w && unsigned(first_d + i) < unsigned(Problem::d.input);
          const Stored* from =
              input + channel * from_c + (first_d + i) * from_d + (first_h + row) * from_h + w;
          Stored* to = staged + channel * int(tile.x_c) + i * int(tile.x_d) + row * int(tile.x_h) +
                       piece * count;
#pragma unroll 4
          for (int j = row; j < int(tile.in_h); j += teams) {
            const bool exists = there && unsigned(first_h + j) < unsigned(Problem::h.input);
            if constexpr (bytes == 2) {
              *to = exists ? __ldg(from) : Stored(0);
            } else {
              copy_to_shared<bytes>(to, exists ? from : input, exists);
            }
            from += teams * from_h;
            to += teams * int(tile.x_h);
          }
        }
      }
    }
  }
};

}  // namespace phaseconv
