// How one rank's parameters lie in flat buffers: those of a kind (dense weights, experts) in the
// order of forward, cut into buckets of whole units. A bucket is what is gathered and reduced at
// once; it is padded so that its ranks hold equal shards of it.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/core/math.h"
#include "lib/nn/param.h"

namespace nemo {

// A Param, from element `first` of its bucket on.
struct FlatPiece {
  ParamId id;
  int64_t first;
  int64_t numel;
};

struct FlatBucket {
  bool experts;
  std::vector<int> units;
  std::vector<FlatPiece> pieces;
  int64_t num_shards;
  int64_t numel;  // padding included

  int64_t shard_numel() const { return numel / num_shards; }
  Range shard(int64_t rank) const { return {rank * shard_numel(), (rank + 1) * shard_numel()}; }
};

// Ranks that each kind of bucket is cut among.
struct NumShards {
  int64_t dense;
  int64_t experts;
};

class FlatLayout {
 public:
  // From the last unit to the first a bucket closes once it holds bucket_bytes of fp32; with 0
  // every unit is a bucket. A unit with a table of the vocabulary is always a bucket of its own:
  // the rows may not divide evenly among tp ranks, and what these hold alike must lie at the same
  // place on each; and the two stages that hold a tied table must cut it into the same shards.
  FlatLayout(const ParamSet& params, const NumShards& num_shards, double bucket_bytes);

  // In the order in which gradients become final, those of the dense kind first.
  const std::vector<FlatBucket>& buckets() const { return buckets_; }
  const std::vector<size_t>& buckets_of_unit(int unit) const {
    return buckets_of_unit_[static_cast<size_t>(unit)];
  }
  struct Place {
    size_t bucket;
    FlatPiece piece;
  };
  const Place& place(ParamId id) const { return places_[static_cast<size_t>(id)]; }

 private:
  void add_kind(const ParamSet& params, bool experts, int64_t num_shards, double bucket_bytes);
  void close(FlatBucket& bucket);

  std::vector<FlatBucket> buckets_;
  std::vector<std::vector<size_t>> buckets_of_unit_;
  std::vector<Place> places_;
};

}  // namespace nemo
