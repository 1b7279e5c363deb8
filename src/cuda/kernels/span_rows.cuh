// A row of spans of phase_fma, one after the other, by one thread: all phases of each, with weights
// and the inputs around a span in registers, so that every input of the row is read once. spans.cuh
// has the geometry.
//
// An input that does not exist counts as zero. That is right unless a weight is infinite or not a
// number: then outputs go by the definition, which knows no such products.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct SpanRows {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Packed = GroupWeights<Problem, Plan>;
  using Box = SpanBox<Problem, Plan>;
  using Inputs = SpanInputs<Problem, Plan>;
  using Runs = OutputRuns<Problem, Plan>;

  static constexpr bool last = Problem::channels_last;
  static constexpr bool staged = Plan::in_words > 0;  ///< inputs come by way of shared memory
  static constexpr int ic = int(spans_of<Problem, Plan>().ic);
  static constexpr int oc = int(spans_of<Problem, Plan>().oc);
  static constexpr int own = int(spans_of<Problem, Plan>().own);
  static constexpr int row = int(Plan::row);
  static constexpr int in = own * ic, out = own * oc;  ///< channels of a thread
  /// Sums begin with the bias; with channels last they end with it.
  static constexpr bool bias_first = !last;

  // The axis along a row of spans, and the one across, in the plane that is not along d.
  static constexpr Axis axis_s = last ? Problem::w : Problem::h;
  static constexpr Axis axis_b = last ? Problem::h : Problem::w;
  static constexpr int reach_d = int(SpanAxis(Problem::d).reach());
  static constexpr int reach_b = int(SpanAxis(axis_b).reach());
  static constexpr int reach_s = int(SpanAxis(axis_s).reach());
  static constexpr int slots_b = int(axis_b.stride), slots_s = int(axis_s.stride);

  // Element strides of input (x) and output (y).
  static constexpr Index x_positions = Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index y_positions =
      Problem::d.output() * Problem::h.output() * Problem::w.output();
  static constexpr Index x_c = last ? 1 : x_positions;
  static constexpr Index x_w = last ? Problem::in_channels : 1;
  static constexpr Index x_h = x_w * Problem::w.input;
  static constexpr Index x_d = x_h * Problem::h.input;
  // Of inputs as they are read, from memory or as staged.
  static constexpr Index from_c = staged ? spans_of<Problem, Plan>().x_c : x_c;
  static constexpr Index from_d = staged ? spans_of<Problem, Plan>().x_d : x_d;
  static constexpr Index from_h = staged ? spans_of<Problem, Plan>().x_h : x_h;
  static constexpr Index from_b = last ? from_h : x_w, from_s = last ? x_w : from_h;
  static constexpr Index y_c = last ? 1 : y_positions;
  static constexpr Index y_w = last ? Problem::out_channels : 1;
  static constexpr Index y_h = y_w * Problem::w.output();
  static constexpr Index y_d = y_h * Problem::h.output();

  const Stored* input;
  const float* packed;
  const Stored* bias;
  Stored* output;

  using Weights = float[Packed::planes][Packed::count][own];

  /// Where a row of spans starts, and its thread's first group.
  struct At {
    Index image;
    int group, d, h, w;
    __device__ __forceinline__ int b() const { return last ? h : w; }
    __device__ __forceinline__ int s() const { return last ? w : h; }
  };

  template <int slot>
  static __device__ __forceinline__ bool in_part(int kd) {
    return slot < 0 || span_axis<Problem::d>().slot(kd) == slot;
  }

  /// The first input around a span.
  __device__ __forceinline__ const Stored* first_input(const Box& box, const Inputs& inputs,
                                                       const At& at) const {
    if constexpr (staged) {
      return inputs.around(at.group - box.group, at.d - box.d, at.h - box.h, at.w - box.w);
    } else {
      return anchored(input + at.image * Problem::in_channels * x_positions + at.group * ic * x_c +
                      (at.d + span_axis<Problem::d>().first_input()) * x_d +
                      (at.h + span_axis<Problem::h>().first_input()) * x_h +
                      (at.w + span_axis<Problem::w>().first_input()) * x_w);
    }
  }

  /// Computes one slot along d of a row, or all slots (-1); `from`: its first input.
  template <int slot, int read, int written>
  __device__ __forceinline__ void compute(const Stored* from, const At& at, const Weights& weights,
                                          const float (&offsets)[out], const Runs& runs) const {
    constexpr SpanAxis d = span_axis<Problem::d>(), b = span_axis<axis_b>(),
                       s = span_axis<axis_s>();
    constexpr int lines = row + reach_s - 1;
    /// Outputs along w that are written at once.
    constexpr int together = last ? 1 : written / int(sizeof(Stored));
    using Arriving = Words<Element, in, read>;
    Stored* const to = start(at, runs);
    bool in_d[reach_d], in_b[reach_b];
#pragma unroll
    for (int i = 0; i < reach_d; ++i) in_d[i] = exists<Problem::d>(at.d, i);
#pragma unroll
    for (int i = 0; i < reach_b; ++i) in_b[i] = exists<axis_b>(at.b(), i);

    // Lines of inputs along the row, as they arrive and as operands; all indices are constants, and
    // what is not used is not there.
    Arriving arriving[lines][reach_d][reach_b];
    float line[lines][reach_d][reach_b][in];
    const auto fetch = [&](int at_line) {
      // Each line is in the middle of some span: unless its neighbours always exist, it is tested.
      const bool in_s =
          staged || unsigned(at.s() + int(s.first_input()) + at_line) < unsigned(axis_s.input);
#pragma unroll
      for (int i = 0; i < reach_d; ++i) {
#pragma unroll
        for (int j = 0; j < reach_b; ++j) {
          Arriving& to = arriving[at_line][i][j];
          const Stored* const own_from = from + i * from_d + j * from_b + at_line * from_s;
          if (in_s && in_d[i] && in_b[j]) {
            if constexpr (last) {
              load_words<read>(own_from, to.of);
            } else {
#pragma unroll
              for (int c = 0; c < in; ++c) {
                if constexpr (staged) {
                  to.of[c] = Arriving::word(own_from[c * from_c]);
                } else {
                  to.of[c] = load_word<read>(own_from + c * from_c);
                }
              }
            }
          } else {
#pragma unroll
            for (int c = 0; c < Arriving::words; ++c) to.of[c] = 0;
          }
        }
      }
    };
    const auto receive = [&](int at_line) {
#pragma unroll
      for (int i = 0; i < reach_d; ++i) {
#pragma unroll
        for (int j = 0; j < reach_b; ++j) {
#pragma unroll
          for (int c = 0; c < in; ++c) {
            line[at_line][i][j][c] = arriving[at_line][i][j].operand(c);
          }
        }
      }
    };

#pragma unroll
    for (int l = 0; l < reach_s; ++l) fetch(l);
#pragma unroll
    for (int l = 0; l + 1 < reach_s; ++l) receive(l);
#pragma unroll
    for (int n = 0; n < row; ++n) {
      receive(n + reach_s - 1);
      // The next line is under way while this span is computed.
      if (n + 1 < row) fetch(n + reach_s);

      float sums[slot < 0 ? int(Problem::d.stride) : 1][slots_s][slots_b / together][together][out];
#pragma unroll
      for (int i = 0; i < int(sizeof(sums) / sizeof(float)); ++i) {
        (&sums[0][0][0][0][0])[i] = bias_first ? offsets[i % out] : 0.0f;
      }
#pragma unroll
      for (int kd = 0; kd < int(Problem::d.kernel); ++kd) {
        if (!in_part<slot>(kd)) continue;
#pragma unroll
        for (int kb = 0; kb < int(axis_b.kernel); ++kb) {
#pragma unroll
          for (int ks = 0; ks < int(axis_s.kernel); ++ks) {
            const int i = int(-d.lift(kd) - d.first_input());
            const int j = int(-b.lift(kb) - b.first_input());
            const int l = n + int(-s.lift(ks) - s.first_input());
            const int t_b = int(b.slot(kb));
            float(&sum)[out] =
                sums[slot < 0 ? d.slot(kd) : 0][s.slot(ks)][t_b / together][t_b % together];
#pragma unroll
            for (int o = 0; o < out; ++o) {
#pragma unroll
              for (int c = 0; c < ic; ++c) {
                const int element =
                    last ? Packed::element(kb, ks, o % oc, c) : Packed::element(ks, kb, o % oc, c);
                sum[o] = fmaf(line[l][i][j][o / oc * ic + c], weights[kd][element][o / oc], sum[o]);
              }
            }
          }
        }
      }

#pragma unroll
      for (int t_d = 0; t_d < int(Problem::d.stride); ++t_d) {
        if (slot >= 0 && t_d != slot) continue;
#pragma unroll
        for (int t_b = 0; t_b < slots_b; t_b += together) {
#pragma unroll
          for (int t_s = 0; t_s < slots_s; ++t_s) {
            float(&sum)[together][out] = sums[slot < 0 ? t_d : 0][t_s][t_b / together];
            if constexpr (Problem::bias && !bias_first) {
#pragma unroll
              for (int o = 0; o < out; ++o) sum[0][o] += offsets[o];
            }
            write<written>(at, to, n, t_d, t_b, t_s, sum);
          }
        }
      }
    }
  }

  /// The outputs of a thread's row one by one: only products of inputs that exist.
  template <int slot>
  static __device__ __noinline__ void define(const Stored* input, const float* packed,
                                             const Stored* bias, Stored* output, At at, Runs runs) {
    const SpanRows self{input, packed, bias, output};
#pragma unroll 1
    for (int each = 0; each < row * slots_b * slots_s * int(Problem::d.stride); ++each) {
      const int t_s = each % slots_s, t_b = each / slots_s % slots_b;
      const int n = each / (slots_s * slots_b) % row, t_d = each / (slots_s * slots_b * row);
      if (slot >= 0 && t_d != slot) continue;
      const int s = (at.s() + n) * slots_s + t_s, b = at.b() * slots_b + t_b;
      const int o_d = at.d * int(Problem::d.stride) + t_d;
      if (s >= axis_s.output()) continue;
      float sum[1][out];
      for (int o = 0; o < out; ++o) {
        const int channel = at.group * oc + o;
        sum[0][o] = self.defined(at.image, channel, o_d, last ? b : s, last ? s : b);
        if (Problem::bias) sum[0][o] += Element::value(__ldg(bias + channel));
      }
      self.write<int(sizeof(Stored))>(at, self.start(at, runs), n, t_d, t_b, t_s, sum);
    }
  }

 private:
  /// Input number `i` around span `at` exists.
  template <Axis axis>
  static __device__ __forceinline__ bool exists(int at, int i) {
    constexpr SpanAxis own_axis = span_axis<axis>();
    return staged || own_axis.always(i) ||
           unsigned(at + int(own_axis.first_input()) + i) < axis.input;
  }

  /// Along an axis, the output in slot `t` of span `at` exists.
  template <Axis axis>
  static __device__ __forceinline__ bool has_output(int at, int t) {
    return span_axis<axis>().whole(t) || at * int(axis.stride) + t < axis.output();
  }

  /// Where the first output of a row of spans goes.
  __device__ __forceinline__ Stored* start(const At& at, const Runs& runs) const {
    if constexpr (last) {
      return anchored(output + at.image * Problem::out_channels * y_positions + at.group * oc +
                      at.d * Problem::d.stride * y_d + at.h * Problem::h.stride * y_h +
                      at.w * Problem::w.stride * y_w);
    } else {
      return runs.place(at.group, at.d, at.h, at.w);
    }
  }

  /// All channels of one output position, or of some that follow it along w.
  template <int written, int together>
  __device__ __forceinline__ void write(const At& at, Stored* to, int n, int t_d, int t_b, int t_s,
                                        const float (&sum)[together][out]) const {
    const bool in_d = has_output<Problem::d>(at.d, t_d);
    const bool in_b = has_output<axis_b>(at.b(), t_b);
    const bool in_s = (span_axis<axis_s>().spans() % row == 0 && span_axis<axis_s>().whole(t_s)) ||
                      (at.s() + n) * int(axis_s.stride) + t_s < axis_s.output();
    if constexpr (last) {
      if (in_d && in_b && in_s) {
        Words<Element, out, written> words;
        words.set(sum[0]);
        store_words<written>(to + t_d * y_d + t_b * y_h + (n * Problem::w.stride + t_s) * y_w,
                             words.of);
      }
    } else {
#pragma unroll
      for (int o = 0; o < out; ++o) {
        // Where a run has no gap behind a row or a plane, what lies there is another's.
        if (in_b && (Runs::merged < 2 || in_s) && (Runs::merged < 3 || in_d)) {
          Words<Element, together, written> words;
          float row[together];
#pragma unroll
          for (int i = 0; i < together; ++i) row[i] = sum[i][o];
          words.set(row);
          store_words<written>(to + Runs::offset(o, t_d, n * slots_s + t_s, t_b), words.of);
        }
      }
    }
  }

  __device__ float defined(Index image, int channel, int o_d, int o_h, int o_w) const {
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                     w = phases_of<Problem::w>();
    const int group = channel / oc;
    const Stored* const x = input + image * Problem::in_channels * x_positions;
    float sum = 0;
    for (int c = 0; c < ic; ++c) {
      for (int kd = int(d.first_tap_of(o_d)); kd < Problem::d.kernel; kd += int(d.tap_step)) {
        const Index i_d = d.cell_of(o_d) - d.shift(kd);
        if (i_d < 0 || i_d >= Problem::d.input) continue;
        for (int kh = int(h.first_tap_of(o_h)); kh < Problem::h.kernel; kh += int(h.tap_step)) {
          const Index i_h = h.cell_of(o_h) - h.shift(kh);
          if (i_h < 0 || i_h >= Problem::h.input) continue;
          for (int kw = int(w.first_tap_of(o_w)); kw < Problem::w.kernel; kw += int(w.tap_step)) {
            const Index i_w = w.cell_of(o_w) - w.shift(kw);
            if (i_w < 0 || i_w >= Problem::w.input) continue;
            const Index at = (Index(group) * ic + c) * x_c + i_d * x_d + i_h * x_h + i_w * x_w;
            sum =
                fmaf(Element::operand(__ldg(x + at)),
                     Packed::one(packed, group, kd, Packed::element(kh, kw, channel % oc, c)), sum);
          }
        }
      }
    }
    return sum;
  }
};

}  // namespace phaseconv
