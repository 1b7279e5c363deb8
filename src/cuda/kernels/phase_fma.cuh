// The phase_fma family, for layers with few channels a group (depthwise above all): plain
// multiply-adds. A thread computes rows of spans (span_rows.cuh). With channels last neighbouring
// threads have neighbouring channels and write straight to memory; with channels first a block's
// outputs meet in shared memory and leave it in long runs, and its inputs may come by way of shared
// memory, those of the next box while this one is computed.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct PhaseFma {
  using Rows = SpanRows<Problem, Plan>;
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = typename Rows::Packed;
  using Box = typename Rows::Box;
  using Inputs = typename Rows::Inputs;
  using Runs = typename Rows::Runs;

  static constexpr Index blocks = spans_of<Problem, Plan>().tiles;
  static constexpr Index shared_bytes = spans_of<Problem, Plan>().shared_bytes;

  const Stored* input;
  const float* packed;
  const Stored* bias;
  Stored* output;

  __device__ __forceinline__ void run() const {
    wait_for_earlier_kernels();
    constexpr Spans tile = spans_of<Problem, Plan>();
    constexpr int read = int(tile.read_bytes()), written = int(tile.written_bytes());
    if constexpr (last) {
      const Box box(blockIdx.x);
      const Runs none{};
      if constexpr (read == sizeof(Stored) && written == sizeof(Stored)) {
        work<read, written>(box, {}, none);
      } else if (reinterpret_cast<unsigned long long>(input) % read == 0 &&
                 reinterpret_cast<unsigned long long>(output) % written == 0) {
        work<read, written>(box, {}, none);
      } else {
        work<sizeof(Stored), sizeof(Stored)>(box, {}, none);
      }
    } else if (written == sizeof(Stored) ||
               reinterpret_cast<unsigned long long>(output) % written != 0) {
      boxes<read, sizeof(Stored)>();
    } else {
      boxes<read, written>();
    }
  }

 private:
  static constexpr bool last = Rows::last, staged = Rows::staged;

  /// With channels first: one box, or one after the other.
  template <int read, int written>
  __device__ __forceinline__ void boxes() const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    extern __shared__ __align__(128) unsigned char shared[];
    unsigned number = blockIdx.x;
    if constexpr (staged) fetch(Box(number), shared);
#pragma unroll 1
    for (int turn = 0;; ++turn) {
      const Box box(number);
      const Runs runs(output + box.image * Problem::out_channels * Rows::y_positions,
                      shared + tile.output_at, box);
      number += gridDim.x;
      const bool more = number < unsigned(tile.tiles);
      const int own = turn % 2 * int(tile.input_bytes);
      if constexpr (Plan::buffers > 1) {
        if (more) {
          fetch(Box(number), shared + (int(tile.input_bytes) - own));
        } else {
          commit_copies();
        }
      }
      work<read, written>(box, Inputs{reinterpret_cast<Stored*>(shared + own)}, runs);
      fence_before_bulk_copies();
      __syncthreads();
      runs.store();
      if (!more) break;
    }
    wait_for_bulk_reads<0>();
  }
  __device__ __forceinline__ void fetch(const Box& box, unsigned char* shared) const {
    Inputs{reinterpret_cast<Stored*>(shared)}.fetch(
        input + (box.image * Problem::in_channels + box.group * Rows::ic) * Rows::x_positions, box);
  }

  template <int read, int written>
  __device__ __forceinline__ void work(const Box& box, const Inputs& inputs,
                                       const Runs& runs) const {
    if constexpr (Plan::fused_axes >= 3 || Problem::d.stride == 1) {
      part<-1, read, written>(box, inputs, runs);
    } else {
      parts_from<0, read, written>(box, inputs, runs);
    }
  }
  template <int slot, int read, int written>
  __device__ __forceinline__ void parts_from(const Box& box, const Inputs& inputs,
                                             const Runs& runs) const {
    part<slot, read, written>(box, inputs, runs);
    if constexpr (slot + 1 < Problem::d.stride) {
      parts_from<slot + 1, read, written>(box, inputs, runs);
    }
  }

  /// Computes one slot along d of all spans of the box, or all slots (-1).
  template <int slot, int read, int written>
  __device__ __forceinline__ void part(const Box& box, const Inputs& inputs,
                                       const Runs& runs) const {
    constexpr Spans tile = spans_of<Problem, Plan>();
    constexpr int lanes = int(tile.lanes), positions = int(Plan::threads) / lanes;
    constexpr int own = Rows::own, oc = Rows::oc, row = Rows::row;
    const Rows rows{input, packed, bias, output};
    const int lane = last ? threadIdx.x % lanes : threadIdx.x / positions;
    // Threads of groups that there are not have nothing to do, but wait with the others.
    const bool works =
        Problem::groups % Plan::group_block == 0 || box.group + lane * own < Problem::groups;
    const int group = works ? box.group + lane * own : 0;

    typename Rows::Weights weights;
#pragma unroll
    for (int kd = 0; kd < Packed::planes; ++kd) {
      if (Rows::template in_part<slot>(kd)) Packed::load(packed, group, kd, weights[kd]);
    }
    float offsets[Rows::out] = {};
    if constexpr (Problem::bias) {
#pragma unroll
      for (int i = 0; i < Rows::out; ++i) offsets[i] = Element::value(__ldg(bias + group * oc + i));
    }
    const bool finite = Packed::finite(packed, group);
    if constexpr (staged && slot <= 0) {
      // The inputs have come, and the outputs of the box before have left.
      wait_for_copies_but<int(Plan::buffers) - 1>();
      wait_for_bulk_reads<0>();
      __syncthreads();
    }
    if (!works) return;

    constexpr int rows_w = int(Plan::box_w) / (last ? row : 1);
    constexpr int rows_h = int(Plan::box_h) / (last ? 1 : row);
#pragma unroll 1
    for (int position = last ? threadIdx.x / lanes : threadIdx.x % positions;
         position < int(tile.rows); position += positions) {
      const typename Rows::At at{box.image, group, box.d + position / (rows_w * rows_h),
                                 box.h + position / rows_w % rows_h * (last ? 1 : row),
                                 box.w + position % rows_w * (last ? row : 1)};
      if ((span_axis<Problem::d>().spans() % Plan::box_d != 0 &&
           at.d >= int(span_axis<Problem::d>().spans())) ||
          at.b() >= int(span_axis<Rows::axis_b>().spans()) ||
          at.s() >= int(span_axis<Rows::axis_s>().spans())) {
        continue;
      }
      if (finite) {
        rows.template compute<slot, read, written>(rows.first_input(box, inputs, at), at, weights,
                                                   offsets, runs);
      } else {
        Rows::template define<slot>(input, packed, bias, output, at, runs);
      }
    }
  }
};

}  // namespace phaseconv
