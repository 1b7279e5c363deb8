// Packed weights: [group][channel tile][ic of the group][kd][kh][kw][oc of the tile] as float32,
// operands rounded as the type asks, the last tile of a group filled up with zeros. A thread that
// computes a tile of output channels reads its weights of one tap with vector loads, one tap after
// the other.
//
// Problem and Plan are the structs of the generated source (src/cuda/source.cpp).
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
struct Packing {
  using Word = float;
  static constexpr Index ic = Problem::in_channels / Problem::groups;   // of a group
  static constexpr Index oc = Problem::out_channels / Problem::groups;  // of a group
  static constexpr Index taps = Problem::d.kernel * Problem::h.kernel * Problem::w.kernel;
  static constexpr int tile = Plan::channel_tile;
  static constexpr Index tiles = (oc + tile - 1) / tile;  // of a group
  static constexpr Index elements = Problem::groups * tiles * ic * taps * tile;
  static constexpr Index bytes = elements * sizeof(float);

  /// Of the tile's first channel; the other channels follow.
  static __device__ Index offset(Index group, Index channel_tile, Index channel_in) {
    return ((group * tiles + channel_tile) * ic + channel_in) * (taps * tile);
  }
  static __device__ constexpr Index tap(Index kd, Index kh, Index kw) {
    return (kd * Problem::h.kernel + kh) * Problem::w.kernel + kw;
  }

  /// Packs `weight` [ic, oc/g, kd, kh, kw]; any number of threads.
  static __device__ void pack(const typename Problem::Element::Stored* weight, float* packed) {
    const Index step = Index(gridDim.x) * blockDim.x;
    for (Index at = Index(blockIdx.x) * blockDim.x + threadIdx.x; at < elements; at += step) {
      const Index in_tile = at % tile;
      const Index tap = at / tile % taps;
      const Index channel_in = at / (tile * taps) % ic;
      const Index channel_tile = at / (tile * taps * ic) % tiles;
      const Index group = at / (tile * taps * ic * tiles);
      const Index channel_out = channel_tile * tile + in_tile;
      packed[at] = channel_out < oc
                       ? Problem::Element::operand(
                             weight[((group * ic + channel_in) * oc + channel_out) * taps + tap])
                       : 0.0f;
    }
  }
};

}  // namespace phaseconv
