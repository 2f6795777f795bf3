#include "lib/model/param_count.h"

#include <doctest/doctest.h>

#include <numeric>

#include "lib/model/flops.h"
#include "lib/model/state_memory.h"
#include "lib/recipe/shipped.h"

using namespace nemo;

namespace {

ResolvedRecipe shipped(const std::string& name, std::vector<std::string> overrides = {}) {
  return resolve(find_recipe(name, "/", ""), overrides, {.current_folder = "/", .num_cores = 8});
}

ModelConfig model(const std::string& name) {
  return shipped(name).recipe.model;
}

}  // namespace

TEST_CASE("published models have the published number of parameters") {
  CHECK(num_parameters(model("llama3_8b")) == 8'030'261'248);
  CHECK(num_parameters(model("llama3_70b")) == 70'553'706'496);
  CHECK(num_parameters(model("llama3_2_1b")) == 1'235'814'400);
  CHECK(num_parameters(model("llama3_2_3b")) == 3'212'749'824);
  CHECK(num_parameters(model("llama_13b_128k_8gpus")) == 13'015'864'320);
  CHECK(num_parameters(model("mixtral_8x7b")) == 46'702'792'704);
  CHECK(num_active_parameters(model("mixtral_8x7b")) == 12'879'925'248);
  CHECK(num_active_parameters(model("llama3_8b")) == 8'030'261'248);
}

TEST_CASE("gpt counts biases, learned positions and a tied head") {
  ModelConfig gpt2 = {.family = Family::kGpt,
                      .vocab_size = 50257,
                      .num_layers = 12,
                      .hidden_size = 768,
                      .ffn_hidden_size = 3072,
                      .num_attention_heads = 12,
                      .num_query_groups = 12,
                      .head_dim = 64,
                      .activation = Activation::kGeluTanh,
                      .tie_embeddings = true,
                      .max_position_embeddings = 1024};
  CHECK(num_parameters(gpt2) == 124'439'808);
  gpt2.tie_embeddings = false;
  CHECK(num_parameters(gpt2) == 124'439'808 + 50257 * 768);
}

TEST_CASE("one rank of one holds the whole model") {
  for (const char* name : {"llama_tiny", "gpt_tiny", "mixtral_tiny"}) {
    const ResolvedRecipe r = shipped(name);
    const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
    CHECK(stages.size() == 1);
    CHECK(stages[0].total() == num_parameters(r.recipe.model));
  }
}

TEST_CASE("the ranks of a stage split what the logical model holds") {
  // 8B, tp 2: everything halves but the norms (65 of 4096), which each rank holds.
  const ResolvedRecipe r = shipped("llama3_8b", {"trainer.tp=2", "trainer.cp=1"});
  const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
  CHECK(stages[0].total() == (8'030'261'248 - 65 * 4096) / 2 + 65 * 4096);
  // Mixtral, 8 experts over 8 ranks: each holds one expert of each of its 8 layers.
  const ResolvedRecipe moe = shipped("mixtral_8x7b");
  const auto moe_stages = params_per_rank(moe.recipe.model, moe.recipe.parallel, moe.sizes);
  CHECK(moe_stages.size() == 4);
  CHECK(moe_stages[1].expert == 8 * 3 * 4096ll * 14336);
  const int64_t total = std::accumulate(
      moe_stages.begin(), moe_stages.end(), int64_t{0},
      [](int64_t sum, const ParamCount& stage) { return sum + stage.dense + 8 * stage.expert; });
  CHECK(total == 46'702'792'704);
}

TEST_CASE("kv heads fewer than tp are replicated and the vocabulary is padded") {
  const ResolvedRecipe r = shipped("llama_tiny", {"parallel.tp_size=4"});
  const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
  const int64_t attention = 2 * (1 + 1) * 32 * 128;  // one query and one kv head on each rank
  const int64_t layer = 2 * 128 + attention + 3 * 128 * 88;
  const int64_t vocab = 384 / 4 * 128;  // 257 padded to 384
  CHECK(stages[0].total() == 4 * layer + 2 * vocab + 128);
}

TEST_CASE("a tied head across stages is a copy") {
  const ResolvedRecipe r = shipped("gpt_tiny", {"parallel.pp_size=2"});
  const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
  CHECK(stages[0].total() + stages[1].total() == num_parameters(r.recipe.model) + 257 * 128);
}

TEST_CASE("layers of a stage: even, listed, balanced") {
  const auto layers = [](std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), "parallel.pp_size=2");
    const ResolvedRecipe r = shipped("llama_tiny", overrides);
    return layers_per_chunk(r.recipe.model, r.recipe.parallel);
  };
  CHECK(layers({}) == std::vector<int64_t>{2, 2});
  CHECK(layers({"parallel.vpp_size=2"}) == std::vector<int64_t>{1, 1, 1, 1});
  CHECK(layers({"parallel.pp_layout=[1, 3]"}) == std::vector<int64_t>{1, 3});
  CHECK(layers({"parallel.pp_layout=auto", "model.num_layers=5"}) == std::vector<int64_t>{3, 2});
  // A head as large as three layers leaves the last stage two fewer.
  CHECK(layers({"parallel.pp_layout=auto", "model.num_layers=8", "model.vocab_size=4326",
                "model.tie_embeddings=true"}) == std::vector<int64_t>{4, 4});
  CHECK(layers({"parallel.pp_layout=auto", "parallel.pp_size=4", "model.num_layers=10",
                "model.vocab_size=1442"}) == std::vector<int64_t>{2, 3, 3, 2});
}

TEST_CASE("chunks of interleaved stages") {
  const ResolvedRecipe r = shipped("llama3_70b");
  CHECK(layers_per_chunk(r.recipe.model, r.recipe.parallel) == std::vector<int64_t>(20, 4));
  const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
  CHECK(stages[1].dense == stages[2].dense);
  CHECK(stages[0].dense - stages[1].dense == 128256 / 4 * 8192);
  CHECK(stages[3].dense - stages[0].dense == 8192);
}

TEST_CASE("chunks go round the pipeline ranks") {
  const ResolvedRecipe r =
      shipped("llama_tiny", {"parallel.pp_size=2", "parallel.vpp_size=2", "model.num_layers=8",
                             "parallel.pp_layout=[1, 3, 2, 2]"});
  const auto stages = params_per_rank(r.recipe.model, r.recipe.parallel, r.sizes);
  const int64_t layer = 2 * 128 + 2 * (4 + 2) * 32 * 128 + 3 * 128 * 352;
  CHECK(stages[0].total() == 3 * layer + 257 * 128);
  CHECK(stages[1].total() == 5 * layer + 257 * 128 + 128);
}

TEST_CASE("flops of a token, both attention conventions") {
  // 8B at 8192: 7,504,658,432 matmul weights (all but the embedding and the norms).
  const ModelConfig m = model("llama3_8b");
  CHECK(num_matmul_parameters(m) == 8'030'261'248 - 128256ll * 4096 - 65 * 4096);
  const FlopsPerToken flops = flops_per_token(m, 8192);
  CHECK(flops.full == 6.0 * 7'504'658'432.0 + 12.0 * 32 * 8192 * 4096);
  CHECK(flops.causal == 6.0 * 7'504'658'432.0 + 6.0 * 32 * 8192 * 4096);
  // Only the two chosen experts and the router work for a token.
  const ModelConfig moe = model("mixtral_8x7b");
  CHECK(num_matmul_parameters(moe) == 12'879'925'248 - 32000ll * 4096 - 65 * 4096);
}

TEST_CASE("state: bytes per parameter of every strategy and precision") {
  struct Case {
    std::vector<std::string> overrides;
    int64_t parameters, gradients, optimizer;  // bytes per parameter, times 4 where sharded
  };
  const int64_t n = num_parameters(model("llama_tiny"));
  const std::vector<Case> cases = {
      {{}, 16, 16, 32},
      {{"parallel.distributed_optimizer=true"}, 16, 16, 8},
      {{"parallel.sharding_strategy=SHARD_GRAD_OP"}, 16, 4, 8},
      {{"parallel.sharding_strategy=FULL_SHARD"}, 4, 4, 8},
      {{"trainer.precision=bf16-mixed"}, 8, 16, 48},
      {{"trainer.precision=bf16-mixed", "parallel.strategy=megatron"}, 8, 16, 12},
      {{"trainer.precision=16-mixed", "parallel.sharding_strategy=FULL_SHARD"}, 2, 4, 12},
      {{"trainer.precision=bf16-true"}, 8, 16, 32},
  };
  for (Case c : cases) {
    c.overrides.push_back("parallel.dp_size=4");
    const auto stages = state_memory(shipped("llama_tiny", c.overrides));
    REQUIRE(stages.size() == 1);
    CHECK(stages[0] == StateMemory{n * c.parameters / 4, n * c.gradients / 4, n * c.optimizer / 4});
  }
}

TEST_CASE("state: experts shard over edp, replicas are whole") {
  const ResolvedRecipe moe =
      shipped("mixtral_tiny", {"dp_size=4", "ep_size=2", "parallel.distributed_optimizer=true"});
  const ParamCount count =
      params_per_rank(moe.recipe.model, moe.recipe.parallel, moe.sizes).front();
  CHECK(state_memory(moe)[0].optimizer == 8 * (count.dense / 4 + count.expert / 2));
  const ResolvedRecipe hybrid =
      shipped("llama_tiny", {"dp_size=4", "dp_replicate_size=2", "sharding_strategy=HYBRID_SHARD"});
  CHECK(state_memory(hybrid)[0].parameters == 2 * num_parameters(hybrid.recipe.model));
}
