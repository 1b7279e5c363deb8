// Packed weights of phase_fma: float32, operands rounded as the type asks, plane by plane of taps
// along d, in each [kh][kw][oc][ic] of a group. Channels first: [group][plane], a plane filled up
// to 16 bytes; all threads of a warp want the same. Channels last: [plane][element][group]:
// neighbouring threads want neighbouring groups. Behind them a flag for each group, whether any of
// its weights is not finite.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct GroupWeights {
  using Element = typename Problem::Element;
  using Word = float;
  static constexpr Index bytes = spans_of<Problem, Plan>().packed_bytes;
  static constexpr int own = int(spans_of<Problem, Plan>().own);
  static constexpr int count = int(spans_of<Problem, Plan>().taps_plane);  ///< of a plane
  static constexpr int planes = int(Problem::d.kernel);

  static __device__ constexpr int element(int kh, int kw, int oc, int ic) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    return ((kh * int(Problem::w.kernel) + kw) * int(tile.oc) + oc) * int(tile.ic) + ic;
  }

  /// The weights of a thread's groups, which start at `group`, of one plane.
  static __device__ __forceinline__ void load(const float* packed, int group, int plane,
                                              float (&to)[count][own]) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    if constexpr (Problem::channels_last) {
      const float* const from =
          anchored(packed + Index(plane) * tile.plane_words * tile.layer.groups + group);
#pragma unroll
      for (int i = 0; i < count; ++i) {
        const float* const at = from + Index(i) * tile.layer.groups;
        if constexpr (own % 2 == 0) {
#pragma unroll
          for (int g = 0; g < own; g += 2) {
            const float2 two = __ldg(reinterpret_cast<const float2*>(at + g));
            to[i][g] = two.x, to[i][g + 1] = two.y;
          }
        } else {
#pragma unroll
          for (int g = 0; g < own; ++g) to[i][g] = __ldg(at + g);
        }
      }
    } else {
      const float* const from =
          anchored(packed + (Index(group) * planes + plane) * tile.plane_words);
#pragma unroll
      for (int i = 0; i < count; i += 4) {
        const float4 four = __ldg(reinterpret_cast<const float4*>(from + i));
        const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (i + j < count) to[i + j][0] = values[j];
        }
      }
    }
  }

  static __device__ __forceinline__ float one(const float* packed, int group, int plane, int at) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    return __ldg(packed + (Problem::channels_last
                               ? (Index(plane) * tile.plane_words + at) * tile.layer.groups + group
                               : (Index(group) * planes + plane) * tile.plane_words + at));
  }

  static __device__ __forceinline__ bool finite(const float* packed, int group) {
    bool all = true;
#pragma unroll
    for (int g = 0; g < own; ++g) {
      all = all && __ldg(packed + spans_of<Problem, Plan>().flags_at + group + g) == 0.0f;
    }
    return all;
  }

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const typename Element::Stored* weight, float* packed) {
    constexpr Spans tile = spans_of<Problem, Plan>();
    constexpr Index taps_plane = Problem::h.kernel * Problem::w.kernel;
    constexpr Index taps = Problem::d.kernel * taps_plane;
    const Index step = Index(gridDim.x) * blockDim.x;
    const Index first = Index(blockIdx.x) * blockDim.x + threadIdx.x;
    for (Index at = first; at < tile.flags_at; at += step) {
      const Index group =
          Problem::channels_last ? at % Problem::groups : at / (planes * tile.plane_words);
      const Index word =
          Problem::channels_last ? at / Problem::groups : at % (planes * tile.plane_words);
      const Index plane = word / tile.plane_words, place = word % tile.plane_words;
      const Index ic = place % tile.ic, oc = place / tile.ic % tile.oc;
      const Index tap = place / (tile.ic * tile.oc);
      packed[at] = place < tile.taps_plane
                       ? Element::operand(weight[((group * tile.ic + ic) * tile.oc + oc) * taps +
                                                 plane * taps_plane + tap])
                       : 0.0f;
    }
    constexpr Index each = tile.ic * tile.oc * taps;
    for (Index group = first; group < Problem::groups; group += step) {
      bool all = true;
      for (Index i = 0; i < each; ++i) {
        // Zero times a number is zero, or not a number.
        all = all && Element::operand(weight[group * each + i]) * 0.0f == 0.0f;
      }
      packed[tile.flags_at + group] = all ? 0.0f : 1.0f;
    }
  }
};

}  // namespace phaseconv
