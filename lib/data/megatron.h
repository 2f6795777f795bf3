// Megatron's datasets, one or a blend, read in the order in which Megatron-Core reads them.
//
// Each dataset is cut by documents into the three parts, and each part has a MegatronOrder. With
// weights, a blend of N samples takes ceil(N * w_i) of dataset i, for which ceil(that * 1.005) are
// ordered, so that every dataset has enough passes; without, every dataset is passed over once and
// weighs what it has. One dataset alone has no use for a weight (as in NeMo).
#pragma once

#include "lib/data/blend_order.h"
#include "lib/data/dataset.h"
#include "lib/data/megatron_order.h"

namespace nemo {

class MegatronDataset : public Dataset {
 public:
  // Reads paths, seq_length, num_samples, shuffle and split of config. The training part orders
  // num_samples samples (more, where the last pass or the last sample of each dataset has more),
  // and repeats them after the last. Of the other parts there is one pass; of a weighted blend as
  // much as keeps the weights until its first dataset has given all. A part that is not in `needed`
  // has no samples. Throws UserError kData for damaged files (see MegatronFile), for a token among
  // the first of a file that is no id of vocab_size and for a needed part without a sample; kUsage
  // for settings that no file could satisfy. Later tokens are checked as they are read.
  MegatronDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                  std::span<const Part> needed);

  int64_t num_samples(Part part) const override;
  void read(Part part, int64_t position, std::span<int32_t> tokens) const override;

 private:
  struct PartOrder {
    std::vector<MegatronOrder> datasets;
    BlendOrder blend;  // of more than one dataset
    int64_t num_samples = 0;
  };

  PartOrder order_part(Part part, const DataConfig& config, uint32_t seed) const;
  BlendOrder blend_part(Part part, const DataConfig& config,
                        std::span<const MegatronOrder> datasets) const;

  int64_t seq_length_;
  int64_t vocab_size_;
  std::vector<MegatronFile> files_;
  std::vector<double> weights_;  // normalized; empty for one dataset, and where size weighs
  PerPart<PartOrder> parts_;
};

}  // namespace nemo
