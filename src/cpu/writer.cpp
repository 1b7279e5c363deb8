#include "cpu/writer.h"

#include <algorithm>
#include <cstdint>

#include "cpu/stage.h"
#include "cpu/taps.h"

namespace phaseconv::cpu {

Writer::Writer(const Tiling& tiling, const Kernels& kernels, void* output, float* run)
    : t_(tiling),
      k_(kernels),
      y_(static_cast<std::byte*>(output)),
      run_(run),
      size_(static_cast<Index>(element_size(tiling.problem.type))),
      lines_(tiling.problem.axes[0].output() * tiling.problem.axes[1].output()),
      length_(tiling.problem.axes[2].output()),
      stream_(tiling.stream && size_ == sizeof(float)) {}

void Writer::expect(const OutputBlock& block) const {
  if (!stream_ || !t_.output_first) return;
  const Index height = t_.problem.axes[1].output();
  const bool joined = block.begin == 0 && block.end == length_;
  const Index rows = block.row_end - block.row_begin;
  const Index runs = joined ? 1 : rows;
  const Index count = joined ? rows * length_ : block.end - block.begin;
  const auto fetch = [](const std::byte* at) {
    constexpr int write = 1, second_level = 2;
    if (reinterpret_cast<std::uintptr_t>(at) % 64 != 0) __builtin_prefetch(at, write, second_level);
  };
  for (Index c = 0; c < block.channels; ++c) {
    const Index plane = (block.n * t_.problem.out_channels + block.channel + c) * lines_ +
                        block.plane * height + block.row_begin;
    for (Index r = 0; r < runs; ++r) {
      const Index start = (plane + r) * length_ + block.begin;
      fetch(place(start));
      fetch(place(start + count));
    }
  }
}

void Writer::write(const OutputRow& row) {
  const bool all_phases = row.phases == t_.phases[2].count();
  const Index channels = t_.problem.out_channels;
  if (t_.output_first) {
    for (Index c = 0; c < row.channels; ++c) {
      const Index start = ((row.n * channels + row.channel + c) * lines_ + row.line) * length_;
      if (row.cell_step == 1 && all_phases) {
        put_row(row, row.sums + c * row.channel_step, row.phase_step, 1, start);
      } else {
        scatter(row, c, start, 1);
      }
    }
    return;
  }
  const Index start = (row.n * lines_ + row.line) * length_ * channels + row.channel;
  if (row.channel_step == 1) {
    put_channels(row, start);
  } else if (row.cell_step == 1 && all_phases && row.channels == channels &&
             row.phase_step == channels * row.channel_step) {
    put_row(row, row.sums, row.channel_step, channels, start);
  } else if (row.cell_step == 1 && row.channels <= run_capacity) {
    put_turned(row, start);
  } else {
    for (Index c = 0; c < row.channels; ++c) scatter(row, c, start + c, channels);
  }
}

/// Channels that are a part of all, from sums that lie along the cells: turned, so that those of a
/// cell leave together.
void Writer::put_turned(const OutputRow& row, Index start) {
  const Index step = t_.phases[2].count() * t_.problem.out_channels;
  const Index at_once = run_capacity / row.channels;
  for_outputs(row, [&](Index r, Index q, Index at, Index count) {
    const float* from = row.sums + r * row.phase_step + q;
    for (Index i = 0; i < count; i += at_once) {
      const Index some = std::min(at_once, count - i);
      k_.transpose(from + i, row.channels, some, row.channel_step, run_, row.channels);
      k_.store(t_.problem.type, run_, place(start + at * t_.problem.out_channels + i * step),
               {some, row.channels, row.channels, step});
    }
  });
}

/// Values [first, first + count), to `element` and those after it.
void Writer::put(const Planes& values, Index first, Index count, Index element) {
  if (stream_) {
    k_.stream(values, first, count, reinterpret_cast<float*>(place(element)), pending_);
  } else if (size_ == sizeof(float)) {
    k_.write(values, first, count, reinterpret_cast<float*>(place(element)));
  } else {
    for (Index i = 0; i < count; i += run_capacity) {
      const Index some = std::min(run_capacity, count - i);
      k_.write(values, first + i, some, run_);
      k_.store(t_.problem.type, run_, place(element + i), {1, some, 0, 0});
    }
  }
}

/// One row of cells, contiguous in memory: `unit` elements for each output, which starts at
/// element `start`. Sum after sum of a cell lies `pitch` apart.
void Writer::put_row(const OutputRow& row, const float* from, Index pitch, Index unit,
                     Index start) {
  const Index planes = t_.phases[2].count() * unit;
  const Index at = t_.phases[2].output(row.cell, 0);
  const Index cut = std::max(-at, Index{0}) * unit;
  const Index end = std::min(row.cells * planes, (length_ - at) * unit);
  if (end > cut) put({from, pitch, planes}, cut, end - cut, start + at * unit + cut);
}

/// Calls f(r, q, at, count) for each phase: `count` cells from `q` on are outputs from `at` on.
template <typename F>
void Writer::for_outputs(const OutputRow& row, F f) const {
  for (Index r = 0; r < row.phases; ++r) {
    const Phases& w = t_.phases[2];
    const Index phase = row.phase + r;
    const CellRange cells = with_output(w, phase, row.cell, row.cell + row.cells);
    if (cells.empty()) continue;
    f(r, cells.begin - row.cell, w.output(cells.begin, phase), cells.end - cells.begin);
  }
}

/// The channels of each cell of a row, contiguous in memory and in the sums.
void Writer::put_channels(const OutputRow& row, Index start) {
  const Index unit = t_.problem.out_channels;
  if (stream_ && (row.channels == unit || row.channels % 16 == 0)) {  // whole cache lines
    for (Index q = 0; q < row.cells; ++q) {
      for (Index r = 0; r < row.phases; ++r) {
        const Index at = t_.phases[2].output(row.cell + q, row.phase + r);
        if (at < 0 || at >= length_) continue;
        put({row.sums + r * row.phase_step + q * row.cell_step}, 0, row.channels,
            start + at * unit);
      }
    }
    return;
  }
  for_outputs(row, [&](Index r, Index q, Index at, Index count) {
    k_.store(t_.problem.type, row.sums + r * row.phase_step + q * row.cell_step,
             place(start + at * unit),
             {count, row.channels, row.cell_step, t_.phases[2].count() * unit});
  });
}

/// One channel of a row, element by element, `unit` apart: where nothing is contiguous.
void Writer::scatter(const OutputRow& row, Index channel, Index start, Index unit) {
  const float* from = row.sums + channel * row.channel_step;
  for_outputs(row, [&](Index r, Index q, Index at, Index count) {
    k_.store(t_.problem.type, from + r * row.phase_step + q * row.cell_step,
             place(start + at * unit), {count, 1, row.cell_step, t_.phases[2].count() * unit});
  });
}

}  // namespace phaseconv::cpu
