// Overrides, absent values, the world, and what a recipe's text must not hold.
#include "lib/recipe/resolve.h"

#include <doctest/doctest.h>

#include "lib/recipe/print.h"
#include "tests/lib/recipe/helpers.h"

using namespace nemo;

TEST_CASE("an override beats the recipe whatever the spelling, the last override wins") {
  const std::string text = std::string(kBase) + "tensor_model_parallel_size: 4\n";
  CHECK(resolve_text(text).sizes.tp == 4);
  CHECK(resolve_text(text, {"trainer.tp=2"}).sizes.tp == 2);
  CHECK(resolve_text(text, {"tp_size=1", "parallel.tp_size=4", "trainer.tp=2"}).sizes.tp == 2);
  CHECK(resolve_text(text, {"trainer.tp=2", "parallel.tp_size=4"}).sizes.tp == 4);
  // auto takes a given value back.
  CHECK(resolve_text(text + "dp_size: 2\n", {"parallel.dp_size=auto"}).sizes.dp == 1);
}

TEST_CASE("values of overrides are YAML") {
  CHECK(resolve_base({"data.paths=[x.txt, 'y z']"}).recipe.data.paths ==
        std::vector<std::string>{"/here/x.txt", "/here/y z"});
  CHECK(resolve_base({"data.paths=x.txt"}).recipe.data.paths ==
        std::vector<std::string>{"/here/x.txt"});
  CHECK(resolve_base({"optim={lr: 1e-2, min_lr: 1e-3}"}).recipe.optim.min_lr == 1e-3);
  CHECK(resolve_base({"data.split='969,30,1'"}).recipe.data.split ==
        std::array<double, 3>{969, 30, 1});
  CHECK(resolve_base({"log.dir=a=b"}).recipe.log.dir == "a=b");
}

TEST_CASE("numbers are read from their text") {
  const auto steps = [](const std::string& text) {
    return resolve_base({"trainer.max_steps=" + text}).recipe.trainer.max_steps;
  };
  CHECK(steps("1e5") == 100000);
  CHECK(steps("1.5e3") == 1500);
  CHECK(steps("08") == 8);
  CHECK(steps("0100") == 100);
  CHECK(steps("+7") == 7);
  CHECK(steps("'7'") == 7);
  for (const char* text : {"0x10", "1_000", "1e-2", "1.0", "--7", "++7", "7 7", "1e400", "seven"})
    CHECK_THROWS_AS(steps(text), UserError);
  CHECK(resolve_base({"optim.lr=1e-2"}).recipe.optim.lr == 0.01);
  CHECK(resolve_base({"optim.lr=1"}).recipe.optim.lr == 1.0);
  for (const char* text : {".nan", ".inf", "inf", "nan", "1e999", "0x1p3", "1,5", "1e-3x"})
    CHECK_THROWS_AS(resolve_base({std::string("optim.lr=") + text}), UserError);
}

TEST_CASE("paths start at the recipe's folder, those of an override at the current one") {
  CHECK(resolve_base({}).recipe.data.paths ==
        std::vector<std::string>{"/recipes/a.txt", "/recipes/sub/b.txt"});
  CHECK(resolve_base({"checkpoint.init_from=../hf"}).recipe.checkpoint.init_from == "/hf");
  CHECK(resolve_base({"data.tokenizer=/abs/t.json"}).recipe.data.tokenizer == "/abs/t.json");
  CHECK(resolve_base({"data.tokenizer=bytes"}).recipe.data.tokenizer == "bytes");
  CHECK(resolve_base({"data.tokenizer=null"}).recipe.data.tokenizer == "bytes");
  CHECK(resolve_base({"data.kind=mock"}).recipe.data.tokenizer == "");  // it has none
  CHECK(resolve_base({"checkpoint.resume=auto"}).recipe.checkpoint.resume == "auto");
  // A relative folder of the recipe is below the current one; none is the current one.
  const auto path_from = [](const std::string& folder) {
    return resolve({"base", "base.yaml", folder, kBase}, {}, here()).recipe.data.paths[0];
  };
  CHECK(path_from("sub") == "/here/sub/a.txt");
  CHECK(path_from("") == "/here/a.txt");
}

TEST_CASE("weights of a blend are no paths, and mock data reads neither") {
  const std::vector<std::string> blend = {"30", "/here/a", "7e-1", "/here/30"};
  const ResolvedRecipe r = resolve_base({"data.kind=megatron", "data.paths=[30, a, 7e-1, ./30]"});
  CHECK(r.recipe.data.paths == blend);
  CHECK(resolve_text(print_recipe(r.recipe)).recipe.data.paths == blend);
  CHECK(resolve_base({"data.kind=mock", "data.paths=[30, a, 7e-1, ./30]"}).recipe.data.paths ==
        blend);
  CHECK(resolve_base({"data.kind=megatron", "trainer.seed=4294967295"}).recipe.trainer.seed ==
        4294967295);
}

TEST_CASE("absent values of the model") {
  const ModelConfig llama = resolve_base({}).recipe.model;
  CHECK(llama.head_dim == 32);
  CHECK(llama.activation == Activation::kSwiglu);
  CHECK_FALSE(llama.tie_embeddings);
  CHECK_FALSE(llama.max_position_embeddings);
  const ModelConfig gpt =
      resolve_base({"model.family=gpt", "model.num_query_groups=auto"}).recipe.model;
  CHECK(gpt.num_query_groups == 4);
  CHECK(gpt.activation == Activation::kGeluTanh);
  CHECK(gpt.tie_embeddings);
  CHECK(gpt.max_position_embeddings == 128);
  const ModelConfig moe =
      resolve_base({"model.family=mixtral", "model.moe.num_experts=4"}).recipe.model;
  CHECK(moe.moe.ffn_hidden_size == 352);
  CHECK(
      resolve_base({"model.num_attention_heads=3", "model.head_dim=16", "model.num_query_groups=3"})
          .recipe.model.head_dim == 16);
}

TEST_CASE("absent values of training") {
  const Recipe r = resolve_base({}).recipe;
  CHECK(r.optim.min_lr == 3e-4);
  CHECK(r.optim.schedule_steps == 200);
  CHECK(r.data.num_samples == 200 * 32);
  CHECK(r.data.split == std::array<double, 3>{0.9, 0.1, 0});
  CHECK(resolve_base({"data.kind=megatron"}).recipe.data.split ==
        std::array<double, 3>{969, 30, 1});
  // max_steps only stops: with a schedule of its own the curve and the data stay.
  const Recipe smoke = resolve_base({"optim.schedule_steps=200", "trainer.max_steps=5"}).recipe;
  CHECK(smoke.optim.schedule_steps == 200);
  CHECK(smoke.data.num_samples == 200 * 32);
  CHECK(r.log.dir == "runs/base");
  CHECK(r.checkpoint.dir == "runs/base/checkpoints");
  CHECK(resolve_base({"log.dir=out"}).recipe.checkpoint.dir == "out/checkpoints");
  CHECK(r.trainer.accelerator == Accelerator::kCpu);
  CHECK(r.trainer.precision == PrecisionPreset::k32);
  CHECK(r.trainer.threads_per_rank == 8);
  CHECK(resolve_base({"dp_size=4"}).recipe.trainer.threads_per_rank == 2);
  CHECK(resolve_base({"dp_size=16", "data.micro_batch_size=1"},
                     {.current_folder = "/", .num_cores = 2})
            .recipe.trainer.threads_per_rank == 1);
}

TEST_CASE("the precision preset and the keys that win over it") {
  const auto precision = [](const std::vector<std::string>& words) {
    return resolve_base(words).recipe.precision;
  };
  CHECK(precision({}) == PrecisionConfig{});
  CHECK(precision({"trainer.precision=bf16-mixed"}).param_dtype == DType::kBF16);
  CHECK(precision({"trainer.precision=bf16-mixed"}).reduce_dtype == DType::kF32);
  CHECK(precision({"trainer.precision=bf16-mixed"}).output_dtype == DType::kBF16);
  CHECK(precision({"trainer.precision=16-mixed"}).param_dtype == DType::kF16);
  CHECK(precision({"trainer.precision=16-mixed"}).initial_loss_scale == 65536);
  const PrecisionConfig mixed =
      precision({"trainer.precision=bf16-mixed", "precision.reduce_dtype=bf16"});
  CHECK(mixed.reduce_dtype == DType::kBF16);
  CHECK(mixed.param_dtype == DType::kBF16);
  const Surroundings gpus = {.current_folder = "/", .num_gpus = 2, .num_cores = 8};
  CHECK(resolve_base({}, gpus).recipe.trainer.precision == PrecisionPreset::kBF16Mixed);
  CHECK(resolve_base({"trainer.accelerator=cpu"}, gpus).recipe.trainer.precision ==
        PrecisionPreset::k32);
}

TEST_CASE("world: devices times nodes, dp inferred") {
  const Sizes s = resolve_base({"trainer.devices=8", "trainer.num_nodes=2", "tp_size=2",
                                "pp_size=2", "data.micro_batch_size=1"})
                      .sizes;
  CHECK(s.world == 16);
  CHECK(s.dp == 4);
  CHECK(s.etp == 2);
  CHECK(s.edp == 4);
  CHECK(s.num_microbatches == 8);
}

TEST_CASE("world: automatic on CPU, as many ranks as the sizes need") {
  CHECK(resolve_base({}).sizes.world == 1);
  CHECK(resolve_base({"tp_size=2", "cp_size=2"}).sizes.world == 4);
  CHECK(resolve_base({"tp_size=2", "dp_size=4"}).sizes.world == 8);
  CHECK(resolve_base({"tp_size=2", "dp_size=4"}).recipe.trainer.devices == 8);
  // Experts spread over data-parallel ranks: the smallest dp that holds them.
  const std::vector<std::string> moe = {"model.family=mixtral", "model.moe.num_experts=4",
                                        "ep_size=4"};
  CHECK(resolve_base(moe).sizes.dp == 4);
  CHECK(resolve_base(moe).sizes.edp == 1);
  CHECK(resolve_base({"dp_replicate_size=2"}).sizes.dp == 2);
  CHECK(resolve_base({"trainer.num_nodes=2"}).sizes.world == 2);
  CHECK(resolve_base({"trainer.num_nodes=2"}).recipe.trainer.devices == 1);
}

TEST_CASE("world: the visible GPUs") {
  const Surroundings gpus = {.current_folder = "/", .num_gpus = 4, .num_cores = 8};
  const ResolvedRecipe r = resolve_base({"tp_size=2"}, gpus);
  CHECK(r.recipe.trainer.accelerator == Accelerator::kCuda);
  CHECK(r.sizes.world == 4);
  CHECK(r.sizes.dp == 2);
  CHECK(resolve_base({"trainer.num_nodes=2", "data.micro_batch_size=1"}, gpus).sizes.world == 8);
}

TEST_CASE("world: --world stands in for the machine") {
  const auto with_world = [](int64_t world, const std::vector<std::string>& words) {
    return resolve_base(words, {.current_folder = "/", .num_cores = 8, .dry_run_world = world});
  };
  CHECK(with_world(4, {}).sizes.dp == 4);
  CHECK(with_world(4, {"trainer.devices=8", "trainer.num_nodes=64"}).sizes.world == 4);
  const TrainerConfig nodes = with_world(4, {"trainer.devices=2", "tp_size=2"}).recipe.trainer;
  CHECK(nodes.devices == 2);
  CHECK(nodes.num_nodes == 2);
  CHECK(with_world(4, {"trainer.accelerator=cuda", "tp_size=4"}).sizes.dp == 1);
  CHECK_THROWS_AS(with_world(4, {"dp_size=2"}), UserError);
}

TEST_CASE("world: a launcher's tasks, which devices must not contradict") {
  const auto launched = [](const LauncherTasks& tasks) {
    return Surroundings{.current_folder = "/", .num_cores = 8, .launcher = tasks};
  };
  const Surroundings four = launched({.num_tasks = 4});
  CHECK(resolve_base({}, four).sizes.dp == 4);
  CHECK(resolve_base({"trainer.num_nodes=2"}, four).recipe.trainer.devices == 2);
  CHECK(resolve_base({"trainer.devices=2", "trainer.num_nodes=2"}, four).sizes.world == 4);
  CHECK(problems_of(kBase, {"trainer.devices=2"}, four) ==
        "trainer.devices: trainer.devices 2 * trainer.num_nodes 1 = 2, but the launcher started 4 "
        "tasks; start 2, or leave trainer.devices out (trainer.devices: override "
        "trainer.devices=2)");
  CHECK(problems_of(kBase, {"trainer.num_nodes=3"}, four) ==
        "trainer.devices: the launcher's 4 tasks cannot fill trainer.num_nodes 3 evenly; 2 or 4 "
        "would do (trainer.num_nodes: override trainer.num_nodes=3)");
  CHECK(problems_of(kBase, {"trainer.num_nodes=2"}, launched({.num_tasks = 1})) ==
        "trainer.devices: the launcher's 1 task cannot fill trainer.num_nodes 2 evenly; 1 would do "
        "(trainer.num_nodes: override trainer.num_nodes=2)");
}

TEST_CASE("world: the launcher's nodes, and tasks that stand for them") {
  const auto slurm = [](int64_t num_tasks, int64_t num_nodes) {
    return Surroundings{.current_folder = "/",
                        .num_cores = 8,
                        .launcher = LauncherTasks{
                            .num_tasks = num_tasks, .num_nodes = num_nodes, .may_be_nodes = true}};
  };
  const std::string kSmall = "data.micro_batch_size=1";
  // A task for each rank: the nodes are known, so devices and threads are those of a node.
  const Recipe ranks = resolve_base({kSmall}, slurm(8, 2)).recipe;
  CHECK(ranks.trainer.num_nodes == 2);
  CHECK(ranks.trainer.devices == 4);
  CHECK(ranks.trainer.threads_per_rank == 2);
  CHECK(ranks.parallel.dp_size == 8);
  CHECK(resolve_base({kSmall, "trainer.devices=4"}, slurm(8, 2)).sizes.world == 8);
  // A task for each node.
  CHECK(resolve_base({kSmall, "trainer.devices=4"}, slurm(2, 2)).sizes.world == 8);
  CHECK(
      resolve_base({kSmall, "trainer.devices=2", "trainer.num_nodes=4"}, slurm(4, 1)).sizes.world ==
      8);
  CHECK(problems_of(kBase, {"trainer.devices=4"}, slurm(4, 2)) ==
        "trainer.devices: trainer.devices 4 * trainer.num_nodes 2 = 8, but the launcher started 4 "
        "tasks; start 8 (one for each rank) or 2 (one for each node), or leave trainer.devices out "
        "(trainer.devices: override trainer.devices=4)");
  // Only where the launcher may mean it so.
  Surroundings torchrun = slurm(2, 2);
  torchrun.launcher->may_be_nodes = false;
  CHECK(problems_of(kBase, {"trainer.devices=4"}, torchrun) ==
        "trainer.devices: trainer.devices 4 * trainer.num_nodes 2 = 8, but the launcher started 2 "
        "tasks; start 8, or leave trainer.devices out (trainer.devices: override "
        "trainer.devices=4)");
}

TEST_CASE("world: a task's own cores are not shared with its node's others") {
  Surroundings around{.current_folder = "/", .num_cores = 6};
  around.launcher = LauncherTasks{.num_tasks = 4, .num_nodes = 2, .may_be_nodes = true};
  CHECK(resolve_base({}, around).recipe.trainer.threads_per_rank == 3);
  around.launcher->cores_per_task = 5;
  CHECK(resolve_base({}, around).recipe.trainer.threads_per_rank == 5);
  around.launcher->cores_per_task = 7;  // more than it may run on
  CHECK(resolve_base({}, around).recipe.trainer.threads_per_rank == 6);
  around.launcher->num_tasks = 2;
  CHECK(resolve_base({"trainer.devices=2"}, around).recipe.trainer.threads_per_rank == 3);
}

TEST_CASE("sources: recipe line, override, default, derived") {
  const ResolvedRecipe r =
      resolve_text(std::string(kBase) + "tensor_parallel_size: 2\n", {"trainer.cp=2"});
  const auto source = [&r](std::string_view key) {
    return r.sources.find(key)->second.describe(key);
  };
  CHECK(source("model.num_layers") == "base.yaml:4");
  CHECK(source("parallel.tp_size") == "tensor_parallel_size at base.yaml:19");
  CHECK(source("parallel.cp_size") == "override trainer.cp=2");
  CHECK(source("trainer.seed") == "default");
  CHECK(source("parallel.dp_size") == "from world / (tp*cp*pp)");
  CHECK(print_with_sources(r).find("tp_size: 2                                  # "
                                   "tensor_parallel_size at base.yaml:19 | tensor parallel "
                                   "[ranks]") != std::string::npos);
}

TEST_CASE("what YAML lets pass is refused, with its place") {
  const std::string base = kBase;
  CHECK(problems_of(base + "log:\n  every: 1\n  every: 1\n") ==
        "log.every: given twice in the same section; keep one (base.yaml:21)");
  CHECK(problems_of(base + "model:\n  family: gpt\n") ==
        "model: given twice in the same section; keep one (base.yaml:19)");
  CHECK(problems_of(base + "log: {<<: {every: 1}}\n") ==
        "log.<<: merge keys are not supported; write the keys out (base.yaml:19)");
  CHECK(problems_of(base + "log: &x {every: 1}\n") ==
        "log: anchors and aliases are not supported; write the value out (base.yaml:19)");
  CHECK(problems_of(base + "log: {every: !!int 1}\n") ==
        "log.every: tags are not supported; leave it out (base.yaml:19)");
  CHECK(problems_of(base + "---\nlog: {every: 1}\n") ==
        "base.yaml: several YAML documents; keep one");
  CHECK(problems_of(base + "? [a]\n: 1\n") ==
        "recipe: a key is one word, not a list or a map (base.yaml:19)");
  CHECK(problems_of(base + "log:\n  every: [1, [2]]\n") ==
        "log.every: a list holds single values, not lists or maps (base.yaml:20)");
  CHECK(problems_of(base + "'': 1\n") == "recipe: an empty key; name it (base.yaml:19)");
  CHECK(problems_of(base + "log: [1, 2\ndata: 3\n").starts_with("base.yaml:20:5: not YAML: "));
  CHECK(problems_of(base + "log:\n") == "");  // an empty section
  CHECK(problems_of(base + "model.num_layers: 8\n") ==
        "model.num_layers: '4' (model.num_layers at base.yaml:4) and '8' (model.num_layers at "
        "base.yaml:19) differ; keep one of them");
}

TEST_CASE("required keys are named with what would do") {
  CHECK(
      problems_of("") ==
      "model.family: missing, and it has no default; llama, mixtral, gpt would do (base.yaml)\n"
      "model.vocab_size: missing, and it has no default; 2 to 67108864 tokens would do "
      "(base.yaml)\n"
      "model.num_layers: missing, and it has no default; 1 to 65536 layers would do (base.yaml)\n"
      "model.hidden_size: missing, and it has no default; 1 to 16777216 would do (base.yaml)\n"
      "model.ffn_hidden_size: missing, and it has no default; 1 to 16777216 would do (base.yaml)\n"
      "model.num_attention_heads: missing, and it has no default; 1 to 65536 heads would do "
      "(base.yaml)\n"
      "data.kind: missing, and it has no default; text, mock, megatron, llmc, jsonl would do "
      "(base.yaml)\n"
      "data.seq_length: missing, and it has no default; 1 to 268435456 tokens would do "
      "(base.yaml)\n"
      "data.global_batch_size: missing, and it has no default; 1 to 268435456 samples would do "
      "(base.yaml)");
}

TEST_CASE("four mistakes at once give four lines") {
  CHECK(
      problems_of(kBase, {"trainer.tpp=2", "data.kind=txt", "optim.min_lr=1", "pp_size=3"}) ==
      "trainer.tpp: unknown key; did you mean trainer.tp (parallel.tp_size)? (override "
      "trainer.tpp=2)\n"
      "data.kind: 'txt' is not a choice; text, mock, megatron, llmc, jsonl would do (did you mean "
      "text?) (override data.kind=txt)\n"
      "parallel.pp_layout: even, but model.num_layers 4 is not a multiple of parallel.pp_size 3 * "
      "parallel.vpp_size 1 = 3; model.num_layers 3 or 6, or auto, would do (model.num_layers: "
      "base.yaml:4; parallel.pp_size: override pp_size=3)\n"
      "optim.min_lr: 1 is more than optim.lr 0.003; 0 to 0.003 would do (optim.min_lr: override "
      "optim.min_lr=1; optim.lr: base.yaml:18)");
}

TEST_CASE("a value that is wrong in itself raises no second problem") {
  CHECK(problems_of(kBase, {"tp_size=0"}) ==
        "parallel.tp_size: 0 is out of range; 1 to 65536 ranks would do (override tp_size=0)");
  CHECK(problems_of(kBase, {"model.hidden_size=x"}).find('\n') == std::string::npos);
}

TEST_CASE("legal layouts at the edge of each rule") {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"tp_size=4"},                              // two kv heads on four ranks
           {"tp_size=4", "sequence_parallel=true"},    //
           {"cp_size=4", "data.seq_length=8"},         // chunks of one token
           {"pp_size=4", "data.global_batch_size=8"},  // one micro batch
           {"pp_size=2", "vpp_size=2", "microbatch_group_size=4"},
           {"pp_size=2", "vpp_size=2", "data.global_batch_size=56", "microbatch_group_size=5"},
           {"pp_size=4", "pp_layout=auto", "model.num_layers=5"},
           {"pp_size=2", "pp_layout=[1, 3]"},
           {"cp_size=2", "cp_comm_type=a2a"},
           {"parallel.sharding_strategy=HYBRID_SHARD"},
           {"parallel.strategy=ddp", "sharding_strategy=NO_SHARD"},
           {"model.family=mixtral", "model.moe.num_experts=2", "etp_size=1", "ep_size=2",
            "tp_size=2", "sequence_parallel=true"},
           {"optim.warmup_steps=100", "optim.constant_steps=100"},
           {"optim.min_lr=3e-3"},
           {"model.max_position_embeddings=128"}}) {
    CAPTURE(words.front());
    std::vector<std::string> canonical = words;
    for (std::string& word : canonical)
      if (word.starts_with("pp_layout") || word.starts_with("microbatch") ||
          word.starts_with("cp_comm"))
        word = "parallel." + word;
    CHECK(problems_of(kBase, canonical) == "");
  }
}
