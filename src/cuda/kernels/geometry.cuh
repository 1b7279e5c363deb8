// The geometry of the generated structs, as a constant of the kernel.
#pragma once

namespace phaseconv {

template <class Problem, class Plan>
__device__ __forceinline__ constexpr Tiling tiling_of() {
  constexpr Tiling tiling(
      {Problem::batch, Problem::in_channels, Problem::out_channels, Problem::groups, Problem::d,
       Problem::h, Problem::w, int(sizeof(typename Problem::Element::Stored)),
       Problem::channels_last, Product<typename Problem::Element, false>::split},
      {Plan::box_d, Plan::box_h, Plan::box_w, Plan::group_block, Plan::channel_block,
       Plan::input_block, Plan::cell_tile, Plan::column_tile, Plan::threads, Plan::buffers,
       Plan::warpgroups, Plan::slots, Plan::in_words, Plan::part, Plan::all_planes});
  return tiling;
}

}  // namespace phaseconv
