// pretrain --dry-run and recipes, as a user runs them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "lib/recipe/shipped.h"
#include "tests/cli/run_program.h"

using namespace nemo;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Of a dry run's stages, in bytes.
double largest_total(const std::string& out) {
  double largest = 0;
  for (size_t at = out.find("total: "); at != std::string::npos; at = out.find("total: ", at + 1))
    largest = std::max(largest, std::stod(out.substr(at + 7)));
  return largest;
}

}  // namespace

TEST_CASE("the dry run of the contract") {
  const ProgramResult r =
      run_program("pretrain --recipe llama_8b.yaml --dry-run --world 8 trainer.tp=2 trainer.cp=1");
  CHECK(r.exit_code == 0);
  CHECK(r.err == "");
  CHECK(has(r.out, "    tp_size: 2\n"));
  CHECK(has(r.out, "\nworld: 8\n"));
  CHECK(has(r.out,
            "\nmesh: {tp: 2, cp: 1, dp: 4, pp: 1, vpp: 1, ep: 1, etp: 2, edp: 4, dp_replicate: 1, "
            "dp_shard: 4}\n"));
  CHECK(has(r.out, "\n  tp: [[0, 1], [2, 3], [4, 5], [6, 7]]\n"));
  CHECK(has(r.out, "\n  dp: [[0, 2, 4, 6], [1, 3, 5, 7]]\n"));
  CHECK(has(r.out, "\nnum_parameters: 8030261248\n"));
  CHECK(has(r.out, "\nnum_active_parameters: 8030261248\n"));
  CHECK(has(r.out, "\nnum_microbatches: 128\n"));
  // Half of the matrices and all norms, in bf16; the optimizer's 12 bytes over four ranks.
  CHECK(has(r.out,
            "\n  - {stage: 0, parameters: 8030527488, gradients: 16061054976, optimizer: "
            "12045791232, total: 36137373696}\n"));
  CHECK(has(r.out,
            "\n  - \"trainer.accelerator: cuda cannot run yet; cpu would do "
            "(recipes/llama3_8b.yaml:31)\"\n"));
  CHECK(!has(r.out, "parallel.tp_size: 2 cannot"));
}

TEST_CASE("the dry run prints what each kind of tensor is cut into") {
  const std::string out =
      run_program("pretrain --recipe llama_tiny --dry-run tp_size=4 sequence_parallel=true").out;
  CHECK(has(out, "\nsharding:"));
  for (const char* line :
       {"token_embedding: {axis: tp, dim: 0, parts: 4, replicas: 1, sum_replicas: false}",
        "norm: {axis: tp, dim: null, parts: 1, replicas: 4, sum_replicas: true}",
        "key_value: {axis: tp, dim: 0, parts: 2, replicas: 2, sum_replicas: true}",
        "mlp_down: {axis: tp, dim: 1, parts: 4, replicas: 1, sum_replicas: false}"}) {
    CAPTURE(line);
    CHECK(has(out, std::string("\n  ") + line + "\n"));
  }
  CHECK(!has(out, "output_bias:"));
}

TEST_CASE("the dry run of what runs says what a step needs and sends") {
  const std::string words =
      "pretrain --recipe llama_tiny --dry-run --world 8 tp_size=2 "
      "sequence_parallel=true pp_size=2 trainer.threads_per_rank=1";
  const std::string out = run_program(words).out;
  // Rows of a micro batch on a rank: 128 of 128. Summed: two of each layer's crossings, either way,
  // and the embedding's.
  for (const char* line : {"\ncommunication:", "\n  - stage: 1\n    rank: 4\n    bytes: ",
                           "\n      pp_forward: {ranks: 2, send: {count: 4, bytes: 262144}}\n",
                           "\n      pp: {ranks: 2, all_reduce: {count: 1, bytes: 8}}\n",
                           "\n      world: {ranks: 8, all_reduce: {count: 2, bytes: 21}}\n",
                           "reduce_scatter: {count: 36, bytes: 2359296}}\n",
                           "\n  - {stage: 0, parameters: 837632, gradients: 837632, optimizer: "
                           "1675264, activations: "}) {
    CAPTURE(line);
    CHECK(has(out, line));
  }
  for (const char* category : {", packed: ", ", communication: 2048, workspace: ",
                               ", data: 2560, "
                               "total: "}) {
    CAPTURE(category);
    CHECK(has(out, category));
  }
  // Four times the samples: as much memory, and four times what is sent for each.
  const std::string longer = run_program(words + " data.global_batch_size=64").out;
  CHECK(has(longer, "send: {count: 16, bytes: 1048576}}\n"));
  CHECK(has(longer, "\n      world: {ranks: 8, all_reduce: {count: 2, bytes: 21}}\n"));
  const size_t memory = out.find("\nmemory_bytes:");
  CHECK(has(longer, out.substr(memory, out.find("\nsharding:") - memory)));

  const std::string alone = run_program("pretrain --recipe llama_tiny --dry-run").out;
  CHECK(has(alone, "\n  - stage: 0\n    rank: 0\n    bytes: 0\n    groups: {}\nnot_runnable: []"));
  CHECK(!has(run_program("pretrain --recipe llama3_8b --dry-run").out, "\ncommunication:"));
}

TEST_CASE("groups are listed up to 64 ranks and elided beyond") {
  const ProgramResult all = run_program("pretrain --recipe llama_175b_8k_64gpus --dry-run");
  CHECK(has(all.out, "[60, 61, 62, 63]"));
  const ProgramResult some = run_program("pretrain --recipe llama3_8b --dry-run --world 128");
  CHECK(has(some.out, "\n  cp: [[0, 1], \"...\"]\n"));
  CHECK(has(some.out, "28, \"...\", 126], \"...\"]\n"));
}

TEST_CASE("options and overrides mix in any order, and --factory is --recipe") {
  const std::string expected =
      run_program("pretrain --recipe llama_tiny --dry-run --world 4 tp_size=2 optim.lr=1e-3").out;
  CHECK(has(expected, "lr: 0.001\n"));
  for (const char* words :
       {"pretrain tp_size=2 --dry-run optim.lr=1e-3 --recipe llama_tiny --world 4",
        "pretrain --dry-run --factory llama_tiny tp_size=2 --world=4 optim.lr=1e-3",
        "--debug pretrain tp_size=4 tp_size=2 --world 4 --dry-run --recipe "
        "llama_tiny.yaml optim.lr=1e-3"})
    CHECK(run_program(words).out == expected);
}

TEST_CASE("wrong usage ends with 2 and a line for each mistake") {
  struct Case {
    const char* arguments;
    const char* err;
  };
  const Case cases[] = {
      {"", "error: a command is missing; pretrain, recipes, data would do\n"},
      {"data", "error: data: a command is missing; inspect, verify would do\n"},
      {"data prepare", "error: prepare: no such command of data; inspect, verify would do\n"},
      {"data --debug verfy a", "error: verfy: no such command of data; did you mean verify?\n"},
      {"--recipe llama_tiny pretrain",
       "error: --recipe: no such option of nemo-cpp; --help lists those there are\n"},
      {"plan", "error: plan: no such command; pretrain, recipes, data would do\n"},
      {"pretran", "error: pretran: no such command; did you mean pretrain?\n"},
      {"pretrain --dry-run",
       "error: --recipe: missing; --recipe PATH_OR_NAME would do, `nemo-cpp recipes` lists those "
       "shipped\n"},
      {"pretrain optim.lr=1 llama_tiny",
       "error: --recipe: missing; --recipe llama_tiny would do, `nemo-cpp recipes` lists those "
       "shipped\n"},
      {"pretrain --recipe a --factory b", "error: --recipe: given more than once; keep one\n"},
      {"pretrain --dry-run --recipe",
       "error: --recipe: its value is missing; give one behind it\n"},
      {"pretrain --recipe llama_tiny --wrold=3",
       "error: --wrold: no such option of pretrain; did you mean --world?\n"},
      {"pretrain --recipe llama_tiny --dry-run --world 0",
       "error: --world: '0' is not a number of ranks; 1 to 4294967296 would do\n"},
      {"pretrain --recipe llama_tiny --launch ranks",
       "error: --launch: 'ranks' is not a choice; threads, processes would do\n"},
      {"recipes show",
       "error: recipes show: NAME is missing; `nemo-cpp recipes` lists those shipped\n"},
      {"recipes show nope",
       "error: no recipe 'nope' in the current folder, in NEMO_CPP_RECIPES (not set) or among the "
       "shipped recipes; `nemo-cpp recipes` lists those\n"},
      {"recipes list x", "error: x: list takes no such word; leave it out\n"},
      {"data inspect",
       "error: PATH: missing; Megatron prefixes, llm.c shards or text files would do\n"},
      {"data verify --vocab-size 0 a",
       "error: --vocab-size: '0' is not a number of tokens; 1 to 2147483648 would do\n"},
      {"pretrain --recipe llama_tiny --dry-run --tp 2",
       "error: --tp: no such option of pretrain; --help lists those there are\n"},
      {"pretrain --recipe llama_tiny --world 2",
       "error: --world: 2 stands in for the machine, so it needs --dry-run; in a run "
       "trainer.devices and trainer.num_nodes give the world size\n"},
      {"pretrain --recipe lama_tiny",
       "error: no recipe 'lama_tiny' in the current folder, in NEMO_CPP_RECIPES (not set) or "
       "among the shipped recipes; did you mean llama_tiny?\n"},
      {"pretrain --recipe llama_tiny --dry-run optim.lr=abc tpp=2 pp_size=3 word",
       "error: tpp: unknown key; did you mean trainer.tp (parallel.tp_size)? (override tpp=2)\n"},
      {"pretrain --recipe llama3_8b parallel.cp_size=1 distributed.strategy=ddp "
       "optim.use_distributed_optimizer=false",
       "error: trainer.accelerator: cuda cannot run yet; cpu would do "
       "(recipes/llama3_8b.yaml:31)\n"},
      {"recipes show llama_tiny trainer.tp=x",
       "error: parallel.tp_size: 'x' is not an integer; 1 to 65536 ranks would do (override "
       "trainer.tp=x)\n"},
      {"recipes sho llama_tiny", "error: sho: no such command of recipes; did you mean show?\n"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.arguments);
    const ProgramResult r = run_program(c.arguments);
    CHECK(r.exit_code == 2);
    CHECK(r.out == "");
    CHECK(r.err.substr(0, std::string(c.err).size()) == c.err);
  }
  const std::string err =
      run_program("pretrain --recipe llama_tiny --dry-run optim.lr=abc tpp=2 pp_size=3 word").err;
  CHECK(std::count(err.begin(), err.end(), '\n') == 4);
  size_t starts = 0;
  for (size_t at = 0; at < err.size(); at = err.find('\n', at) + 1)
    starts += err.substr(at, 7) == "error: ";
  CHECK(starts == 4);
}

TEST_CASE("a recipe of one's own: found here and on the search path, with places in messages") {
  const test::TempFolder folder;
  test::write_file(folder / "mine.yaml", "model:\n  familly: llama\n");
  CHECK(has(run_program("pretrain --recipe mine --dry-run", folder.path()).err,
            "error: model.familly: unknown key; did you mean model.family? (mine.yaml:2)\n"));
  setenv("NEMO_CPP_RECIPES", folder.path().c_str(), 1);
  CHECK(has(run_program("pretrain --recipe mine --dry-run").err, "/mine.yaml:2)\n"));
  unsetenv("NEMO_CPP_RECIPES");
}

TEST_CASE("recipes: listed, and shown with sources") {
  const ProgramResult list = run_program("recipes");
  CHECK(list.exit_code == 0);
  CHECK(list.out == run_program("recipes list").out);
  CHECK(has(list.out,
            "\nmixtral_8x7b                 46.7 B     12.9 B    4096     64  pp4 vpp8 "
            "ep8 dp16, sharded optimizer\n"));
  CHECK(has(list.out, "  tp2 dp4, sequence parallel, FULL_SHARD\n"));
  CHECK(has(list.out, "  one rank\n"));
  const ProgramResult show = run_program("recipes show llama3_8b trainer.tp=2 optim.lr=1e-5");
  CHECK(show.exit_code == 0);
  CHECK(has(show.out, "# override trainer.tp=2 | tensor parallel [ranks]\n"));
  CHECK(has(show.out, "# default | of weights and data order\n"));
  CHECK(has(show.out, "\n  tokenizer: null "));
}

TEST_CASE("every shipped recipe dry-runs") {
  const std::string list = run_program("recipes").out;
  size_t num_recipes = 0;
  for (size_t line = list.find('\n') + 1; line < list.size(); line = list.find('\n', line) + 1) {
    const std::string name = list.substr(line, list.find(' ', line) - line);
    CAPTURE(name);
    CHECK(run_program("pretrain --recipe " + name + " --dry-run").exit_code == 0);
    ++num_recipes;
  }
  CHECK(num_recipes == 16);
}

TEST_CASE("what a recipe's header says of memory and of commands holds") {
  size_t num_figures = 0;
  size_t num_commands = 0;
  for (const ShippedRecipe& recipe : shipped_recipes()) {
    CAPTURE(recipe.name);
    std::istringstream header{std::string(recipe.text)};
    for (std::string line; std::getline(header, line) && line.starts_with('#');) {
      CAPTURE(line);
      if (line.starts_with("# Memory: ")) {
        const std::string out =
            run_program("pretrain --dry-run --recipe " + std::string(recipe.name)).out;
        CHECK(std::abs(std::stod(line.substr(10)) - largest_total(out) * 1e-9) <= 0.05);
        ++num_figures;
      }
      if (const size_t at = line.find("nemo-cpp pretrain "); at != std::string::npos) {
        const std::string words = line.substr(at + 9, line.find("  (") - at - 9);
        const ProgramResult r = run_program(words + (has(words, "--dry-run") ? "" : " --dry-run"));
        CHECK(r.exit_code == 0);
        // What is not shown as a plan runs.
        CHECK((has(words, "--dry-run") || has(r.out, "\nnot_runnable: []\n")));
        ++num_commands;
      }
    }
  }
  CHECK(num_figures == 13);
  CHECK(num_commands > 30);
}

TEST_CASE("help and version") {
  CHECK(run_program("--version").out.starts_with("nemo-cpp "));
  for (const char* words : {"--help", "pretrain --help", "recipes --help", "recipes show --help"}) {
    const ProgramResult r = run_program(words);
    CHECK(r.exit_code == 0);
    CHECK(has(r.out, "Usage: nemo-cpp"));
    CHECK(r.err == "");
  }
}

TEST_CASE("--debug adds a stack trace and keeps the exit code") {
  const ProgramResult r = run_program("pretrain --debug --recipe nowhere --dry-run");
  CHECK(r.exit_code == 2);
  CHECK(has(r.err, "error: no recipe 'nowhere'"));
  CHECK(has(r.err, "\n  nemo::find_recipe("));
  CHECK_FALSE(has(run_program("pretrain --recipe nowhere --dry-run").err, "nemo::"));
}
