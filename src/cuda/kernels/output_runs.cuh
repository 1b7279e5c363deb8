// A block's outputs with channels first, on their way through shared memory: they lie there as they
// will in memory, at the same offset modulo a sector and without gaps where the box covers an axis.
// Whole runs leave it.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct OutputRuns {
  using Stored = typename Problem::Element::Stored;
  static constexpr int merged = int(spans_of<Problem, Plan>().merged);
  static constexpr Index to_h = Problem::w.output();
  static constexpr Index to_d = to_h * Problem::h.output();
  static constexpr Index to_c = to_d * Problem::d.output();
  static constexpr Index run_elements =
      least(Plan::box_w * Problem::w.stride, Problem::w.output()) *
      (merged < 1 ? 1 : least(Plan::box_h * Problem::h.stride, Problem::h.output())) *
      (merged < 2 ? 1 : least(Plan::box_d * Problem::d.stride, Problem::d.output()));
  static constexpr bool leaves_first =
      leave_first(Problem::batch * Problem::out_channels * to_c * Index(sizeof(Stored)),
                  run_elements* Index(sizeof(Stored)));

  Stored* output;  ///< the block's first one in memory
  Stored* staged;  ///< the same one in shared memory
  int group, d, h, w;
  int channels, size_d, size_h, size_w;  ///< outputs of the block

  OutputRuns() = default;
  template <class Box>
  __device__ __forceinline__ OutputRuns(Stored* image, unsigned char* shared, const Box& box)
      : group(box.group), d(box.d), h(box.h), w(box.w) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    output = image + box.group * tile.oc * to_c + box.d * Problem::d.stride * to_d +
             box.h * Problem::h.stride * to_h + box.w * Problem::w.stride;
    staged = reinterpret_cast<Stored*>(shared) + beyond<int(kSectorBytes / sizeof(Stored))>(output);
    channels = int(least(Problem::groups - group, Plan::group_block) * tile.oc);
    size_d = outputs<Problem::d>(d, Plan::box_d);
    size_h = outputs<Problem::h>(h, Plan::box_h);
    size_w = outputs<Problem::w>(w, Plan::box_w);
  }

  static __device__ __forceinline__ constexpr int offset(int channel, int o_d, int o_h, int o_w) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    return channel * int(tile.y_c) + o_d * int(tile.y_d) + o_h * int(tile.y_h) + o_w;
  }
  /// Of a group's first channel and a span's first output.
  __device__ __forceinline__ Stored* place(int own_group, int span_d, int span_h,
                                           int span_w) const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    return staged +
           offset((own_group - group) * int(tile.oc), (span_d - d) * int(Problem::d.stride),
                  (span_h - h) * int(Problem::h.stride), (span_w - w) * int(Problem::w.stride));
  }

  /// From shared memory to memory. Every thread has passed `fence_before_bulk_copies` and a barrier
  /// since the last write.
  __device__ __forceinline__ void store() const {
    // So many threads for a run; the last ones may be fewer.
    constexpr int together = has_bulk_copies ? 2 : 32;
    constexpr int teams = (int(Plan::threads) + together - 1) / together;
    const int team = threadIdx.x / together, own = threadIdx.x % together;
    const int lanes = int(least(together, Plan::threads - team * together));
    const int count =
        (merged < 3 ? channels : 1) * (merged < 2 ? size_d : 1) * (merged < 1 ? size_h : 1);
    for (int run = team; run < count; run += teams) {
      int rest = run;
      const auto take = [&](int size) {
        const int digit = rest % size;
        rest /= size;
        return digit;
      };
      const int o_h = merged < 1 ? take(size_h) : 0;
      const int o_d = merged < 2 ? take(size_d) : 0;
      const int channel = merged < 3 ? rest : 0;
      const int length = size_w * (merged < 1 ? 1 : size_h) * (merged < 2 ? 1 : size_d) *
                         (merged < 3 ? 1 : channels);
      const Run<Stored, leaves_first> whole(output + channel * to_c + o_d * to_d + o_h * to_h,
                                            staged + offset(channel, o_d, o_h, 0), length);
      whole.write(own, lanes);
    }
    commit_bulk_copies();
  }

 private:
  template <Axis axis>
  static __device__ __forceinline__ int outputs(int span, Index box) {
    return int(least(axis.output() - span * axis.stride, box * axis.stride));
  }
};

}  // namespace phaseconv
