#include "lib/data/dataset.h"

#include "lib/core/error.h"
#include "lib/data/llmc.h"
#include "lib/data/megatron.h"
#include "lib/data/mock.h"
#include "lib/data/text.h"

namespace nemo {

std::unique_ptr<const Dataset> open_dataset(const DataConfig& config, int64_t vocab_size,
                                            uint64_t seed, std::span<const Part> needed) {
  switch (config.kind) {
    case DataKind::kText:
      return std::make_unique<TextDataset>(config, vocab_size, seed, needed);
    case DataKind::kMock:
      return std::make_unique<MockDataset>(config.seq_length, vocab_size, seed);
    case DataKind::kLlmc:
      return std::make_unique<LlmcDataset>(config, vocab_size, seed, needed);
    case DataKind::kMegatron:
      return std::make_unique<MegatronDataset>(config, vocab_size, seed, needed);
    case DataKind::kJsonl:
      break;
  }
  throw_usage("[data.kind] {} cannot be read by this version; text, mock, megatron and llmc can",
              to_string(config.kind));
}

}  // namespace nemo
