#include "lib/train/predict_step.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kModels[] = {
    "model={family: llama, vocab_size: 1031, num_layers: 4, hidden_size: 128, ffn_hidden_size: "
    "352, "
    "num_attention_heads: 4, num_query_groups: 2}",
    "model={family: gpt, vocab_size: 1031, num_layers: 3, hidden_size: 128, ffn_hidden_size: 512, "
    "num_attention_heads: 4}"};

const std::vector<std::string> kExtras = {
    "parallel.dp_size=2",
    "parallel.gradient_as_bucket_view=false",
    "parallel={tp_size: 2, dp_size: 2}",
    "parallel={tp_size: 2, sequence_parallel: true}",
    "parallel={tp_size: 4, sequence_parallel: true}",
    "parallel={pp_size: 2, pp_layout: auto, pp_schedule: gpipe}",
    "parallel={pp_size: 3, pp_layout: auto, pp_schedule: zero_bubble}",
    "parallel={pp_size: 2, pp_layout: auto, tp_size: 2, sequence_parallel: true}",
    "parallel={cp_size: 4}",
    "parallel={cp_size: 8}",
    "parallel={cp_size: 4, cp_comm_type: all_gather}",
    "parallel={cp_size: 8, cp_comm_type: all_gather}",
    "parallel={cp_size: 2, cp_comm_type: a2a}",
    "parallel={cp_size: 2, tp_size: 2, sequence_parallel: true, pp_size: 2, pp_layout: auto}",
    "parallel={dp_size: 2, cp_size: 2, distributed_optimizer: true}",
    "parallel={dp_size: 2, tp_size: 2, sharding_strategy: SHARD_GRAD_OP, overlap_grad_reduce: "
    "true}",
    "parallel={dp_size: 2, sharding_strategy: FULL_SHARD}",
    "parallel={dp_size: 2, cp_size: 2, sharding_strategy: FULL_SHARD, backward_prefetch: NONE}",
    "parallel={dp_size: 2, pp_size: 3, pp_layout: auto, pp_schedule: zero_bubble, "
    "sharding_strategy: FULL_SHARD, backward_prefetch: BACKWARD_POST, overlap_grad_reduce: true}",
    "parallel={dp_size: 2, cp_size: 2, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD}",
    "parallel={dp_size: 2, distributed_optimizer: true, cpu_offload: true}",
    "parallel={dp_size: 2, tp_size: 2, sharding_strategy: SHARD_GRAD_OP, cpu_offload: true}",
    "parallel={dp_size: 2, cp_size: 2, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD, "
    "cpu_offload: true}",
    "parallel.recompute=selective",
    "parallel.recompute=full",
    "parallel={tp_size: 2, sequence_parallel: true, recompute: selective}",
    "parallel={cp_size: 2, cp_comm_type: a2a, recompute: selective}",
    "parallel={tp_size: 2, sequence_parallel: true, cp_size: 2, recompute: full}",
    "parallel={pp_size: 3, pp_layout: auto, pp_schedule: zero_bubble, recompute: selective}",
    "parallel={pp_size: 3, pp_layout: auto, pp_schedule: zero_bubble, recompute: full}",
    "parallel={dp_size: 2, pp_size: 2, pp_layout: auto, sharding_strategy: FULL_SHARD, recompute: "
    "full}",
#ifndef NEMO_SANITIZED  // ThreadSanitizer does not know OpenMP's barriers
    "trainer.threads_per_rank=2"
#endif
};

// Two steps of the run: every rank reaches what was predicted for it.
void check_memory(const ResolvedRecipe& run) {
  const auto dataset =
      open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
  std::vector<MemoryReport> reached(static_cast<size_t>(run.sizes.world)), host(reached.size());
  on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
    trainer.train_step();
    trainer.train_step();
    reached[static_cast<size_t>(rank)] = trainer.memory();
    host[static_cast<size_t>(rank)] = trainer.host_memory();
  });
  int64_t peak = 0;
  for (size_t rank = 0; rank < reached.size(); ++rank) {
    CAPTURE(rank);
    const StepPrediction step = predict_step(run, static_cast<int>(rank));
    const MemoryReport& predicted = step.memory;
    CHECK(step.host.peak == host[rank].peak);
    for (size_t c = 0; c < size_t{kNumMemoryCategories}; ++c) {
      CAPTURE(to_string(static_cast<MemoryCategory>(c)));
      CHECK(predicted.peak[c] == reached[rank].peak[c]);
    }
    CHECK(predicted.peak_total == reached[rank].peak_total);
    peak = std::max(peak, reached[rank].peak_total + host[rank].peak_total);
  }
  CHECK(predict_peak_memory(run) == peak);
}

// What goes to each expert is foretold as if all were chosen alike.
void check_same_but_for_routing(const Traffic& predicted, const Traffic& count) {
  REQUIRE(predicted.groups().size() == count.groups().size());
  for (const auto& [name, group] : count.groups())
    for (const auto& [operation, sent] : group.operations) {
      CAPTURE(name);
      CAPTURE(operation);
      const OpTraffic& expected = predicted.groups().at(name).operations.at(operation);
      CHECK(expected.count == sent.count);
      if (name != "ep" && name != "etp") CHECK(expected.bytes == sent.bytes);
    }
}

}  // namespace

TEST_CASE("the predicted peak of every rank is what it reaches, to the byte") {
  for (const std::string model : kModels)
    for (const std::string batch : {"micro_batch_size: 1", "micro_batch_size: 4"})
      for (const std::string& extra : kExtras) {
        CAPTURE(model);
        CAPTURE(batch);
        CAPTURE(extra);
        check_memory(resolve_text(
            "{}", {model, "data={kind: mock, seq_length: 32, global_batch_size: 8, " + batch + "}",
                   "trainer={max_steps: 2, threads_per_rank: 1}", extra}));
      }
}

TEST_CASE("the predicted peak is reached to the byte in every precision") {
  for (const std::string model : kModels)
    for (const std::string precision :
         {"trainer.precision=bf16-mixed", "trainer.precision=16-mixed",
          "trainer.precision=bf16-true",
          "precision={reduce_dtype: bf16, output_dtype: bf16, buffer_dtype: bf16}"})
      for (const std::string layout :
           {"{dp_size: 1}", "{dp_size: 2}", "{tp_size: 2, sequence_parallel: true}",
            "{cp_size: 2, cp_comm_type: a2a}", "{cp_size: 4}",
            "{pp_size: 2, pp_layout: auto, tp_size: 2}",
            "{dp_size: 2, sharding_strategy: FULL_SHARD, overlap_grad_reduce: true}",
            "{dp_size: 2, distributed_optimizer: true}",
            "{dp_size: 2, sharding_strategy: SHARD_GRAD_OP, cpu_offload: true}"}) {
        CAPTURE(model);
        CAPTURE(precision);
        CAPTURE(layout);
        check_memory(resolve_text(
            "{}",
            {model, "data={kind: mock, seq_length: 32, global_batch_size: 8}",
             "trainer={max_steps: 2, threads_per_rank: 1}", precision, "parallel=" + layout}));
      }
}

// A prediction is of experts that are chosen alike, as they are where each token chooses all.
TEST_CASE("the predicted peak of experts in balance is what they reach, to the byte") {
  const std::string model =
      "model={family: mixtral, vocab_size: 131, num_layers: 2, hidden_size: 32, ffn_hidden_size: "
      "40, num_attention_heads: 4, moe: {num_experts: 4, top_k: 4, aux_loss_coeff: 0.1}}";
  for (const std::string extra :
       {"model.moe.top_k=4", "parallel={dp_size: 2}", "parallel={dp_size: 4, ep_size: 4}",
        "parallel={dp_size: 4, ep_size: 2, etp_size: 2}",
        "parallel={tp_size: 2, sequence_parallel: true, dp_size: 2, ep_size: 2}",
        "parallel={pp_size: 2, pp_schedule: zero_bubble, dp_size: 2, ep_size: 2}",
        "model.moe.router_bias_update_rate=0.1", "parallel.recompute=selective",
        "parallel={dp_size: 2, ep_size: 2, recompute: selective}",
        "parallel={tp_size: 2, sequence_parallel: true, dp_size: 2, ep_size: 2, recompute: full}",
        "parallel={pp_size: 2, pp_schedule: zero_bubble, dp_size: 2, ep_size: 2, recompute: "
        "full}"}) {
    CAPTURE(extra);
    check_memory(
        resolve_text("{}", {model, "data={kind: mock, seq_length: 32, global_batch_size: 8}",
                            "trainer={max_steps: 2, threads_per_rank: 1}", extra}));
  }
}

TEST_CASE("what every rank is predicted to send in a step is what its communicators are asked to") {
  const std::string deep =
      "model={family: llama, vocab_size: 131, num_layers: 12, hidden_size: 16, ffn_hidden_size: "
      "24, num_attention_heads: 4, num_query_groups: 2}";
  const std::string experts =
      "model={family: mixtral, vocab_size: 131, num_layers: 2, hidden_size: 16, ffn_hidden_size: "
      "24, num_attention_heads: 4, moe: {num_experts: 4, top_k: 2}}";
  const std::string tied =
      "model={family: llama, vocab_size: 131, num_layers: 2, hidden_size: 16, ffn_hidden_size: "
      "24, num_attention_heads: 4, num_query_groups: 1, tie_embeddings: true}";
  // Steps that are predicted from shorter ones, and such that are too short for that.
  const struct {
    std::string model, layout;
    int num_microbatches;
  } cases[] = {
      {experts, "{dp_size: 2, ep_size: 2}", 9},
      {experts, "{dp_size: 2, ep_size: 2, tp_size: 2, sequence_parallel: true, pp_size: 2}", 31},
      {deep, "{dp_size: 3}", 5},
      {deep, "{dp_size: 2, bucket_size_mb: 0.001, overlap_grad_reduce: true}", 30},
      {deep, "{tp_size: 2}", 7},
      {deep, "{tp_size: 4, sequence_parallel: true, dp_size: 2}", 3},
      {tied, "{tp_size: 4, sequence_parallel: true}", 4},
      {tied, "{tp_size: 2, sequence_parallel: true, pp_size: 2, pp_schedule: zero_bubble}", 41},
      {tied, "{pp_size: 2, dp_size: 2}", 40},
      {deep, "{pp_size: 2}", 3},
      {deep, "{pp_size: 2, pp_schedule: gpipe}", 40},
      {deep, "{pp_size: 3, pp_schedule: zero_bubble}", 61},
      {deep, "{pp_size: 4}", 100},
      {deep, "{pp_size: 2, vpp_size: 3}", 4},
      {deep, "{pp_size: 2, vpp_size: 3, microbatch_group_size: 3}", 50},
      {deep, "{pp_size: 4, vpp_size: 3, tp_size: 2, sequence_parallel: true}", 84},
      {deep, "{dp_size: 3, distributed_optimizer: true, overlap_param_gather: true}", 7},
      {deep, "{dp_size: 2, sharding_strategy: SHARD_GRAD_OP}", 20},
      {deep, "{dp_size: 2, sharding_strategy: FULL_SHARD}", 5},
      {tied, "{dp_size: 4, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD, pp_size: 2}", 40},
      {experts,
       "{dp_size: 2, pp_size: 2, ep_size: 2, sharding_strategy: FULL_SHARD, "
       "pp_schedule: zero_bubble}",
       31},
      {deep, "{cp_size: 4}", 3},
      {deep, "{cp_size: 4, cp_comm_type: all_gather}", 3},
      {deep, "{cp_size: 2, cp_comm_type: a2a}", 3},
      {deep, "{cp_size: 2, pp_size: 2, tp_size: 2, sequence_parallel: true}", 40},
      {deep, "{tp_size: 2, sequence_parallel: true, cp_size: 2, recompute: selective}", 3},
      {deep, "{tp_size: 2, cp_size: 2, pp_size: 2, recompute: full}", 40},
      {deep, "{dp_size: 2, sharding_strategy: FULL_SHARD, recompute: full}", 5},
      {experts, "{dp_size: 2, ep_size: 2, pp_size: 2, pp_schedule: zero_bubble, recompute: full}",
       31},
  };
  for (const auto& [model, layout, num_microbatches] : cases) {
    CAPTURE(model);
    CAPTURE(layout);
    CAPTURE(num_microbatches);
    const auto resolved = [&](int batch) {
      return resolve_text(
          "{}",
          {model,
           "data={kind: mock, seq_length: 8, global_batch_size: " + std::to_string(batch) + "}",
           "trainer={max_steps: 2, threads_per_rank: 1}", "parallel=" + layout});
    };
    const ResolvedRecipe run =
        resolved(num_microbatches * static_cast<int>(resolved(240).sizes.dp));
    REQUIRE(run.sizes.num_microbatches == num_microbatches);
    const auto dataset =
        open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
    std::vector<Traffic> counts(static_cast<size_t>(run.sizes.world));
    on_trainers(
        run, *dataset,
        [&](Trainer& trainer, int rank) {
          trainer.train_step();
          counts[static_cast<size_t>(rank)] = {};
          trainer.train_step();
        },
        [&](int num_ranks, std::chrono::nanoseconds timeout, const auto& fn) {
          run_thread_ranks(num_ranks, timeout, [&](int rank, Communicator& world) {
            fn(rank, *counted(world, counts[static_cast<size_t>(rank)]));
          });
        });
    std::vector<int64_t> most(static_cast<size_t>(run.sizes.pp));
    for (int rank = 0; rank < static_cast<int>(counts.size()); ++rank) {
      CAPTURE(rank);
      const Traffic& count = counts[static_cast<size_t>(rank)];
      CHECK(count.bytes() > 0);
      if (model == experts)
        check_same_but_for_routing(predict_step(run, rank).traffic, count);
      else
        CHECK(predict_step(run, rank).traffic.groups() == count.groups());
      int64_t& bytes = most[static_cast<size_t>(Grid(run.sizes).coordinate(Axis::kPp, rank))];
      bytes = std::max(bytes, count.bytes());
    }
    if (model == experts) continue;
    const std::vector<StagePrediction> stages = predict_stages(run);
    REQUIRE(stages.size() == most.size());
    for (size_t i = 0; i < most.size(); ++i) CHECK(stages[i].busiest.traffic.bytes() == most[i]);
  }
}
