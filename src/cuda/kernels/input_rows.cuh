// The inputs that reach a tile of the col2im families: rows along w, those that exist, plane by
// plane, and how a plane is staged: as it lies in memory, channels first as rows of each channel,
// channels last as words of each position. What is staged beside the inputs themselves does no
// harm: only the contributions of positions that exist are gathered.
#pragma once

namespace phaseconv {

/// Rows of inputs that reach a tile: so many in each plane, and where rows begin.
template <class Problem, class Plan>
struct InputRows {
  static constexpr int most_rows = int(tiling_of<Problem, Plan>().in_h);  ///< of a plane

  int first_d, first_h, planes, plane_rows, first_w;

  __device__ __forceinline__ explicit InputRows(const Place<Problem, Plan>& at) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Phases w = phases_of<Problem::w>();
    clip<Problem::d>(at.d.cell, int(Plan::box_d), first_d, planes);
    clip<Problem::h>(at.h.cell, int(Plan::box_h), first_h, plane_rows);
    first_w = own.whole_rows ? 0 : (at.w.cell - int(w.max_shift())) & -int(own.unit);
  }

 private:
  template <Axis axis>
  static __device__ __forceinline__ void clip(int cell, int box, int& first, int& count) {
    constexpr Phases phases = phases_of<axis>();
    const int low = cell - int(phases.max_shift()), end = cell + box - int(phases.min_shift());
    first = low > 0 ? low : 0;
    count = (end < int(axis.input) ? end : int(axis.input)) - first;
    if (count < 0) count = 0;
  }
};

template <class Problem, class Plan>
struct StageRows {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using Rows = InputRows<Problem, Plan>;

  const Stored* input;  ///< of the tile's image and group
  unsigned char* staged;
  int plane;          ///< counted from the tile's first one
  int first_channel;  ///< of the group

  /// Starts to copy.
  __device__ __forceinline__ void operator()(const Rows& rows) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr bool in_place = size * per_word == 4 && own.tile.ic % per_word == 0;
    if (own.wide && aligned(16)) {
      copy<16>(rows);
    } else if (!last || (in_place && aligned(4))) {
      copy<last ? 4 : size>(rows);
    } else {
      gather(rows);
    }
  }

 private:
  static constexpr bool last = Problem::channels_last;
  static constexpr int threads = int(Plan::threads);
  static constexpr int size = int(sizeof(Stored));
  static constexpr int per_word = int(tiling_of<Problem, Plan>().per_word);
  static constexpr int row = int(col2im_of<Problem, Plan>().row);
  static constexpr int most_rows = Rows::most_rows;
  static constexpr int ic = int(tiling_of<Problem, Plan>().ic);
  static constexpr int channels = int(col2im_of<Problem, Plan>().stage_words) * per_word;
  static constexpr int pitch = int(col2im_of<Problem, Plan>().pitch);
  static constexpr Index from_channel =
      last ? 1 : Problem::d.input * Problem::h.input * Problem::w.input;
  static constexpr Index from_w = last ? Problem::in_channels : 1;
  static constexpr Index from_h = from_w * Problem::w.input;
  static constexpr Index from_d = from_h * Problem::h.input;

  __device__ __forceinline__ bool aligned(int bytes) const {
    return reinterpret_cast<unsigned long long>(input) % bytes == 0;
  }
  /// Of the plane's first row; nothing may be there.
  __device__ __forceinline__ const Stored* first_input(const Rows& rows) const {
    return input + (rows.first_d + plane) * from_d + rows.first_h * from_h;
  }
  static __device__ __forceinline__ bool exists_w(int w) {
    return unsigned(w) < unsigned(Problem::w.input);
  }

  /// So many bytes at a time. Threads share a row, with channels last a row and its channels; each
  /// then takes the same piece of every so many channels, or rows.
  template <int bytes>
  __device__ __forceinline__ void copy(const Rows& rows) const {
    constexpr int count = bytes / size;  // elements of a piece
    constexpr int pieces = last ? channels / count : (row + count - 1) / count;
    constexpr int own_rows = last ? row : most_rows;
    constexpr int all = pieces * own_rows, others = last ? most_rows : channels;
    // Of the threads so many for each of the others.
    constexpr int team = all < threads ? int(team_of(all, threads)) : threads;
    constexpr int turns = (all + team - 1) / team;
#pragma unroll(turns <= 4 ? turns : 1)
    for (int turn = 0; turn < turns; ++turn) {
      const int each = turn * team + int(threadIdx.x) % team;
      if (all % team != 0 && each >= all) continue;
      const int piece = each % pieces * count, second = each / pieces;
      if constexpr (last) {
        const int w = rows.first_w + second;
        const bool there = exists_w(w) && first_channel + piece < ic;
        const Stored* const from = first_input(rows) + first_channel + piece + w * from_w;
        Stored* const to = reinterpret_cast<Stored*>(staged) + second * (pitch * per_word) + piece;
#pragma unroll 4
        for (int other = int(threadIdx.x) / team; other < others; other += threads / team) {
          const bool exists = there && other < rows.plane_rows;
          copy_to_shared<bytes>(to + other * (row * pitch * per_word),
                                exists ? from + other * from_h : input, exists);
        }
      } else {
        const int w = rows.first_w + piece;
        const bool there = second < rows.plane_rows && exists_w(w);
        const Stored* from = first_input(rows) + second * from_h + w +
                             (first_channel + int(threadIdx.x) / team) * from_channel;
        Stored* to = reinterpret_cast<Stored*>(staged) + second * row + piece +
                     int(threadIdx.x) / team * pitch;
        constexpr bool whole = ic % channels == 0;
#pragma unroll 8
        for (int other = int(threadIdx.x) / team; other < others; other += threads / team) {
          const bool exists = there && (whole || first_channel + other < ic);
          if constexpr (bytes == 2) {
            *to = exists ? __ldg(from) : Stored(0);
          } else {
            copy_to_shared<bytes>(to, exists ? from : input, exists);
          }
          from += threads / team * from_channel;
          to += threads / team * pitch;
        }
      }
    }
  }

  /// Channels last, word by word from elements that lie anywhere.
  __device__ __forceinline__ void gather(const Rows& rows) const {
    constexpr int words = channels / per_word;
    for (int each = threadIdx.x; each < most_rows * row * words; each += threads) {
      const int word = each % words, second = each / words % row, other = each / (words * row);
      const int w = rows.first_w + second, channel = first_channel + word * per_word;
      const bool there = other < rows.plane_rows && exists_w(w);
      unsigned value = 0;
      const Stored* const from = first_input(rows) + other * from_h + w * from_w + channel;
#pragma unroll
      for (int i = 0; i < per_word; ++i) {
        if (!there || channel + i >= ic) continue;
        if constexpr (size == 2) {
          value |= unsigned(__ldg(from + i)) << i * 16;
        } else {
          value = __float_as_uint(__ldg(from + i));
        }
      }
      reinterpret_cast<unsigned*>(staged)[(other * row + second) * pitch + word] = value;
    }
  }
};

}  // namespace phaseconv
