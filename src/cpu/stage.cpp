#include "cpu/stage.h"

#include <algorithm>

namespace phaseconv::cpu {
namespace {

/// A stretch of rows of one plane: which of their positions are input, and where those lie.
struct Rows {
  const std::byte* from;  ///< first channel, first row, first position inside
  Index rows, positions;  ///< inside the input
  Index row_step;         ///< in elements
  Index position_step;    ///< in elements
  Index channel_step;     ///< in elements
};

class Stager {
  static constexpr Index at_once = 16;  ///< runs that are transposed together

 public:
  Stager(const Tiling& tiling, const Kernels& kernels, const Staged& staged, Index depth,
         float* run)
      : t_(tiling), k_(kernels), s_(staged), depth_(depth), run_(run) {}

  void copy(const Rows& r, float* to) const {
    if (t_.input_first) {
      if (s_.position_step == 1) return copy_along_w(r, to);
      // A few channels at a time, so that their rows follow each other.
      for (Index c = 0; c < depth_; c += at_once) {
        for (Index y = 0; y < r.rows; ++y) {
          across(r.from + (c * r.channel_step + y * r.row_step) * size_, r.channel_step,
                 std::min(at_once, depth_ - c), r.positions, to + y * s_.row * s_.position_step + c,
                 s_.position_step);
        }
      }
    } else if (s_.position_step == 1) {
      for (Index y = 0; y < r.rows; ++y) {
        across(r.from + y * r.row_step * size_, r.position_step, r.positions, depth_,
               to + y * s_.row, s_.channel_step);
      }
    } else {
      for (Index y = 0; y < r.rows; ++y) {
        k_.load(t_.problem.type, r.from + y * r.row_step * size_,
                to + y * s_.row * s_.position_step,
                {r.positions, depth_, r.position_step, s_.position_step});
      }
    }
  }

  /// Zeros at positions [begin, end), counted from `to`.
  void clear(float* to, Index begin, Index end) const {
    if (begin >= end) return;
    if (s_.position_step != 1) {
      std::fill(to + begin * s_.position_step, to + end * s_.position_step, 0.0f);
      return;
    }
    for (Index i = 0; i < depth_; ++i) {
      std::fill(to + i * s_.channel_step + begin, to + i * s_.channel_step + end, 0.0f);
    }
  }

 private:
  void copy_along_w(const Rows& r, float* to) const {
    // Rows without a gap on either side are one.
    const bool joined = r.positions == r.row_step && r.positions == s_.row;
    const Index rows = joined ? 1 : r.rows;
    const Index count = joined ? r.rows * r.positions : r.positions;
    for (Index i = 0; i < depth_; ++i) {
      k_.load(t_.problem.type, r.from + i * r.channel_step * size_, to + i * s_.channel_step,
              {rows, count, r.row_step, s_.row});
    }
  }

  /// `rows` runs of `count` elements, `from_step` apart, to columns: to[j * to_step + row]. First
  /// to a buffer: planes that lie a power of two apart share a few places of the caches, so that
  /// lines would be gone before the next of their floats is read.
  void across(const std::byte* from, Index from_step, Index rows, Index count, float* to,
              Index to_step) const {
    if (t_.problem.type == DataType::f32 && !t_.input_first) {
      return k_.transpose(reinterpret_cast<const float*>(from), rows, count, from_step, to,
                          to_step);
    }
    constexpr Index width = run_capacity / at_once;  // so that all the rows come together
    for (Index j = 0; j < count; j += width) {
      const Index part = std::min(width, count - j);
      for (Index r = 0; r < rows; r += at_once) {
        const Index some = std::min(at_once, rows - r);
        k_.load(t_.problem.type, from + (r * from_step + j) * size_, run_,
                {some, part, from_step, part});
        k_.transpose(run_, some, part, part, to + j * to_step + r, to_step);
      }
    }
  }

  const Tiling& t_;
  const Kernels& k_;
  const Staged& s_;
  const Index depth_;
  float* const run_;
  const Index size_ = static_cast<Index>(element_size(t_.problem.type));
};

/// Staged positions [from, from + extent) along one axis, of which [begin, end) are input.
struct Reach {
  Reach(const Axis& axis, Index cell, Index cells, Index shift_begin, Index shift_end)
      : from(cell - shift_end + 1),
        extent(cells + shift_end - shift_begin - 1),
        begin(std::clamp<Index>(-from, 0, extent)),
        end(std::clamp(axis.input - from, begin, extent)) {}
  Index from, extent, begin, end;
};

/// Where the input of a part lies. Steps are in elements.
struct Source {
  Source(const Tiling& t, const Region& region, const Part& part)
      : h(t.problem.axes[1], region.cell[1], region.cells[1], part.shift_begin[1],
          part.shift_end[1]),
        w(t.problem.axes[2], region.cell[2], region.cells[2], part.shift_begin[2],
          part.shift_end[2]),
        size(static_cast<Index>(element_size(t.problem.type))),
        channel_step(t.input_first ? t.problem.input_positions() : 1),
        position_step(t.input_first ? 1 : t.problem.in_channels),
        row_step(t.problem.axes[2].input * position_step),
        plane_step(t.problem.axes[1].input * row_step),
        first(region.n * t.problem.in_channels * t.problem.input_positions() +
              (region.channel + part.depth_begin) * channel_step + (h.from + h.begin) * row_step +
              (w.from + w.begin) * position_step) {}

  Index rows() const { return h.end - h.begin; }
  Index width() const { return w.end - w.begin; }

  Reach h, w;
  Index size;  ///< bytes of an element
  Index channel_step, position_step, row_step, plane_step;
  Index first;  ///< the first position inside, of plane 0
};

}  // namespace

Index staged_row(const Tiling& t, Index cell, Index cells) {
  const Index shifts = t.phases[2].max_shift() + 1;
  if (t.window[2] < shifts) return cells + t.window[2] - 1;  // not all parts have the same zeros
  const Reach w(t.problem.axes[2], cell, cells, 0, shifts);
  return w.extent - std::min(w.begin, w.extent - w.end);
}

Staged stage(const Tiling& t, const Kernels& kernels, const std::byte* input, const Region& region,
             const Part& part, Index plane_begin, Index plane_end, float* to, float* run) {
  const Source source(t, region, part);
  const Reach &h = source.h, &w = source.w;
  Staged staged;
  staged.data = to;
  staged.slot = t.staged_slot;
  staged.row = staged_row(t, region.cell[2], region.cells[2]);
  staged.position_step = t.staged_planes ? 1 : t.staged_pitch;
  staged.channel_step = t.staged_planes ? t.staged_pitch : 1;
  staged.row_begin = h.begin;
  staged.row_end = h.end;
  staged.begin = w.begin;
  staged.end = w.end;
  staged.inside = source.rows() == h.extent && source.width() == w.extent;

  const Stager stager(t, kernels, staged, part.depth, run);
  const Index width = source.width();
  const Index gap = staged.row - width;
  const Index all = (h.extent - 1) * staged.row + w.extent;
  for (Index d = plane_begin; d < plane_end; ++d) {
    float* plane = to + d % t.slots * staged.slot * staged.position_step;
    if (source.rows() == 0 || width == 0) {
      stager.clear(plane, 0, all);
      continue;
    }
    const Rows rows{input + (source.first + d * source.plane_step) * source.size,
                    source.rows(),
                    width,
                    source.row_step,
                    source.position_step,
                    source.channel_step};
    const Index top = h.begin * staged.row + w.begin;
    stager.clear(plane, 0, top);
    stager.copy(rows, plane + top * staged.position_step);
    for (Index y = 1; gap > 0 && y < rows.rows; ++y) {
      stager.clear(plane, top + y * staged.row - gap, top + y * staged.row);
    }
    stager.clear(plane, top + (rows.rows - 1) * staged.row + width, all);
  }
  return staged;
}

InputRuns plane_of_input(const Tiling& t, const std::byte* input, const Region& region,
                         const Part& part, Index plane) {
  InputRuns runs;
  const Source source(t, region, part);
  if (!t.input_first || source.rows() == 0 || source.width() == 0) return runs;
  const bool joined = source.width() == source.row_step;
  runs.from = input + (source.first + plane * source.plane_step) * source.size;
  runs.outer = part.depth;
  runs.outer_step = source.channel_step * source.size;
  runs.inner = joined ? 1 : source.rows();
  runs.inner_step = source.row_step * source.size;
  runs.bytes = source.width() * source.size * (joined ? source.rows() : 1);
  return runs;
}

void InputRuns::prefetch(Index item) const {
  const Index piece = item % pieces();
  const Index run = item / pieces();
  const std::byte* const at = from + run / inner * outer_step + run % inner * inner_step;
  const Index end = std::min((piece + 1) * at_once, bytes);
  constexpr int read = 0, second_level = 2;
  for (Index i = piece * at_once; i < end; i += line) {
    __builtin_prefetch(at + i, read, second_level);
  }
}

}  // namespace phaseconv::cpu
