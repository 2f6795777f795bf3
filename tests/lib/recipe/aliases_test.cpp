// Every row of the table of spellings.
#include "lib/recipe/aliases.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "lib/recipe/print.h"
#include "tests/lib/recipe/helpers.h"

using namespace nemo;

namespace {

using Texts = std::vector<std::string>;

// The resolved recipe as text, so that two spellings are compared in everything they set.
std::string with(const std::vector<std::string>& overrides) {
  return print_recipe(resolve_base(overrides).recipe);
}

// Each spelling must resolve to the same recipe as the canonical override, and differ from none.
void check_same(const std::vector<std::string>& canonical, const std::vector<std::string>& typed) {
  const std::string expected = with(canonical);
  CHECK(expected != with({}));
  for (const std::string& word : typed) {
    CAPTURE(word);
    CHECK(with({word}) == expected);
  }
}

std::vector<std::string> under(const std::vector<std::string>& prefixes, const std::string& word) {
  std::vector<std::string> words;
  for (const std::string& prefix : prefixes) words.push_back(prefix + word);
  return words;
}

}  // namespace

TEST_CASE("sizes: bare, under trainer (also without _size), fsdp and distributed") {
  for (const std::string& axis : Texts{"tp", "cp", "pp", "dp"}) {
    auto typed = under({"", "trainer.", "fsdp.", "distributed."}, axis + "_size=2");
    typed.push_back("trainer." + axis + "=2");
    check_same({"parallel." + axis + "_size=2"}, typed);
  }
  const std::vector<std::string> pipeline = {"pp_size=2", "data.micro_batch_size=4"};
  for (const std::string& word : Texts{"vpp_size=2", "trainer.vpp=2", "fsdp.vpp_size=2"}) {
    const auto all = [&](const std::string& last) {
      std::vector<std::string> words = pipeline;
      words.push_back(last);
      return words;
    };
    CHECK(with(all(word)) == with(all("parallel.vpp_size=2")));
  }
  const std::vector<std::string> experts = {"model.family=mixtral", "model.moe.num_experts=4",
                                            "dp_size=4"};
  for (const std::string& axis : Texts{"ep", "etp"})
    for (const std::string& word :
         Texts{axis + "_size=2", "trainer." + axis + "_size=2", "trainer." + axis + "=2",
               "fsdp." + axis + "_size=2", "distributed." + axis + "_size=2"}) {
      std::vector<std::string> typed = experts;
      std::vector<std::string> canonical = experts;
      typed.push_back(word);
      canonical.push_back("parallel." + axis + "_size=2");
      CHECK(with(typed) == with(canonical));
    }
}

TEST_CASE("sizes: the long names, bare and under trainer, trainer.strategy, model, model.config") {
  const std::vector<std::string> prefixes = {"", "trainer.", "trainer.strategy.", "model.",
                                             "model.config."};
  const std::vector<std::pair<std::string, std::string>> names = {
      {"tensor_model_parallel_size", "tp"}, {"tensor_parallel_size", "tp"},
      {"context_parallel_size", "cp"},      {"pipeline_model_parallel_size", "pp"},
      {"pipeline_parallel_size", "pp"},     {"data_parallel_size", "dp"}};
  for (const auto& [name, axis] : names)
    check_same({"parallel." + axis + "_size=2"}, under(prefixes, name + "=2"));

  std::set<std::string> found;
  for (const Spelling& spelling : all_spellings())
    found.insert(fmt::format("{} {}", spelling.typed, spelling.canonical));
  for (const auto& [name, axis] : std::vector<std::pair<std::string, std::string>>{
           {"virtual_pipeline_model_parallel_size", "vpp"},
           {"expert_model_parallel_size", "ep"},
           {"expert_parallel_size", "ep"},
           {"expert_tensor_parallel_size", "etp"}})
    for (const std::string& prefix : prefixes)
      CHECK(found.contains(prefix + name + " parallel." + axis + "_size"));
}

TEST_CASE("NeMo's null virtual pipeline is one chunk") {
  CHECK(with({"trainer.strategy.virtual_pipeline_model_parallel_size=null"}) == with({}));
}

TEST_CASE("dp_size auto, null, none and absent are inferred") {
  for (const std::string& word : Texts{"auto", "null", "none", "~"})
    CHECK(resolve_base({"trainer.devices=8", "tp_size=2", "dp_size=" + word}).sizes.dp == 4);
  CHECK(resolve_text(std::string(kBase) + "distributed:\n  dp_size: none\n").sizes.dp == 1);
}

TEST_CASE("sequence parallel") {
  for (const std::string& name : Texts{"sequence_parallel", "sequence_parallelism"})
    for (const std::string& prefix :
         Texts{"", "trainer.", "trainer.strategy.", "model.", "distributed."})
      CHECK(resolve_base({"tp_size=2", prefix + name + "=true"}).recipe.parallel.sequence_parallel);
}

TEST_CASE("sharding strategy") {
  check_same({"parallel.sharding_strategy=SHARD_GRAD_OP"},
             {"sharding_strategy=SHARD_GRAD_OP", "trainer.sharding_strategy=shard_grad_op",
              "fsdp.sharding_strategy=SHARD_GRAD_OP", "distributed.sharding_strategy=SHARD_GRAD_OP",
              "fsdp.reshard_after_forward=false", "distributed.reshard_after_forward=false"});
  check_same({"parallel.sharding_strategy=FULL_SHARD"},
             {"fsdp.reshard_after_forward=true", "distributed.reshard_after_forward=true"});
  check_same({"parallel.strategy=fsdp2"}, {"fsdp=true", "trainer.fsdp=true"});
  CHECK(resolve_base({"fsdp=true"}).recipe.parallel.sharding_strategy ==
        ShardingStrategy::kFullShard);
  CHECK(resolve_base({"sharding_strategy=FULL_SHARD", "fsdp=false"})
            .recipe.parallel.sharding_strategy == ShardingStrategy::kNoShard);
}

TEST_CASE("strategy: words and class paths") {
  check_same({"parallel.strategy=ddp"},
             {"distributed.strategy=ddp", "trainer.strategy=ddp", "trainer.strategy=DDPStrategy",
              "trainer.strategy._target_=lightning.pytorch.strategies.DDPStrategy"});
  check_same({"parallel.strategy=fsdp2"},
             {"trainer.strategy=ModelParallelStrategy",
              "trainer.strategy._target_=lightning.pytorch.strategies.ModelParallelStrategy"});
  check_same({"parallel.strategy=megatron"},
             {"trainer.strategy=megatron", "trainer.strategy=MegatronStrategy",
              "trainer.strategy._target_=nemo.lightning.MegatronStrategy"});
}

TEST_CASE("strategy: what each one implies, and what overrides it") {
  const auto parallel = [](const std::vector<std::string>& words) {
    return resolve_base(words).recipe.parallel;
  };
  CHECK(parallel({"trainer.strategy=megatron"}).distributed_optimizer);
  CHECK(parallel({"trainer.strategy=megatron"}).sharding_strategy == ShardingStrategy::kNoShard);
  CHECK_FALSE(parallel({"trainer.strategy=ddp"}).distributed_optimizer);
  CHECK(
      parallel({"parallel.strategy=fsdp2", "sharding_strategy=SHARD_GRAD_OP"}).sharding_strategy ==
      ShardingStrategy::kShardGradOp);
  CHECK_FALSE(parallel({"parallel.strategy=megatron", "parallel.distributed_optimizer=false"})
                  .distributed_optimizer);
  // An override beats the recipe, also where it names a strategy and the recipe the sharding.
  const std::string sharded = std::string(kBase) + "sharding_strategy: NO_SHARD\n";
  CHECK(resolve_text(sharded, {"fsdp=true"}).recipe.parallel.sharding_strategy ==
        ShardingStrategy::kFullShard);
  // In one layer the explicit key stands.
  CHECK(resolve_text(sharded + "fsdp: true\n").recipe.parallel.sharding_strategy ==
        ShardingStrategy::kNoShard);
}

TEST_CASE("precision") {
  for (const std::string& section :
       Texts{"mixed_precision.", "mp_policy.", "fsdp.mp_policy.", "distributed.mp_policy.",
             "fsdp.mixed_precision.", "distributed.mixed_precision."})
    for (const std::string& key :
         Texts{"param_dtype", "reduce_dtype", "output_dtype", "buffer_dtype"})
      check_same({"precision." + key + "=bf16"},
                 {section + key + "=bf16", section + key + "=torch.bfloat16"});
  check_same({"precision.reduce_dtype=bf16"},
             {"grad_reduce_dtype=bfloat16", "precision.grad_reduce_dtype=bf16"});
  CHECK(with({"mp_policy._target_=torch.distributed.fsdp.MixedPrecisionPolicy"}) == with({}));
}

TEST_CASE("offload and prefetch") {
  const auto sharded = [](const std::string& word) {
    return with({"sharding_strategy=FULL_SHARD", word});
  };
  for (const std::string word :
       {"fsdp.cpu_offload=true", "distributed.cpu_offload=true", "offload_policy=true",
        "fsdp.offload_policy=CPUOffloadPolicy",
        "distributed.offload_policy._target_=torch.distributed.fsdp.CPUOffloadPolicy"}) {
    CAPTURE(word);
    CHECK(sharded(word) == sharded("parallel.cpu_offload=true"));
  }
  CHECK(sharded("parallel.cpu_offload=true") != sharded("parallel.cpu_offload=false"));
  CHECK(with({"distributed.offload_policy=null"}) == with({}));
  check_same(
      {"parallel.backward_prefetch=BACKWARD_POST"},
      {"fsdp.backward_prefetch=BACKWARD_POST", "distributed.backward_prefetch=backward_post"});
  check_same({"parallel.backward_prefetch=NONE"}, {"fsdp.backward_prefetch=NONE"});
}

TEST_CASE("what DDP takes under trainer.strategy") {
  check_same({"parallel.gradient_as_bucket_view=false"},
             {"trainer.strategy.gradient_as_bucket_view=false"});
  check_same({"parallel.find_unused_parameters=true"},
             {"trainer.strategy.find_unused_parameters=true"});
}

TEST_CASE("optimizer") {
  const std::vector<std::string> sections = {"optim.config.", "optim.lr_scheduler.", "optimizer."};
  for (const std::string& word : Texts{"lr=1e-2", "min_lr=1e-6", "betas=[0.8, 0.9]", "eps=1e-8",
                                       "weight_decay=0.2", "clip_grad=2", "schedule=linear",
                                       "warmup_steps=3", "constant_steps=4", "schedule_steps=500"})
    check_same({"optim." + word}, under(sections, word));
  const auto all = under({"optim.", "optim.config.", "optim.lr_scheduler.", "optimizer."}, "");
  check_same({"optim.lr=1e-2"}, under(all, "max_lr=0.01"));
  check_same({"optim.betas=[0.8, 0.95]"}, under(all, "adam_beta1=0.8"));
  check_same({"optim.betas=[0.9, 0.99]"}, under(all, "adam_beta2=0.99"));
  check_same({"optim.eps=1e-8"}, under(all, "adam_eps=1e-8"));
  check_same({"parallel.distributed_optimizer=true"}, under(all, "use_distributed_optimizer=true"));
  const Recipe recipe = resolve_base({"optim.schedule=linear",
                                      "optim.name=distributed_fused_adam_with_cosine_annealing"})
                            .recipe;
  CHECK(recipe.optim.name == OptimizerName::kAdamW);
  CHECK(recipe.optim.schedule == LrSchedule::kCosine);
  CHECK(recipe.parallel.distributed_optimizer);
}

TEST_CASE("trainer") {
  check_same({"log.every=5"}, {"trainer.log_every_n_steps=5"});
  CHECK(with({"trainer.use_distributed_sampler=false"}) == with({}));
  CHECK(resolve_base({"trainer.accelerator=gpu", "trainer.devices=1"}).recipe.trainer.accelerator ==
        Accelerator::kCuda);
  check_same({"trainer.precision=bf16-mixed"}, {"trainer.precision=bf16"});
  check_same({"trainer.precision=16-mixed"}, {"trainer.precision=16", "trainer.precision='16'"});
}

TEST_CASE("Hugging Face's names of a model's sizes") {
  for (const auto& [canonical, typed] : std::vector<std::pair<std::string, std::string>>{
           {"num_layers=6", "num_hidden_layers=6"},
           {"ffn_hidden_size=64", "intermediate_size=64"},
           {"num_query_groups=4", "num_key_value_heads=4"},
           {"rotary_base=5e5", "rope_theta=500000.0"},
           {"norm_eps=1e-6", "rms_norm_eps=1e-06"},
           {"init_std=0.01", "initializer_range=0.01"},
           {"tie_embeddings=true", "tie_word_embeddings=true"},
           {"rope_scaling.type=llama3", "rope_scaling.rope_type=llama3"}})
    check_same({"model." + canonical}, {"model." + typed, "model.config." + typed});
  const auto experts = [](const std::string& number, const std::string& top) {
    return with({"model.family=mixtral", number + "=8", top + "=3"});
  };
  const std::string expected = experts("model.moe.num_experts", "model.moe.top_k");
  CHECK(experts("model.num_local_experts", "model.num_experts_per_tok") == expected);
  CHECK(experts("model.num_moe_experts", "model.moe.num_experts_per_tok") == expected);
  CHECK(with({"model.rope_scaling=null"}) == with({}));
}

TEST_CASE("two spellings of one key in one recipe must agree") {
  const std::string base = kBase;
  CHECK(problems_of(base + "tp_size: 2\nparallel:\n  tp_size: 2\n") == "");
  CHECK(problems_of(base + "tp_size: 2\nparallel:\n  tp_size: 4\n") ==
        "parallel.tp_size: '2' (tp_size at base.yaml:19) and '4' (parallel.tp_size at "
        "base.yaml:21) differ; keep one of them");
  CHECK(problems_of(base + "fsdp:\n  sharding_strategy: FULL_SHARD\n  reshard_after_forward: "
                           "false\n") ==
        "parallel.sharding_strategy: 'FULL_SHARD' (fsdp.sharding_strategy at base.yaml:20) and "
        "'false' (fsdp.reshard_after_forward at base.yaml:21) differ; keep one of them");
  CHECK(problems_of(base + "optimizer:\n  betas: [0.9, 0.95]\n  adam_beta2: 0.9\n") ==
        "optim.betas: [0.9, 0.95] (optimizer.betas at base.yaml:20) and '0.9' "
        "(optimizer.adam_beta2 at base.yaml:21) differ; keep one of them");
  CHECK(problems_of(base + "optimizer:\n  betas: [0.9, 0.95]\n  adam_beta2: 95e-2\n") == "");
}

TEST_CASE("every spelling leads to a key of the schema or to a known expansion") {
  std::set<std::string_view> canonical;
  for (const Spelling& spelling : all_spellings())
    if (spelling.typed == spelling.canonical) canonical.insert(spelling.typed);
  CHECK(canonical.size() > 90);
  for (const Spelling& spelling : all_spellings()) {
    CAPTURE(spelling.typed);
    const bool known = canonical.contains(spelling.canonical) ||
                       spelling.canonical.starts_with("optim.betas.") ||
                       spelling.canonical == "precision";  // of a policy's class name
    CHECK(known);
  }
}
