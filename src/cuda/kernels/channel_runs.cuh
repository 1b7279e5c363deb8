// The channels that a team of threads stages: runs of them that follow each other in memory. What
// lies at a place is the same distance away in each of them, so a thread works out a place once,
// for every so many channels.
#pragma once

namespace phaseconv {

/// `channels`: so many are staged of each group, some of which may not exist.
template <class Problem, class Plan, class Team, int channels>
struct ChannelRuns {
  static constexpr int count =
      tiling_of<Problem, Plan>().ic == channels ? 1 : int(Plan::group_block);
  static constexpr int length = channels * int(Plan::group_block) / count;

  /// How many channels there are of a run: of a tile's groups, from such a channel of each on.
  static __device__ __forceinline__ int existing(int group, int first_channel, int run) {
    constexpr Tiling tile = tiling_of<Problem, Plan>();
    if constexpr (Problem::groups % tile.plan.group_block == 0 && tile.ic % channels == 0) {
      return length;
    }
    const Index groups = count == 1 ? least(Problem::groups - group, tile.plan.group_block)
                                    : Index(group + run < Problem::groups);
    return int(most(least(groups * tile.ic - first_channel, length), 0));
  }

  /// How threads share so many places of each channel.
  template <int places>
  struct Share {
    static constexpr int threads = Team::count;
    /// For a place, so that all are done soonest; finding one takes as long as so many copies.
    static __device__ constexpr int team_of() {
      constexpr int find = 16;
      const int largest = int(least(places, threads));
      int best = largest;
      const auto time = [](int team) {
        return parts(places, team) * (find + parts(length, threads / team));
      };
      for (int team = largest; team >= int(least(largest, 32)); --team) {
        if (time(team) < time(best)) best = team;
      }
      return best;
    }
    static constexpr int team = team_of();
    static constexpr int at_once = threads / team;  ///< channels
    static constexpr int turns = int(parts(length, at_once));
  };
};

}  // namespace phaseconv
