#include "cpu/worker.h"

#include <algorithm>
#include <cstddef>

#include "cpu/taps.h"
#include "element.h"

namespace phaseconv::cpu {
namespace {

/// What a worker has beside the caller's buffers.
struct Scratch {
  alignas(64) float sums[sums_capacity];
  alignas(64) float input[input_capacity];
  alignas(64) float run[run_capacity];
  PhaseTaps phases[phase_capacity];
};

/// Reads a contiguous run of elements into floats that lie `step` apart.
void read_run(const Kernels& k, DataType type, const std::byte* from, Index count, float* to,
              Index step, Scratch& scratch) {
  if (step == 1) return k.load(type, from, count, to);
  const auto size = static_cast<Index>(element_size(type));
  for (Index begin = 0; begin < count; begin += run_capacity) {
    const Index part = std::min(run_capacity, count - begin);
    k.load(type, from + begin * size, part, scratch.run);
    for (Index j = 0; j < part; ++j) to[(begin + j) * step] = scratch.run[j];
  }
}

/// Writes floats that lie `step` apart as a contiguous run of elements.
void write_run(const Tiling& t, const Kernels& k, const float* from, Index step, Index count,
               std::byte* to, Scratch& scratch) {
  const DataType type = t.problem.type;
  if (step == 1) return k.store(type, from, count, to, t.stream);
  const auto size = static_cast<Index>(element_size(type));
  for (Index begin = 0; begin < count; begin += run_capacity) {
    const Index part = std::min(run_capacity, count - begin);
    for (Index j = 0; j < part; ++j) scratch.run[j] = from[(begin + j) * step];
    k.store(type, scratch.run, part, to + begin * size, t.stream);
  }
}

/// Does one task after another. What they have in common is worked out once: a task can be short.
class Worker {
 public:
  Worker(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
         const void* bias, void* output)
      : t(tiling),
        k(kernels),
        x(static_cast<const std::byte*>(input)),
        weights(reinterpret_cast<const float*>(static_cast<const WeightHeader*>(packed) + 1)),
        finite(static_cast<const WeightHeader*>(packed)->finite),
        b(bias),
        y(static_cast<std::byte*>(output)) {}

  void run(Index task) {
    find(task);
    for (Index r = 0; r < t.phases[2].count(); r += t.task_phases) {
      take_phases(r, std::min(r + t.task_phases, t.phases[2].count()));
      start();
      accumulate();
      write();
    }
  }

 private:
  /// A share of the sum: channels, taps along d and h, shifts along w whose input fits `Scratch`.
  struct Part {
    Index depth_begin, depth;
    Index d_begin, d_count;
    Index h_begin, h_count;
    Index shift_begin, shift_end;
    // The staged input: positions [from, from + width) along w of every channel and (d, h) tap.
    Index from, width;
    Index cell_step, channel_step;  ///< between neighbours, in floats
    Index row() const { return depth * width; }
  };

  /// Where task number `index` lies.
  void find(Index index) {
    const Problem& p = t.problem;
    const auto next = [&index](Index count) {
      const Index at = index % count;
      index /= count;
      return at;
    };
    cell = cell_begin + next(t.cell_tasks) * t.task_cells();
    cells = std::min(t.task_cells(), cell_end - cell);
    o[1] = next(sizes[1]);
    o[0] = next(sizes[0]);
    channel = next(t.channel_tasks) * t.task_channels();
    channels = std::min(t.task_channels(), p.out_channels_per_group() - channel);
    group = next(p.groups);
    n = index;
    d = taps_of(t.phases[0], o[0]);
    h = taps_of(t.phases[1], o[1]);
    rows = t.lanes == Lanes::cells ? channels : cells;
    columns = round_up(t.lanes == Lanes::cells ? cells : channels, t.vector_lanes);
    cell_step = t.lanes == Lanes::cells ? 1 : columns;
    channel_step = t.lanes == Lanes::cells ? columns : 1;
  }

  void take_phases(Index begin, Index end) {
    if (phase == begin && phases == end - begin) return;
    phase = begin;
    phases = end - begin;
    for (Index r = 0; r < phases; ++r) {
      const Index tap = t.phases[2].first_tap(phase + r);
      s.phases[r] = {tap, t.phases[2].shift(tap), t.phases[2].tap_count(phase + r)};
    }
  }

  float* sum(Index r) { return s.sums + r * rows * columns; }

  /// Every sum starts as the bias, so that a phase without a tap needs nothing more.
  void start() {
    const Problem& p = t.problem;
    const Index first = group * p.out_channels_per_group() + channel;
    std::fill_n(s.sums, phases * rows * columns, 0.0f);
    for (Index c = 0; p.bias && c < channels; ++c) {
      const float value = load_value(b, p.type, first + c);
      for (Index r = 0; r < phases; ++r) {
        float* to = sum(r) + c * channel_step;
        for (Index q = 0; q < cells; ++q) to[q * cell_step] = value;
      }
    }
  }

  void accumulate() {
    if (d.count == 0 || h.count == 0) return;
    const Index depth = t.problem.in_channels_per_group();
    const Index shifts = t.phases[2].max_shift() + 1;
    const Index staged = t.lanes == Lanes::cells ? columns : cells;
    const Index shift_block = std::min(shifts, input_capacity - staged + 1);
    const Index width = staged + shift_block - 1;
    const Index h_block = h.count * width <= input_capacity ? h.count : 1;
    const Index d_block = d.count * h_block * width <= input_capacity ? d.count : 1;
    const Index depth_block = std::min(depth, input_capacity / (d_block * h_block * width));
    for (Index td = 0; td < d.count; td += d_block) {
      for (Index th = 0; th < h.count; th += h_block) {
        for (Index shift = 0; shift < shifts; shift += shift_block) {
          for (Index i = 0; i < depth; i += depth_block) {
            Part part;
            part.depth_begin = i;
            part.depth = std::min(depth_block, depth - i);
            part.d_begin = td;
            part.d_count = std::min(d_block, d.count - td);
            part.h_begin = th;
            part.h_count = std::min(h_block, h.count - th);
            part.shift_begin = shift;
            part.shift_end = std::min(shift + shift_block, shifts);
            part.from = cell - part.shift_end + 1;
            part.width = staged + part.shift_end - part.shift_begin - 1;
            part.cell_step = t.lanes == Lanes::cells ? 1 : part.depth;
            part.channel_step = t.lanes == Lanes::cells ? part.width : 1;
            stage(part);
            multiply(part);
          }
        }
      }
    }
  }

  /// Copies a part's input into `Scratch`, as float32, zero outside the input.
  void stage(const Part& part) {
    const Problem& p = t.problem;
    const bool first = p.layout == Layout::channels_first;
    const Index channel_stride = first ? p.input_positions() : 1;
    const Index w_stride = first ? 1 : p.in_channels;
    const Index h_stride = p.axes[2].input * w_stride;
    const Index d_stride = p.axes[1].input * h_stride;
    const Index begin = std::clamp(-part.from, Index{0}, part.width);
    const Index end = std::clamp(p.axes[2].input - part.from, begin, part.width);
    const auto size = static_cast<Index>(element_size(p.type));
    const Index origin = n * p.in_channels * p.input_positions() +
                         (group * p.in_channels_per_group() + part.depth_begin) * channel_stride +
                         part.from * w_stride;
    float* to = s.input;
    for (Index td = part.d_begin; td < part.d_begin + part.d_count; ++td) {
      for (Index th = part.h_begin; th < part.h_begin + part.h_count; ++th, to += part.row()) {
        const Index row = origin + (d.input - td * t.phases[0].shift_step) * d_stride +
                          (h.input - th * t.phases[1].shift_step) * h_stride;
        const Index runs = first ? part.depth : end - begin;
        for (Index r = 0; r < runs; ++r) {
          if (first) {
            read_run(k, p.type, x + (row + r * channel_stride + begin) * size, end - begin,
                     to + r * part.channel_step + begin * part.cell_step, part.cell_step, s);
          } else {
            read_run(k, p.type, x + (row + (begin + r) * w_stride) * size, part.depth,
                     to + (begin + r) * part.cell_step, part.channel_step, s);
          }
        }
        if (begin > 0 || end < part.width) clear_outside(part, begin, end, to);
      }
    }
  }

  void clear_outside(const Part& part, Index begin, Index end, float* to) {
    for (Index i = 0; i < part.depth; ++i) {
      float* channel_row = to + i * part.channel_step;
      for (Index q = 0; q < begin; ++q) channel_row[q * part.cell_step] = 0.0f;
      for (Index q = end; q < part.width; ++q) channel_row[q * part.cell_step] = 0.0f;
    }
  }

  void multiply(const Part& part) {
    const Problem& p = t.problem;
    const bool cells_in_columns = t.lanes == Lanes::cells;
    const Phases& w = t.phases[2];
    const Index tap_step[3] = {
        t.phases[0].tap_step * p.axes[1].kernel * p.axes[2].kernel * t.weight_tap(),
        t.phases[1].tap_step * p.axes[2].kernel * t.weight_tap(), w.tap_step * t.weight_tap()};
    const Index input_step[3] = {part.h_count * part.row(), part.row(),
                                 -w.shift_step * part.cell_step};
    const float* taps = weights + group * p.kernel_positions() * t.weight_tap() +
                        ((d.tap + part.d_begin * t.phases[0].tap_step) * p.axes[1].kernel + h.tap +
                         part.h_begin * t.phases[1].tap_step) *
                            p.axes[2].kernel * t.weight_tap() +
                        (cells_in_columns ? channel * t.weight_pitch() + part.depth_begin
                                          : channel + part.depth_begin * t.weight_pitch());
    const bool inside = part.from >= 0 && part.from + part.width <= p.axes[2].input;

    Product product;
    std::copy_n(cells_in_columns ? tap_step : input_step, 3, product.scalar_step);
    std::copy_n(cells_in_columns ? input_step : tap_step, 3, product.vector_step);
    product.scalar_row = cells_in_columns ? t.weight_pitch() : part.cell_step;
    product.vector_row = cells_in_columns ? part.channel_step : t.weight_pitch();
    product.sums_row = columns;
    product.taps[0] = part.d_count;
    product.taps[1] = part.h_count;
    product.depth = part.depth;
    for (Index r = 0; r < phases; ++r) {
      // The taps of this phase whose shift is in the part.
      const auto [tap, shift, count] = s.phases[r];
      const auto up_to = [&, first = shift, all = count](Index bound) {
        if (bound <= first) return Index{0};
        if (bound > first + (all - 1) * w.shift_step) return all;
        return ceil_div(bound - first, w.shift_step);
      };
      const Index begin = up_to(part.shift_begin);
      product.taps[2] = up_to(part.shift_end) - begin;
      if (product.taps[2] == 0) continue;
      const Index first = cell - shift - begin * w.shift_step;  // position that cell 0 reads
      const float* input = s.input + (first - part.from) * part.cell_step;
      const float* tap_weights = taps + (tap + begin * w.tap_step) * t.weight_tap();
      product.scalars = cells_in_columns ? tap_weights : input;
      product.vectors = cells_in_columns ? input : tap_weights;
      product.sums = sum(r);
      if (finite || inside) {
        multiply_tiles(product);
      } else {
        multiply_inside(product, first);
      }
    }
  }

  void multiply_tiles(const Product& all) {
    const Index lanes = t.vector_lanes;
    Product tile = all;
    for (Index column = 0; column < columns; column += t.vector_tile * lanes) {
      const Index vectors = std::min(t.vector_tile, (columns - column) / lanes);
      for (Index row = 0; row < rows; row += t.row_tile) {
        const Index tile_rows = std::min(t.row_tile, rows - row);
        tile.scalars = all.scalars + row * all.scalar_row;
        tile.vectors = all.vectors + column;
        tile.sums = all.sums + row * columns + column;
        k.multiply[tile_rows - 1][vectors - 1](tile);
      }
    }
  }

  /// For weights with Inf or NaN at the ends of the input: leaves out what lies outside. Cell 0
  /// reads position `first` through the first tap.
  void multiply_inside(const Product& p, Index first) {
    const bool cells_in_columns = t.lanes == Lanes::cells;
    for (Index tw = 0; tw < p.taps[2]; ++tw, first -= t.phases[2].shift_step) {
      const Index begin = std::clamp(-first, Index{0}, cells);
      const Index end = std::clamp(t.problem.axes[2].input - first, begin, cells);
      const Index a0 = cells_in_columns ? 0 : begin, a1 = cells_in_columns ? rows : end;
      const Index b0 = cells_in_columns ? begin : 0, b1 = cells_in_columns ? end : columns;
      for (Index td = 0; td < p.taps[0]; ++td) {
        for (Index th = 0; th < p.taps[1]; ++th) {
          const float* scalars =
              p.scalars + td * p.scalar_step[0] + th * p.scalar_step[1] + tw * p.scalar_step[2];
          const float* vectors =
              p.vectors + td * p.vector_step[0] + th * p.vector_step[1] + tw * p.vector_step[2];
          for (Index i = 0; i < p.depth; ++i) {
            for (Index a = a0; a < a1; ++a) {
              for (Index c = b0; c < b1; ++c) {
                p.sums[a * p.sums_row + c] +=
                    scalars[a * p.scalar_row + i] * vectors[i * p.vector_row + c];
              }
            }
          }
        }
      }
    }
  }

  void write() {
    const Problem& p = t.problem;
    const auto size = static_cast<Index>(element_size(p.type));
    const Index row_length = sizes[2];
    const Index row = o[0] * sizes[1] + o[1];
    const Index first = group * p.out_channels_per_group() + channel;
    if (p.layout == Layout::channels_first) {
      for (Index c = 0; c < channels; ++c) {
        const Index plane = (n * p.out_channels + first + c) * p.output_positions();
        write_row(s.sums + c * channel_step, y + (plane + row * row_length) * size);
      }
      return;
    }
    std::byte* to =
        y + ((n * p.output_positions() + row * row_length) * p.out_channels + first) * size;
    for (Index q = 0; q < cells; ++q) {
      for (Index r = 0; r < phases; ++r) {
        const Index at = t.phases[2].output(cell + q, phase + r);
        if (at < 0 || at >= row_length) continue;
        write_run(t, k, sum(r) + q * cell_step, channel_step, channels,
                  to + at * p.out_channels * size, s);
      }
    }
  }

  /// One channel's outputs, contiguous in memory: the phases' sums interleaved.
  void write_row(const float* from, std::byte* to) {
    const auto size = static_cast<Index>(element_size(t.problem.type));
    const Index stride = t.phases[2].count();
    const Index length = sizes[2];
    if (phases < stride) {  // a large stride, a few phases at a time: nothing is contiguous
      for (Index r = 0; r < phases; ++r) {
        for (Index q = 0; q < cells; ++q) {
          const Index at = t.phases[2].output(cell + q, phase + r);
          if (at < 0 || at >= length) continue;
          write_run(t, k, from + r * rows * columns + q * cell_step, 1, 1, to + at * size, s);
        }
      }
      return;
    }
    const Index whole = std::max(run_capacity / stride / t.vector_lanes, Index{0});
    const Index block = whole > 0 ? whole * t.vector_lanes : 1;
    for (Index begin = 0; begin < cells; begin += block) {
      const Index count = std::min(block, cells - begin);
      const float* run = from + begin * cell_step;
      if (cell_step == 1 && stride >= 2 && stride <= 4) {
        k.interleave(run, rows * columns, stride, count, s.run);
        run = s.run;
      } else if (cell_step != 1 || stride != 1) {
        for (Index q = 0; q < count; ++q) {
          for (Index r = 0; r < stride; ++r) {
            s.run[q * stride + r] = run[r * rows * columns + q * cell_step];
          }
        }
        run = s.run;
      }
      const Index at = t.phases[2].output(cell + begin, 0);
      const Index cut = std::max(-at, Index{0});
      const Index end = std::min(count * stride, length - at);
      if (end > cut) write_run(t, k, run + cut, 1, end - cut, to + (at + cut) * size, s);
    }
  }

  const Tiling& t;
  const Kernels& k;
  const std::byte* x;
  const float* weights;
  bool finite;
  const void* b;
  std::byte* y;
  const Index sizes[3] = {t.problem.axes[0].output(), t.problem.axes[1].output(),
                          t.problem.axes[2].output()};
  const Index cell_begin = t.phases[2].cell_begin();
  const Index cell_end = t.phases[2].cell_end();

  // The task at hand.
  Index n, group;
  Index o[2];                   ///< output position along d and h
  Index channel, channels;      ///< of the group
  Index cell, cells;            ///< along w
  Index phase = 0, phases = 0;  ///< along w, those in `Scratch` now
  AxisTaps d, h;
  Index rows, columns;            ///< of the sums of one phase
  Index cell_step, channel_step;  ///< between neighbours in the sums
  Scratch s;
};

}  // namespace

void run_tasks(const Tiling& tiling, const Kernels& kernels, const void* input, const void* packed,
               const void* bias, void* output, Index begin, Index end) {
  Worker worker(tiling, kernels, input, packed, bias, output);
  for (Index task = begin; task < end; ++task) worker.run(task);
  if (tiling.stream) kernels.flush();
}

}  // namespace phaseconv::cpu
