// The geometry of phase_fma, for host and kernels alike. A span is `stride` outputs along an axis
// that start at a multiple of it: a cell with all its phases, moved by the padding so that what a
// thread writes is aligned. A block computes a box of spans for some groups of channels; a thread
// computes a row of them, one after the other, along h with channels first (neighbouring threads
// lie along w) and along w with channels last (neighbouring threads lie along the channels).
#pragma once

#include "cuda/kernels/numbers.cuh"

namespace phaseconv {

/// An axis seen from its outputs: output span * stride + slot(tap) meets a tap at the input
/// span - lift(tap).
struct SpanAxis : Phases {
  using Phases::Phases;

  PHASECONV_FUNCTION Index lift(Index tap) const {
    const Index beyond = shift(tap) * axis.stride + phase(tap) - axis.padding;
    return beyond >= 0 ? beyond / axis.stride : -parts(-beyond, axis.stride);
  }
  PHASECONV_FUNCTION Index slot(Index tap) const {
    return shift(tap) * axis.stride + phase(tap) - axis.padding - lift(tap) * axis.stride;
  }
  PHASECONV_FUNCTION Index spans() const { return parts(axis.output(), axis.stride); }
  /// The inputs around a span: `reach` of them from span + first_input() on, used or not.
  PHASECONV_FUNCTION Index first_input() const { return -lift(axis.kernel - 1); }
  PHASECONV_FUNCTION Index reach() const { return lift(axis.kernel - 1) - lift(0) + 1; }
  /// Whether input number `i` around a span exists for every span.
  PHASECONV_FUNCTION bool always(Index i) const {
    return first_input() + i >= 0 && spans() - 1 + first_input() + i < axis.input;
  }
  /// Whether every span has an output in this slot; if not, the last one has none.
  PHASECONV_FUNCTION bool whole(Index slot) const {
    return (spans() - 1) * axis.stride + slot < axis.output();
  }
};

struct Spans {
  struct Layer {
    Index batch, in_channels, out_channels, groups;
    Axis d, h, w;
    Index element_bytes;
    bool channels_last;
  };
  struct Choice {
    Index box_d, box_h, box_w;  ///< spans of a block
    Index groups;               ///< of a block
    Index row;                  ///< spans of a thread
    Index channel_tile;         ///< output channels of a thread
    Index fused_axes;           ///< 3; 2: the phases of d one after the other
    Index threads;
    Index in_words;  ///< channels first; 1: inputs come by way of shared memory
    Index buffers;   ///< of such inputs; 2: those of the next box come meanwhile
  };

  Layer layer;
  Choice plan;
  Index ic, oc;      ///< of a group
  Index own;         ///< groups of a thread
  Index lanes;       ///< threads that share a position and differ in their groups
  Index rows;        ///< positions of a block: rows of spans
  Index taps_plane;  ///< weights of a group that share their tap along d
  Index blocks_w, blocks_h, blocks_d, group_blocks, tiles;
  // Packed weights: see GroupWeights.
  Index plane_words, flags_at, packed_bytes;
  // Outputs as staged with channels first: strides in elements, congruent to those of memory modulo
  // a sector, and the axes that a run of memory holds whole (w; w and h; w, h and d).
  Index y_h = 0, y_d = 0, y_c = 0, merged = 0, shared_bytes = 0;
  // Inputs as staged with channels first: rows and planes of a channel, strides in elements, what
  // lies before the first one in a row, and where outputs begin behind them.
  Index in_h = 0, in_d = 0, x_h = 0, x_d = 0, x_c = 0, lead = 0, input_bytes = 0, output_at = 0;

  PHASECONV_FUNCTION Spans(const Layer& l, const Choice& p) : layer(l), plan(p) {
    const SpanAxis d(l.d), h(l.h), w(l.w);
    ic = l.in_channels / l.groups;
    oc = l.out_channels / l.groups;
    own = most(p.channel_tile / oc, 1);
    lanes = parts(p.groups, own);
    rows = parts(p.box_d * p.box_h * p.box_w, p.row);
    taps_plane = l.h.kernel * l.w.kernel * oc * ic;
    blocks_w = parts(w.spans(), p.box_w);
    blocks_h = parts(h.spans(), p.box_h);
    blocks_d = parts(d.spans(), p.box_d);
    group_blocks = parts(l.groups, p.groups);
    tiles = l.batch * group_blocks * blocks_d * blocks_h * blocks_w;

    plane_words = l.channels_last ? taps_plane : round_up(taps_plane, 4);
    flags_at = l.groups * l.d.kernel * plane_words;
    packed_bytes = (flags_at + l.groups) * 4;

    if (!l.channels_last) {
      const Index unit = kSectorBytes / l.element_bytes;
      const Index to_d = l.h.output() * l.w.output();
      const bool all_w = p.box_w >= w.spans(), all_h = all_w && p.box_h >= h.spans(),
                 all_d = all_h && p.box_d >= d.spans();
      merged = all_d ? 3 : all_h ? 2 : all_w ? 1 : 0;
      y_h = all_w ? l.w.output() : congruent(p.box_w * l.w.stride, l.w.output(), unit);
      y_d = all_h ? to_d : congruent(p.box_h * l.h.stride * y_h, to_d, unit);
      y_c = all_d ? to_d * l.d.output()
                  : congruent(p.box_d * l.d.stride * y_d, l.d.output() * to_d, unit);
      if (p.in_words > 0) {
        const Index chunk = 16 / l.element_bytes;
        in_h = p.box_h + h.reach() - 1;
        in_d = p.box_d + d.reach() - 1;
        lead = (w.first_input() % chunk + chunk) % chunk;
        x_h = round_up(lead + p.box_w + w.reach() - 1, chunk);
        x_d = in_h * x_h;
        x_c = in_d * x_d;
        input_bytes = round_up(p.groups * ic * x_c * l.element_bytes, 128);
        output_at = p.buffers * input_bytes;
      }
      shared_bytes = output_at + round_up((p.groups * oc * y_c + unit) * l.element_bytes, 128);
    }
  }

  /// Bytes that a thread reads at once where the inputs around a span lie together.
  PHASECONV_FUNCTION Index read_bytes() const {
    return layer.channels_last ? vector_bytes(own * ic) : layer.element_bytes;
  }
  /// Bytes that a thread writes at once: channels of an output, or outputs of a span along w where
  /// in shared memory all spans begin alike.
  PHASECONV_FUNCTION Index written_bytes() const {
    if (layer.channels_last) return vector_bytes(own * oc);
    const Index together = layer.w.stride;
    const bool alike = layer.w.output() % together == 0 && y_h % together == 0 &&
                       y_d % together == 0 && y_c % together == 0;
    const Index bytes = together * layer.element_bytes;
    return alike && vector_bytes(together) == bytes ? bytes : layer.element_bytes;
  }

 private:
  /// The widest vector that `count` elements are made of.
  PHASECONV_FUNCTION Index vector_bytes(Index count) const {
    Index bytes = layer.element_bytes;
    while (bytes < 16 && count * layer.element_bytes % (2 * bytes) == 0) bytes *= 2;
    return bytes;
  }
};

/// An axis in device code, as phases_of.
template <Axis axis>
PHASECONV_FUNCTION SpanAxis span_axis() {
  constexpr SpanAxis own(axis);
  return own;
}

/// Of the generated structs, at compile time.
template <class Problem, class Plan>
PHASECONV_FUNCTION Spans spans_of() {
  return Spans(
      {Problem::batch, Problem::in_channels, Problem::out_channels, Problem::groups, Problem::d,
       Problem::h, Problem::w, sizeof(typename Problem::Element::Stored), Problem::channels_last},
      {Plan::box_d, Plan::box_h, Plan::box_w, Plan::group_block, Plan::row, Plan::channel_tile,
       Plan::fused_axes, Plan::threads, Plan::in_words, Plan::buffers});
}

}  // namespace phaseconv
