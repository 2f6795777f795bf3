// What the ranks of a layout keep between forward and backward, as their arenas counted it, against
// what the layout says.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/sampled.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int64_t kHidden = 64;
constexpr int64_t kFfn = 176;
constexpr int64_t kHeads = 4;  // of 16 elements; as many key/value heads
constexpr int64_t kSeq = 64;
constexpr int64_t kFewLayers = 16;
constexpr int64_t kManyLayers = 32;

// Peak bytes of activations on each rank of a step of so many micro batches of one sample.
std::vector<int64_t> peaks(const std::string& layout, int64_t num_layers, int num_microbatches) {
  const ResolvedRecipe run = resolve_text(
      "{}", {fmt::format("model={{family: llama, vocab_size: 64, num_layers: {}, hidden_size: {}, "
                         "ffn_hidden_size: {}, num_attention_heads: {}, num_query_groups: {}}}",
                         num_layers, kHidden, kFfn, kHeads, kHeads),
             fmt::format("data={{kind: mock, seq_length: {}, global_batch_size: {}}}", kSeq,
                         num_microbatches),
             "trainer={max_steps: 1, threads_per_rank: 1}", "parallel=" + layout});
  const auto dataset =
      open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
  std::vector<int64_t> result(static_cast<size_t>(run.sizes.world));
  on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
    trainer.train_step();
    result[static_cast<size_t>(rank)] =
        trainer.memory().peak[static_cast<size_t>(MemoryCategory::kActivations)];
  });
  return result;
}

// Bytes that one layer keeps of one micro batch: on T / sp rows the block's input, the residual
// stream behind attention, both norms' outputs and factors; of T tokens, divided by tp, queries,
// keys, values, attention's output, its softmax's factors, and three times the inner width.
double saved_bytes(int64_t tp, int64_t sp) {
  const double outside = static_cast<double>(4 * kHidden + 2) / static_cast<double>(sp);
  const double inside =
      static_cast<double>(4 * kHidden + kHeads + 3 * kFfn) / static_cast<double>(tp);
  return 4 * kSeq * (outside + inside);
}

}  // namespace

TEST_CASE("a rank keeps as many micro batches as its schedule says, however many a step has") {
  const struct {
    std::string layout;
    int64_t chunks_per_layer;  // pp * vpp, what the layers are divided by
    int64_t tp, sp;
    int num_microbatches;
    std::vector<int> live;  // (chunk, micro batch) pairs on each rank
  } rows[] = {
      {"{dp_size: 1}", 1, 1, 1, 1, {1}},
      {"{dp_size: 1}", 1, 1, 1, 8, {1}},
      {"{tp_size: 2}", 1, 2, 1, 1, {1, 1}},
      {"{tp_size: 2, sequence_parallel: true}", 1, 2, 2, 1, {1, 1}},
      {"{tp_size: 4, sequence_parallel: true}", 1, 4, 4, 2, {1, 1, 1, 1}},
      // 1f1b holds pp - stage of them.
      {"{pp_size: 4}", 4, 1, 1, 2, {2, 2, 2, 1}},
      {"{pp_size: 4}", 4, 1, 1, 4, {4, 3, 2, 1}},
      {"{pp_size: 4}", 4, 1, 1, 16, {4, 3, 2, 1}},
      {"{pp_size: 4, pp_schedule: gpipe}", 4, 1, 1, 4, {4, 4, 4, 4}},
      {"{pp_size: 4, pp_schedule: gpipe}", 4, 1, 1, 16, {16, 16, 16, 16}},
      // What B leaves to W is as large as what it takes from F, but for the norms' factors.
      {"{pp_size: 4, pp_schedule: zero_bubble}", 4, 1, 1, 16, {4, 4, 4, 4}},
      // 2 (pp - stage - 1) + (vpp - 1) g to warm up, and one.
      {"{pp_size: 2, vpp_size: 2}", 4, 1, 1, 4, {5, 3}},
      {"{pp_size: 2, vpp_size: 2}", 4, 1, 1, 16, {5, 3}},
      {"{pp_size: 2, tp_size: 2, sequence_parallel: true}", 2, 2, 2, 8, {2, 2, 1, 1}},
  };
  size_t index = 0;
  for (const auto& [layout, chunks_per_layer, tp, sp, num_microbatches, live] : rows) {
    if (left_out(index++, 5)) continue;
    CAPTURE(layout);
    CAPTURE(num_microbatches);
    const std::vector<int64_t> few = peaks(layout, kFewLayers, num_microbatches);
    const std::vector<int64_t> many = peaks(layout, kManyLayers, num_microbatches);
    REQUIRE(few.size() == live.size());
    for (size_t rank = 0; rank < live.size(); ++rank) {
      CAPTURE(rank);
      // Of the layers that many has more; what one layer has in flight is in both.
      const double layers =
          static_cast<double>(kManyLayers - kFewLayers) / static_cast<double>(chunks_per_layer);
      const double expected = live[rank] * layers * saved_bytes(tp, sp);
      const double kept = static_cast<double>(many[rank] - few[rank]);
      CHECK(std::abs(kept / expected - 1) <= 0.01);
    }
  }
}

// The same under recompute, of F and, where B leaves it to W, of B; exactly.
struct Kept {
  int64_t forward, deferred;
};

Kept kept_by_block(const std::string& recompute, int64_t tp, int64_t sp, int64_t cp) {
  const int64_t outside = kHidden / sp, heads = kHidden / tp, ffn = kFfn / tp;
  // Inputs of the four products, and gradients of their outputs.
  const int64_t deferred = 4 * outside + 4 * heads + 3 * ffn;
  if (recompute == "full") return {4 * kSeq / cp * outside, 4 * kSeq / cp * deferred};
  // Both residual streams, queries, keys, values, gate and up; over cp attention's output and its
  // softmax's factors.
  const int64_t attended = cp > 1 ? heads + kHeads / tp : 0;
  return {4 * kSeq / cp * (2 * outside + 3 * heads + 2 * ffn + attended), 4 * kSeq / cp * deferred};
}

TEST_CASE("under recompute a block keeps of a micro batch what its policy says, to the byte") {
  const struct {
    std::string layout;
    int64_t num_stages, tp, sp, cp;
    std::vector<int> live;  // micro batches on each rank
    // Of them, those that are between B and W, under zero-bubble.
    std::vector<int> deferred = {};
  } rows[] = {
      {"dp_size: 1", 1, 1, 1, 1, {1}},
      {"tp_size: 2", 1, 2, 1, 1, {1, 1}},
      {"tp_size: 2, sequence_parallel: true", 1, 2, 2, 1, {1, 1}},
      {"cp_size: 2", 1, 1, 1, 2, {1, 1}},
      {"cp_size: 2, cp_comm_type: a2a", 1, 1, 1, 2, {1, 1}},
      {"pp_size: 4", 4, 1, 1, 1, {4, 3, 2, 1}},
      {"pp_size: 4, pp_schedule: gpipe", 4, 1, 1, 1, {8, 8, 8, 8}},
      {"pp_size: 2, vpp_size: 2", 4, 1, 1, 1, {5, 3}},
      // Each keeps as many as rank 0; what rank r has put off, and what it has just done B of.
      {"pp_size: 4, pp_schedule: zero_bubble", 4, 1, 1, 1, {4, 4, 4, 4}, {1, 2, 3, 4}},
  };
  size_t index = 0;
  for (const std::string recompute : {"selective", "full"})
    for (const auto& [layout, num_stages, tp, sp, cp, live, deferred] : rows) {
      if (left_out(index++, 5)) continue;
      CAPTURE(recompute);
      CAPTURE(layout);
      const std::string parallel = "{" + layout + ", recompute: " + recompute + "}";
      const std::vector<int64_t> few = peaks(parallel, kFewLayers, 8);
      const std::vector<int64_t> many = peaks(parallel, kManyLayers, 8);
      const Kept kept = kept_by_block(recompute, tp, sp, cp);
      REQUIRE(few.size() == live.size());
      for (size_t rank = 0; rank < live.size(); ++rank) {
        CAPTURE(rank);
        const int put_off = deferred.empty() ? 0 : deferred[rank];
        const int64_t blocks = (kManyLayers - kFewLayers) / num_stages;
        CHECK(many[rank] - few[rank] ==
              blocks * ((live[rank] - put_off) * kept.forward + put_off * kept.deferred));
      }
    }
}

TEST_CASE("1f1b needs the same activations for any number of micro batches above pp") {
  const std::vector<int64_t> few = peaks("{pp_size: 4}", kFewLayers, 8);
  CHECK(peaks("{pp_size: 4}", kFewLayers, 24) == few);
  CHECK(peaks("{pp_size: 4, pp_schedule: gpipe}", kFewLayers, 24)[0] > 5 * few[0]);
}

TEST_CASE("with sequence parallelism the activations of a rank fall as 1 / tp") {
  const double alone = static_cast<double>(peaks("{dp_size: 1}", kManyLayers, 1)[0]);
  for (int64_t tp : {2, 4}) {
    CAPTURE(tp);
    const auto shares =
        peaks(fmt::format("{{tp_size: {}, sequence_parallel: true}}", tp), kManyLayers, 1);
    CHECK(std::ranges::equal(shares, std::vector(shares.size(), shares[0])));
    // What one layer has in flight is gathered to all tokens.
    const double share = static_cast<double>(shares[0]) * static_cast<double>(tp) / alone;
    CHECK(share >= 1);
    CHECK(share <= 1.05);
  }
}

TEST_CASE("with context parallelism the activations of a rank fall as 1 / cp, in every mode") {
  const double alone = static_cast<double>(peaks("{dp_size: 1}", kManyLayers, 1)[0]);
  for (const std::string mode : {"p2p", "all_gather", "a2a"})
    for (int64_t cp : {2, 4, 8}) {
      if (mode == "a2a" && cp > kHeads) continue;
      if (kSanitized && cp > 2) continue;
      CAPTURE(mode);
      CAPTURE(cp);
      const auto layout = fmt::format("{{cp_size: {}, cp_comm_type: {}}}", cp, mode);
      const auto shares = peaks(layout, kManyLayers, 1);
      CHECK(std::ranges::equal(shares, std::vector(shares.size(), shares[0])));
      const double layers = static_cast<double>(shares[0] - peaks(layout, kFewLayers, 1)[0]);
      const double expected = (kManyLayers - kFewLayers) * saved_bytes(1, 1);
      CHECK(std::abs(layers * static_cast<double>(cp) / expected - 1) <= 0.01);
      // What one layer has in flight under a2a is more: all tokens of heads beside all heads.
      const double share = static_cast<double>(shares[0]) * static_cast<double>(cp) / alone;
      CHECK(std::abs(share - 1) <= 0.01);
    }
}
