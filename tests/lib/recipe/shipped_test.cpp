// The shipped recipes, looking them up, and printing what reads back the same.
#include "lib/recipe/shipped.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lib/recipe/print.h"
#include "lib/recipe/runnable.h"
#include "tests/lib/recipe/helpers.h"
#include "tests/support/files.h"

using namespace nemo;

namespace {

ResolvedRecipe resolve_shipped(const std::string& name,
                               const std::vector<std::string>& overrides = {}) {
  return resolve(find_recipe(name, "/", ""), overrides, here());
}

}  // namespace

TEST_CASE("every shipped recipe resolves at the world it names") {
  struct Expected {
    const char* name;
    int64_t world;
    const char* layout;  // tp cp pp vpp ep dp
  };
  const Expected expected[] = {{"gpt3_175b", 512, "4 1 8 6 1 16"},
                               {"gpt_tiny", 1, "1 1 1 1 1 1"},
                               {"llama3_2_1b", 8, "1 1 1 1 1 8"},
                               {"llama3_2_3b", 8, "1 1 1 1 1 8"},
                               {"llama3_70b", 32, "4 2 4 5 1 1"},
                               {"llama3_8b", 8, "1 2 1 1 1 4"},
                               {"llama_13b_128k_8gpus", 8, "1 4 1 1 1 2"},
                               {"llama_175b_16k_32gpus", 32, "4 2 2 1 1 2"},
                               {"llama_175b_8k_64gpus", 64, "4 1 2 1 1 8"},
                               {"llama_500b_16k_256gpus", 256, "8 2 4 1 1 4"},
                               {"llama_500b_8k_256gpus", 256, "8 1 4 1 1 8"},
                               {"llama_70b_16k_128gpus", 128, "4 2 2 1 1 8"},
                               {"llama_70b_8k_8gpus", 8, "2 1 1 1 1 4"},
                               {"llama_tiny", 1, "1 1 1 1 1 1"},
                               {"mixtral_8x7b", 64, "1 1 4 8 8 16"},
                               {"mixtral_tiny", 1, "1 1 1 1 1 1"}};
  REQUIRE(shipped_recipes().size() == std::size(expected));
  for (size_t i = 0; i < std::size(expected); ++i) {
    CHECK(shipped_recipes()[i].name == expected[i].name);
    const Sizes s = resolve_shipped(expected[i].name).sizes;
    CHECK(s.world == expected[i].world);
    CHECK(fmt::format("{} {} {} {} {} {}", s.tp, s.cp, s.pp, s.vpp, s.ep, s.dp) ==
          expected[i].layout);
  }
}

TEST_CASE("a smoke run of a shipped recipe keeps its curve and its data order") {
  for (const ShippedRecipe& shipped : shipped_recipes()) {
    CAPTURE(shipped.name);
    const Recipe whole = resolve_shipped(std::string(shipped.name)).recipe;
    const Recipe smoke = resolve_shipped(std::string(shipped.name), {"trainer.max_steps=5"}).recipe;
    CHECK(smoke.optim == whole.optim);
    CHECK(smoke.data == whole.data);
  }
}

TEST_CASE("what the contract's example asks for") {
  Surroundings dry = here();
  dry.dry_run_world = 8;
  const std::vector<std::string> words = {"trainer.tp=2", "trainer.cp=1"};
  const ResolvedRecipe r = resolve(find_recipe("llama_8b.yaml", "/", ""), words, dry);
  CHECK(r.name == "llama3_8b");
  CHECK(r.sizes.tp == 2);
  CHECK(r.sizes.dp == 4);
  CHECK(r.sizes.world == 8);
}

TEST_CASE("a printed recipe reads back the same") {
  for (const ShippedRecipe& shipped : shipped_recipes()) {
    CAPTURE(shipped.name);
    const ResolvedRecipe first = resolve_shipped(std::string(shipped.name));
    const std::string text = print_recipe(first.recipe);
    const ResolvedRecipe second = resolve({"other", "other.yaml", "/elsewhere", text}, {}, here());
    CHECK(second.recipe == first.recipe);
    CHECK(second.sizes == first.sizes);
    CHECK(print_recipe(second.recipe) == text);
  }
  const ResolvedRecipe odd = resolve_base(
      {"log.dir='a \"b\" \\ c: #d'", "optim.lr=0.1", "optim.eps=1.0000000000000001e-9",
       "parallel.pp_layout=[1,3]", "pp_size=2", "model.family=mixtral",
       "model.moe={num_experts: 4, capacity_factor: 1.25}",
       "model.rope_scaling={type: llama3, factor: 32}", "data.paths=['x, y', \"n\\nl\"]",
       "optim.betas=[0.1, 0.3]", "parallel.strategy=megatron", "log.peak_tflops=1e3"});
  CHECK(resolve_text(print_recipe(odd.recipe)).recipe == odd.recipe);
  CHECK(odd.recipe.log.dir == "a \"b\" \\ c: #d");
}

TEST_CASE("the weights of a blend print as the numbers they are") {
  const Recipe blend =
      resolve_base({"data.kind=megatron", "data.paths=[0.3, a, 7e-1, ./30]"}).recipe;
  const std::string text = print_recipe(blend);
  CHECK(text.find("paths: [0.3, \"/here/a\", 7e-1, \"/here/30\"]\n") != std::string::npos);
  CHECK(resolve_text(text).recipe == blend);
}

TEST_CASE("numbers print so that every YAML reads a number") {
  CHECK(print_recipe(resolve_base({"optim.lr=1e-5"}).recipe).find("lr: 1.0e-05\n") !=
        std::string::npos);
}

TEST_CASE("a recipe is found by path, in the current folder, on the search path, then shipped") {
  const test::TempFolder root;
  test::write_file(root / "here" / "mine.yaml", "here");
  test::write_file(root / "here" / "llama_tiny.yaml", "own llama");
  test::write_file(root / "one" / "mine.yaml", "one");
  test::write_file(root / "two" / "other.yaml", "two");
  const std::string current = root / "here";
  const std::string search = (root / "one").string() + ":" + (root / "two").string();
  CHECK(find_recipe("mine", current, search).text == "here");
  CHECK(find_recipe("mine.yaml", current, search).file == "mine.yaml");
  CHECK(find_recipe("mine.yaml", current, search).folder == current);
  CHECK(find_recipe("other", current, search).text == "two");
  CHECK(find_recipe("../two/other.yaml", current, "").text == "two");
  CHECK(find_recipe((root / "two" / "other.yaml").string(), "/", "").name == "other");
  CHECK(find_recipe("llama_tiny", current, "").text == "own llama");
  CHECK(find_recipe("llama_tiny", "/", "").file == "recipes/llama_tiny.yaml");
  CHECK(find_recipe("llama_8b", "/", "").name == "llama3_8b");
  CHECK_THROWS_WITH_AS(find_recipe("lama_tiny", "/", ""),
                       "no recipe 'lama_tiny' in the current folder, in NEMO_CPP_RECIPES (not "
                       "set) or among the shipped recipes; did you mean llama_tiny?",
                       UserError);
}

TEST_CASE("what is no recipe's file is said to be so") {
  const test::TempFolder here;
  const std::string current = here.path();
  test::write_file(here / "llama_tiny" / "empty.yaml", "");
  const auto error = [&](const std::string& name) -> std::string {
    try {
      return find_recipe(name, current, "").name;
    } catch (const UserError& e) {
      return e.what();
    }
  };
  CHECK(error("llama_tiny") == "llama_tiny");  // the shipped one, not the folder
  CHECK(error("llama_tiny/") ==
        "recipe llama_tiny/ is a folder; give a file, or the name of a shipped recipe");
  CHECK(
      error(current) ==
      fmt::format("recipe {} is a folder; give a file, or the name of a shipped recipe", current));
  CHECK(error("/dev/null") ==
        "recipe /dev/null is not a regular file; give a file, or the name of a shipped recipe");
  const std::string empty = here / "llama_tiny" / "empty.yaml";
  CHECK(error("llama_tiny/empty") ==
        fmt::format("recipe {} is empty; give a file of sections and keys", empty));
  CHECK(error("/nowhere/else.yaml") ==
        "no recipe '/nowhere/else.yaml' in the current folder, in NEMO_CPP_RECIPES (not set) or "
        "among the shipped recipes; `nemo-cpp recipes` lists those");
}

TEST_CASE("what cannot run yet is named, what can is not") {
  CHECK(not_runnable(resolve_shipped("llama_tiny", {"dp_size=4"})).empty());
  for (const std::string kind : {"mock", "megatron", "llmc"})
    CHECK(not_runnable(resolve_shipped("gpt_tiny", {"data.kind=" + kind})).empty());
  CHECK(not_runnable(resolve_shipped("llama_tiny", {"tp_size=2", "dp_size=2"})).empty());
  CHECK(not_runnable(resolve_shipped("llama_tiny", {"trainer.num_nodes=2"})).empty());
  for (const std::string mode : {"p2p", "all_gather", "a2a"})
    CHECK(
        not_runnable(resolve_shipped("llama_tiny", {"cp_size=2", "parallel.cp_comm_type=" + mode}))
            .empty());
  CHECK(not_runnable(resolve_shipped("gpt_tiny", {"tp_size=4", "sequence_parallel=true"})).empty());
  // Every parameter takes part in every step, so there is nothing to tolerate.
  CHECK(not_runnable(resolve_shipped("llama_tiny", {"parallel.find_unused_parameters=true"}))
            .empty());
  struct Case {
    std::vector<std::string> overrides;
    const char* line;
  };
  const Case cases[] = {
      {{"trainer.accelerator=cuda", "trainer.devices=1", "trainer.precision=32"},
       "trainer.accelerator: cuda cannot run yet; cpu would do (override "
       "trainer.accelerator=cuda)"},
      {{"dp_size=512", "data.global_batch_size=1024"},
       "trainer.devices: 512 cannot run yet; 1 to 256 would do (parallel.dp_size: override "
       "dp_size=512)"},
      {{"trainer.devices=64", "trainer.num_nodes=8", "dp_size=512", "data.global_batch_size=1024"},
       "trainer.num_nodes: 8 cannot run yet; 1 to 4 would do (override trainer.num_nodes=8)"},
      {{"trainer.accelerator=gpu", "trainer.devices=2"},
       "trainer.accelerator: cuda cannot run yet; cpu would do (override trainer.accelerator=gpu)"},
      {{"trainer.precision=bf16-mixed", "precision.reduce_dtype=bf16"}, ""},
      {{"trainer.precision=16-mixed"}, ""},
      {{"trainer.precision=bf16-true", "precision.buffer_dtype=bf16"}, ""},
      {{"precision.output_dtype=bf16"}, ""},
      {{"parallel.pp_schedule=gpipe", "data.global_batch_size=8194"},
       "parallel.pp_schedule: gpipe with 4097 micro batches in flight cannot run yet; 4096 of "
       "them, "
       "or 1f1b, would do (override parallel.pp_schedule=gpipe)"},
      {{"dp_size=4", "sharding_strategy=HYBRID_SHARD", "parallel.dp_replicate_size=2"}, ""},
      {{"parallel.strategy=megatron", "parallel.overlap_param_gather=true",
        "parallel.cpu_offload=true"},
       ""},
      {{"parallel.recompute=selective"}, ""},
      {{"parallel.recompute=full"}, ""},
      {{"data.kind=jsonl"},
       "data.kind: jsonl cannot run yet; text, mock, megatron or llmc would do (override "
       "data.kind=jsonl)"},
      {{"data.tokenizer=/t.json"},
       "data.tokenizer: /t.json cannot run yet; bytes would do (override data.tokenizer=/t.json)"},
      {{"checkpoint.every=5"},
       "checkpoint.every: 5 cannot run yet; 0, which saves nothing yet, would do (override "
       "checkpoint.every=5)"},
      {{"checkpoint.resume=auto"},
       "checkpoint.resume: auto cannot run yet; never would do (override checkpoint.resume=auto)"},
      {{"checkpoint.async=true"},
       "checkpoint.async: true cannot run yet; false would do (override checkpoint.async=true)"},
  };
  for (const Case& c : cases) {
    const auto lines = not_runnable(resolve_shipped("llama_tiny", c.overrides));
    CHECK(fmt::format("{}", fmt::join(lines, "\n")) == c.line);
  }
  CHECK(not_runnable(resolve_shipped("mixtral_tiny", {"dp_size=4", "ep_size=2", "etp_size=2"}))
            .empty());
}
