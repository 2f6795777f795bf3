// Feeds mutated recipes and overrides to resolve(): each input must resolve to a recipe that keeps
// its promises, or throw a UserError. Input i depends on i alone, so a failure names what to
// repeat: test_recipe_fuzz --inputs N, or --only I.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/philox.h"
#include "lib/recipe/aliases.h"
#include "lib/recipe/print.h"
#include "lib/recipe/runnable.h"
#include "lib/recipe/shipped.h"

using namespace nemo;

namespace {

class Random {
 public:
  explicit Random(uint64_t input) : input_(input) {}
  uint32_t below(size_t limit) {
    if (next_ == 4) {
      block_ = philox(/*key=*/20240801, counter_++, input_);
      next_ = 0;
    }
    return block_[next_++] % static_cast<uint32_t>(limit);
  }
  bool one_in(uint32_t n) { return below(n) == 0; }
  template <typename Container>
  const auto& pick(const Container& from) {
    return from[below(std::size(from))];
  }

 private:
  uint64_t input_;
  uint64_t counter_ = 0;
  size_t next_ = 4;
  PhiloxBlock block_{};
};

// Values that have broken parsers, and values that mean something here.
constexpr std::string_view kValues[] = {"0",
                                        "1",
                                        "2",
                                        "3",
                                        "4",
                                        "8",
                                        "16",
                                        "64",
                                        "65536",
                                        "65537",
                                        "-1",
                                        "08",
                                        "1e5",
                                        "1e-5",
                                        "1e999",
                                        "9223372036854775807",
                                        "9223372036854775808",
                                        "-9223372036854775808",
                                        "1e18",
                                        "1e15",
                                        "268435456",
                                        "1048576",
                                        "0.5",
                                        ".5",
                                        "5.",
                                        "nan",
                                        ".inf",
                                        "-.inf",
                                        "true",
                                        "false",
                                        "yes",
                                        "null",
                                        "~",
                                        "none",
                                        "auto",
                                        "even",
                                        "even ",
                                        "[1, 2]",
                                        "[2, 2]",
                                        "[1, 1, 1, 1]",
                                        "[]",
                                        "[[1]]",
                                        "{}",
                                        "{a: 1}",
                                        "{type: llama3, factor: 8}",
                                        "[",
                                        "]",
                                        "{",
                                        "'",
                                        "\"",
                                        "''",
                                        "\"\"",
                                        "\"\\x00\"",
                                        "\"\\n\"",
                                        "&a 1",
                                        "*a",
                                        "!!str 1",
                                        "! 1",
                                        "|",
                                        ">",
                                        "- 1",
                                        "? 1",
                                        ": 1",
                                        "#",
                                        "a: b",
                                        "a:b",
                                        "%",
                                        "@",
                                        "`",
                                        "<<",
                                        "---",
                                        "...",
                                        "mock",
                                        "text",
                                        "megatron",
                                        "gpt",
                                        "llama",
                                        "mixtral",
                                        "cuda",
                                        "cpu",
                                        "bf16-mixed",
                                        "16-mixed",
                                        "bf16-true",
                                        "bf16",
                                        "FULL_SHARD",
                                        "HYBRID_SHARD",
                                        "SHARD_GRAD_OP",
                                        "NO_SHARD",
                                        "ddp",
                                        "fsdp2",
                                        "megatron",
                                        "zero_bubble",
                                        "gpipe",
                                        "a2a",
                                        "all_gather",
                                        "cosine",
                                        "wsd",
                                        "distributed_fused_adam_with_cosine_annealing",
                                        "nemo.lightning.MegatronStrategy",
                                        "torch.distributed.fsdp.CPUOffloadPolicy",
                                        "0x10",
                                        "1_000",
                                        "\t",
                                        "\xff\xfe",
                                        "\xc3\xa9",
                                        "\xe2\x80\xa8",
                                        "[0.9, 0.95]",
                                        "969,30,1",
                                        "1,2",
                                        "swiglu",
                                        "gelu",
                                        "full"};

constexpr std::string_view kScraps[] = {": ",  "\n", "  ",          "- ",  "[",    "]",     "{",
                                        "}",   ",",  "#",           "&x ", "*x",   "!",     "|\n",
                                        ">\n", "\"", "'",           "? ",  "<<: ", "---\n", "...\n",
                                        "\t",  "\\", "%YAML 1.2\n", "=",   ".",    "\r\n"};

std::string random_bytes(Random& random) {
  std::string bytes;
  for (uint32_t left = 1 + random.below(12); left > 0; --left)
    bytes += static_cast<char>(random.below(256));
  return bytes;
}

std::string random_value(Random& random) {
  return random.one_in(12) ? random_bytes(random) : std::string(random.pick(kValues));
}

const std::vector<Spelling>& spellings() {
  static const std::vector<Spelling> kAll = all_spellings();
  return kAll;
}

std::string random_key(Random& random) {
  std::string key(random.pick(spellings()).typed);
  if (random.one_in(10)) key.erase(random.below(key.size()), 1);
  if (random.one_in(30)) key += "." + std::string(random.pick(spellings()).typed);
  return key;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::string_view line = text.substr(0, end + 1);
    if (!line.starts_with('#')) lines.emplace_back(line);  // comments only cost time
    text.remove_prefix(end + 1);
  }
  return lines;
}

void mutate_line(Random& random, std::vector<std::string>& lines) {
  const size_t at = random.below(lines.size());
  std::string& line = lines[at];
  const size_t colon = line.find(':');
  switch (random.below(10)) {
    case 0:
      lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      lines.insert(lines.begin() + random.below(lines.size()), std::string(line));
      break;
    case 2:
      std::swap(line, lines[random.below(lines.size())]);
      break;
    case 3:
      line.insert(0, random.below(4), ' ');
      break;
    case 4:
      lines.push_back(random_key(random) + ": " + random_value(random) + "\n");
      break;
    case 5:
      line.insert(random.below(line.size() + 1), random.pick(kScraps));
      break;
    case 6:
      line.insert(random.below(line.size() + 1), random_bytes(random));
      break;
    default:
      if (colon != std::string::npos)
        line = line.substr(0, colon) + ": " + random_value(random) + "\n";
  }
}

std::string mutated_recipe(Random& random) {
  std::vector<std::string> lines = split_lines(random.pick(shipped_recipes()).text);
  for (uint32_t left = random.below(3); left > 0 && !lines.empty(); --left)
    mutate_line(random, lines);
  std::string text;
  for (const std::string& line : lines) text += line;
  if (random.one_in(40)) text.resize(random.below(text.size() + 1));
  if (random.one_in(400)) text.insert(0, 2000 + random.below(2000), random.one_in(2) ? '[' : '{');
  return text;
}

std::vector<std::string> random_overrides(Random& random) {
  std::vector<std::string> words;
  for (uint32_t left = random.below(3); left > 0; --left)
    words.push_back(random.one_in(30) ? random_bytes(random)
                                      : random_key(random) + "=" + random_value(random));
  return words;
}

Surroundings random_surroundings(Random& random) {
  Surroundings around = {.current_folder = "/somewhere", .num_gpus = 8 * random.below(2)};
  around.num_cores = 1 + random.below(64);
  if (random.one_in(16))
    around.launcher = {.num_tasks = 1 + random.below(64),
                       .num_nodes = random.below(4),
                       .cores_per_task = random.below(3),
                       .may_be_nodes = random.one_in(2)};
  if (random.one_in(8)) around.dry_run_world = int64_t{1} << random.below(12);
  return around;
}

// What every resolved recipe promises; a sentence about the first broken promise, or nothing.
std::string broken_promise(const ResolvedRecipe& r, Random& random, const Surroundings& around) {
  const Sizes& s = r.sizes;
  if (s.tp * s.cp * s.dp * s.pp != s.world) return "the dense grid does not fill the world";
  if (s.etp * s.ep * s.edp * s.pp != s.world) return "the expert grid does not fill the world";
  if (s.dp_replicate * s.dp_shard != s.dp) return "replicas and shards do not make dp";
  if (r.recipe.trainer.devices * r.recipe.trainer.num_nodes != s.world)
    return "devices * nodes is not the world";
  const DataConfig& data = r.recipe.data;
  if (s.num_microbatches * data.micro_batch_size * s.dp != data.global_batch_size)
    return "the micro batches do not make the global batch";
  not_runnable(r);
  if (!random.one_in(8)) return "";
  const ResolvedRecipe again =
      resolve({"again", "again.yaml", "/elsewhere", print_recipe(r.recipe)}, {}, around);
  return again.recipe == r.recipe && again.sizes == r.sizes ? "" : "printing does not read back";
}

enum class Outcome { kResolved, kRefused, kFailed };

Outcome run_input(uint64_t input, bool verbose) {
  Random random(input);
  const RecipeText text = {"fuzz", "fuzz.yaml", "folder", mutated_recipe(random)};
  const std::vector<std::string> overrides = random_overrides(random);
  const Surroundings around = random_surroundings(random);
  if (verbose) {
    fmt::print("{}\n", text.text);
    for (const std::string& word : overrides) fmt::print("override {}\n", word);
  }
  std::string failure;
  try {
    const ResolvedRecipe resolved = resolve(text, overrides, around);
    failure = broken_promise(resolved, random, around);
    if (failure.empty()) return Outcome::kResolved;
  } catch (const UserError& e) {
    if (verbose) fmt::print("{}\n", e.what());
    if (e.code() == ExitCode::kUsage && *e.what() != '\0') return Outcome::kRefused;
    failure = "a UserError that is not a usage error";
  } catch (const std::exception& e) {
    failure = e.what();
  }
  fmt::print("input {}: {}\n", input, failure);
  return Outcome::kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t num_inputs = 50'000;
  for (int i = 1; i + 1 < argc; i += 2) {
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--only") == 0) return run_input(value, true) == Outcome::kFailed;
    if (std::strcmp(argv[i], "--inputs") == 0) num_inputs = value;
  }
  uint64_t counts[3] = {};
  for (uint64_t input = 0; input < num_inputs; ++input)
    ++counts[static_cast<size_t>(run_input(input, false))];
  fmt::print("{} inputs: {} resolved, {} refused, {} failed\n", num_inputs, counts[0], counts[1],
             counts[2]);
  // Too many of one kind would mean that the mutations no longer reach the other half of the code.
  const bool balanced = counts[0] * 20 > num_inputs && counts[1] * 20 > num_inputs;
  if (!balanced)
    fmt::print("fewer than 5 % of the inputs {}\n",
               counts[0] < counts[1] ? "resolved" : "were refused");
  return counts[2] == 0 && balanced ? 0 : 1;
}
