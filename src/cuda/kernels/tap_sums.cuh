// The outputs of some planes of cells as they are summed up in shared memory in float32: how
// contributions are added, round by round, and how outputs leave for memory. No two threads add to
// one output in a round, and rounds follow each other in order: the same sums every time.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct TapSums {
  using Element = typename Problem::Element;
  using Stored = typename Element::Stored;
  using At = Place<Problem, Plan>;
  using Rows = InputRows<Problem, Plan>;
  static constexpr int column_tiles = int(col2im_of<Problem, Plan>().column_tiles);
  static constexpr int position_tiles = int(col2im_of<Problem, Plan>().position_tiles);
  static constexpr int row_positions = int(col2im_of<Problem, Plan>().row);
  static constexpr int rows_together = Rows::together;
  static constexpr int threads = int(Plan::threads);

  using Contributions = float[column_tiles][position_tiles][4];

  /// Of two columns that a lane has: where they go, counted from a position, in bytes; their round.
  struct Columns {
    int first, second, round, unused;
  };
  /// Of a row of a chunk and a shift along d: where its contributions go, in bytes, and to which
  /// neighbours along h it has any in the tile, all along w.
  struct RowOf {
    int place;
    unsigned neighbours;
  };
  static constexpr int shifts_d = int(Phases(Problem::d).shift_count());
  static constexpr int shifts_h = int(Phases(Problem::h).shift_count());
  static constexpr int shifts_w = int(Phases(Problem::w).shift_count());
  static constexpr int plane_neighbours = shifts_h * shifts_w;

  unsigned char* shared;

  __device__ __forceinline__ float* sums() const {
    return reinterpret_cast<float*>(shared + col2im_of<Problem, Plan>().sum_at);
  }
  __device__ __forceinline__ Columns* columns() const {
    return reinterpret_cast<Columns*>(shared + col2im_of<Problem, Plan>().column_at);
  }
  __device__ __forceinline__ RowOf* row_table(int chunk) const {
    return reinterpret_cast<RowOf*>(shared + col2im_of<Problem, Plan>().row_at) +
           chunk % 2 * (rows_together * shifts_d);
  }

  __device__ __forceinline__ void clear() const {
    constexpr int count =
        int(col2im_of<Problem, Plan>().planes * col2im_of<Problem, Plan>().s_plane);
    for (int i = threadIdx.x; i < count; i += threads) sums()[i] = 0.0f;
  }

  __device__ __forceinline__ void fill_columns() const {
    for (int i = threadIdx.x; i < column_tiles * 4; i += threads) {
      const ColumnOf first(Plan::columns(2 * i)), second(Plan::columns(2 * i + 1));
      columns()[i] = {first.place, second.place, Plan::columns(2 * i) < 0 ? -1 : first.round, 0};
    }
  }

  /// Where a plane of cells is summed up, by its number in the tile.
  static __device__ __forceinline__ int plane_place(int number) {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    return own.planes == 1 ? 0 : int(unsigned(number) % unsigned(own.planes)) * int(own.s_plane);
  }

  /// The rows of a chunk, from `row` of `plane` on; `chunk` counts them all.
  __device__ __forceinline__ void fill_rows(const At& at, const Rows& rows, int plane, int row,
                                            int chunk) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>();
    for (int i = threadIdx.x; i < rows_together * shifts_d; i += threads) {
      const int shift = i / rows_together, number = i % rows_together;
      const int to_d =
          rows.first_d + plane + number / Rows::chunk_rows - at.d.cell + int(d.shift_at(shift));
      const int cell_h = rows.first_h + row + number % Rows::chunk_rows - at.h.cell;
      unsigned found = 0;
#pragma unroll
      for (int n = 0; n < shifts_h; ++n) {
        if (unsigned(cell_h + int(h.shift_at(n))) < unsigned(Plan::box_h)) {
          found |= ((1u << (shifts_w - 1)) * 2 - 1) << n * shifts_w;
        }
      }
      const bool exists = rows.exists(plane, row, number) && unsigned(to_d) < unsigned(Plan::box_d);
      row_table(chunk)[i] = {
          4 * (plane_place(exists ? to_d : 0) + cell_h * int(Problem::h.stride * own.s_h)),
          exists ? found : 0};
    }
  }

  /// Adds what a warp computed for its positions of a chunk. All threads of the block come here.
  __device__ __forceinline__ void add(const At& at, const Rows& rows, int chunk,
                                      const Contributions& values) const {
    constexpr Col2im own = col2im_of<Problem, Plan>();
    // Worked out anew for each chunk: registers are for products.
    const int thread = int(kept(threadIdx.x)), lane = thread % 32, warp = thread / 32;
    unsigned along_w[position_tiles][2], place[position_tiles][2], reached[position_tiles][2];
    const RowOf* row_of[position_tiles][2];
    int to_w[position_tiles][2];
#pragma unroll
    for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int position = warp * int(Plan::cell_tile) + own.position(lane / 4, i, half);
        const int number = position / row_positions;
        const int w = rows.first_w + position % row_positions;
        const bool exists = number < rows_together;
        row_of[i][half] = row_table(chunk) + (exists ? number : 0);
        to_w[i][half] =
            int(shared_address(sums())) + 4 * (w - at.w.cell) * int(Problem::w.stride * own.s_w);
        along_w[i][half] = exists ? neighbours_along_w(w, at.w.cell) : 0;
      }
    }
    int round = 0, shift_d = -1;  // constants, in unrolled code
#pragma unroll
    for (int c = 0; c < column_tiles; ++c) {
      const Columns to = columns()[c * 4 + lane % 4];
#pragma unroll
      for (int own_round = Plan::first_round(c); own_round <= Plan::last_round(c); ++own_round) {
        if (own_round != round) __syncthreads();
        round = own_round;
        if (own_round / plane_neighbours != shift_d) {
          shift_d = own_round / plane_neighbours;
#pragma unroll
          for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const RowOf its = row_of[i][half][shift_d * rows_together];
              place[i][half] = unsigned(to_w[i][half] + its.place);
              reached[i][half] = its.neighbours & along_w[i][half];
            }
          }
        }
        // One bit, unless the lane's columns belong to another round, or are none.
        const unsigned bit = 1u << own_round % plane_neighbours;
        const unsigned own_bit = Plan::one_round(c) || to.round == own_round ? bit : 0;
        Conditions here;
#pragma unroll
        for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            here[i][half] = (reached[i][half] & own_bit) != 0;
          }
        }
        if (Plan::paired(c)) {
          add_pairs(to, place, here, values[c]);
        } else {
          add_each(to, place, here, values[c]);
        }
      }
    }
  }

  /// Writes the outputs of a plane of cells, by its number in the tile, and leaves zeros.
  __device__ __forceinline__ void finish(const At& at, int plane, const Stored* input,
                                         const unsigned* packed, const Stored* bias,
                                         Stored* output) const {
    constexpr Index all = Problem::d.output() * Problem::h.output() * Problem::w.output();
    const int first_channel = at.first_channel();
    float* const from = sums() + plane_place(plane);
    Stored* const to = output + at.image * Problem::out_channels * all + first_channel * to_c;
    // All parts at once where a part has few outputs; a thread takes several of them at a time.
    constexpr int part = Outputs::part, at_once = 4;
    constexpr int together = part >= 2 * threads ? 1 : Outputs::parts;
    constexpr int count = together * part;
#pragma unroll 1
    for (int first = 0; first < Outputs::parts; first += together) {
#pragma unroll 1
      for (int group = threadIdx.x; group < count; group += at_once * threads) {
        float value[at_once];
        float zero = 0.0f;  // what is not finite leaves a NaN here
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
          const Outputs its(at, plane, together, first, group + i * threads);
          const bool some = group + i * threads < count;
          const unsigned place = shared_address(from) + 4 * its.place();
          value[i] = 0.0f;
          load_shared_if(value[i], place, some);
          store_shared_if(place, 0.0f, some);
        }
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
          const Outputs its(at, plane, together, first, group + i * threads);
          const bool some = group + i * threads < count && its.exists(at);
          zero = fmaf(value[i], 0.0f, zero);
          if (Problem::bias) {
            value[i] += Element::value(__ldg(bias + first_channel + (some ? its.channel : 0)));
          }
          Stored* const own_to = to + its.offset();
          if (some) *own_to = Element::rounded(value[i]);
        }
        if (zero == 0.0f) continue;
#pragma unroll 1
        for (int i = 0; i < at_once; ++i) {
          const Outputs its(at, plane, together, first, group + i * threads);
          if (group + i * threads >= count || !its.exists(at)) continue;
          const int channel = first_channel + its.channel;
          const float sum = defined(input, packed, at.image, channel, its.o_d, its.o_h, its.o_w);
          to[its.offset()] =
              Element::rounded(Problem::bias ? sum + Element::value(__ldg(bias + channel)) : sum);
        }
      }
    }
  }

 private:
  static constexpr bool last = Problem::channels_last;
  static constexpr Index to_w = last ? Problem::out_channels : 1;
  static constexpr Index to_h = to_w * Problem::w.output();
  static constexpr Index to_d = to_h * Problem::h.output();
  static constexpr Index to_c = last ? 1 : to_d * Problem::d.output();

  /// One output of a plane of cells by its number: in parts of one phase along d and one channel,
  /// with channels last of all channels.
  struct Outputs {
    static constexpr int channels = last ? int(Plan::channel_block) : 1;
    static constexpr int size_h = int(col2im_of<Problem, Plan>().out_h);
    static constexpr int size_w = int(col2im_of<Problem, Plan>().out_w);
    static constexpr int part = size_h * size_w * channels;
    static constexpr int parts = int(Problem::d.stride * Plan::channel_block) / channels;

    int channel, phase, h, w;  ///< in the box
    int o_d, o_h, o_w;
    /// Of `together` parts, from the first one on.
    __device__ __forceinline__ Outputs(const At& at, int plane, int together, unsigned first_part,
                                       unsigned number) {
      const unsigned own_part = first_part + (together == 1 ? 0 : number / unsigned(part));
      const unsigned rest = together == 1 ? number : number % unsigned(part);
      phase = int(own_part % unsigned(Problem::d.stride));
      channel = int(last ? rest % unsigned(channels) : own_part / unsigned(Problem::d.stride));
      w = int(rest / unsigned(channels) % unsigned(size_w));
      h = int(rest / unsigned(channels * size_w));
      o_d = at.d.low + at.d.origin + plane * int(Problem::d.stride) + phase;
      o_h = at.h.low + at.h.origin + h;
      o_w = at.w.low + at.w.origin + w;
    }
    /// Where it is summed up, counted from the plane's first one.
    __device__ __forceinline__ int place() const {
      constexpr Col2im own = col2im_of<Problem, Plan>();
      return channel * int(own.s_c) + phase * int(own.s_d) + h * int(own.s_h) + w * int(own.s_w);
    }
    /// Counted from the tile's first channel.
    __device__ __forceinline__ Index offset() const {
      return channel * to_c + o_d * to_d + o_h * to_h + o_w * to_w;
    }
    __device__ __forceinline__ bool exists(const At& at) const {
      return unsigned(o_d) < unsigned(Problem::d.output()) &&
             unsigned(o_h) < unsigned(Problem::h.output()) &&
             unsigned(o_w) < unsigned(Problem::w.output()) && channel < at.channels();
    }
  };

  /// A column: its round, and where it goes.
  struct ColumnOf {
    int place, round;
    __device__ __forceinline__ explicit ColumnOf(int code) {
      constexpr Col2im own = col2im_of<Problem, Plan>();
      constexpr Phases d = phases_of<Problem::d>(), h = phases_of<Problem::h>(),
                       w = phases_of<Problem::w>();
      const int tap = code / int(Plan::channel_block), channel = code % int(Plan::channel_block);
      const int kw = tap % int(Problem::w.kernel), rest = tap / int(Problem::w.kernel);
      const int kh = rest % int(Problem::h.kernel), kd = rest / int(Problem::h.kernel);
      place = code < 0 ? -1
                       : 4 * (channel * int(own.s_c) + int(d.phase(kd) * own.s_d) +
                              kh * int(Problem::h.dilation * own.s_h) +
                              kw * int(Problem::w.dilation * own.s_w));
      round = int((d.shift_index(kd) * h.shift_count() + h.shift_index(kh)) * w.shift_count() +
                  w.shift_index(kw));
    }
  };

  /// The neighbours that a position contributes to, as far as w is concerned.
  static __device__ __forceinline__ unsigned neighbours_along_w(int w, int cell) {
    constexpr Phases phases = phases_of<Problem::w>();
    constexpr unsigned each = every(shifts_w);
    unsigned bits = 0;
#pragma unroll
    for (int n = 0; n < shifts_w; ++n) {
      if (unsigned(w - cell + int(phases.shift_at(n))) < unsigned(Plan::box_w)) bits |= 1u << n;
    }
    return unsigned(w) < unsigned(Problem::w.input) ? bits * each : 0;
  }
  /// One bit for every so many neighbours.
  static __device__ __forceinline__ constexpr unsigned every(int count) {
    unsigned bits = 0;
    for (int n = 0; n < plane_neighbours; n += count) bits |= 1u << n;
    return bits;
  }

  using Places = unsigned[position_tiles][2];
  using Conditions = bool[position_tiles][2];
  using Values = float[position_tiles][4];

  /// Two columns whose outputs are neighbours.
  static __device__ __forceinline__ void add_pairs(const Columns& to, const Places& place,
                                                   const Conditions& here, const Values& values) {
    float2 sum[position_tiles][2];
#pragma unroll
    for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sum[i][half] = {0.0f, 0.0f};
        load_shared_if(sum[i][half], place[i][half] + to.first, here[i][half]);
      }
    }
#pragma unroll
    for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned word[2] = {__float_as_uint(sum[i][half].x + values[i][half * 2]),
                                  __float_as_uint(sum[i][half].y + values[i][half * 2 + 1])};
        store_shared_if(place[i][half] + to.first, word, here[i][half]);
      }
    }
  }

  /// Two columns anywhere, the second one maybe none.
  static __device__ __forceinline__ void add_each(const Columns& to, const Places& place,
                                                  const Conditions& here, const Values& values) {
    float sum[2][position_tiles][2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int own_to = j == 0 ? to.first : to.second;
          sum[j][i][half] = 0.0f;
          load_shared_if(sum[j][i][half], place[i][half] + own_to, here[i][half] && own_to >= 0);
        }
      }
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < position_tiles; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int own_to = j == 0 ? to.first : to.second;
          store_shared_if(place[i][half] + own_to, sum[j][i][half] + values[i][half * 2 + j],
                          here[i][half] && own_to >= 0);
        }
      }
    }
  }

  static __device__ __noinline__ float defined(const Stored* input, const unsigned* packed,
                                               int image, int channel, int o_d, int o_h, int o_w) {
    return Definition<Problem, Plan, TapWeights<Problem, Plan>>{input, packed}(image, channel, o_d,
                                                                               o_h, o_w);
  }
};

}  // namespace phaseconv
