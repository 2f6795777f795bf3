// Every layout of at most eight ranks, for a model of eight layers, eight heads and eight experts
// and for one without experts: each is refused by a rule that names a key, or computes what one
// rank computes.
#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>
#include <sstream>

#include "lib/recipe/runnable.h"
#include "tests/parity/against_one_rank.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int kMostRanks = 8;
constexpr int kLayers = 8;
constexpr int kHeads = 8;
constexpr int kGroups = 4;
constexpr int kExperts = 8;
constexpr int kFfn = 40;
constexpr int kSeq = 48;
constexpr int kBatch = 24;

struct Layout {
  bool experts, sequence_parallel;
  int tp, cp, pp, vpp, ep, etp, dp;

  std::string name() const {
    return fmt::format("{} tp{}{} cp{} pp{} vpp{} ep{} etp{} dp{}", experts ? "mixtral" : "llama",
                       tp, sequence_parallel ? " sp" : "", cp, pp, vpp, ep, etp, dp);
  }
};

// The rules of the sizes, said again.
bool is_legal(const Layout& l) {
  const int num_microbatches = kBatch / l.dp;
  const auto divides = [](int a, int b) { return b % a == 0; };
  return divides(l.tp, kHeads) && (divides(l.tp, kGroups) || divides(kGroups, l.tp)) &&
         divides(l.experts ? l.etp : l.tp, kFfn) && divides(l.pp * l.vpp, kLayers) &&
         (l.vpp == 1 || l.pp > 1) && (l.cp == 1 || divides(2 * l.cp, kSeq)) &&
         (!l.sequence_parallel || (l.tp > 1 && divides(l.tp * l.cp, kSeq))) &&
         divides(l.dp, kBatch) && (l.vpp == 1 || divides(l.pp, num_microbatches)) &&
         (l.experts ? divides(l.ep, kExperts) && divides(l.etp * l.ep, l.tp * l.cp * l.dp) &&
                          (l.tp == 1 || l.sequence_parallel)
                    : l.ep == 1 && l.etp == l.tp);
}

// The keys of the sizes that are not 1, by which a layout that cannot run yet is refused.
std::set<std::string> keys_used(const Layout& l) {
  std::set<std::string> keys;
  const auto use = [&](bool uses, const char* key) {
    if (uses) keys.insert(key);
  };
  use(l.experts, "model.family");
  use(l.tp > 1, "parallel.tp_size");
  use(l.cp > 1, "parallel.cp_size");
  use(l.pp > 1, "parallel.pp_size");
  use(l.vpp > 1, "parallel.vpp_size");
  use(l.ep > 1, "parallel.ep_size");
  use(l.etp > 1, "parallel.etp_size");
  use(l.dp > 1, "parallel.dp_size");
  use(l.sequence_parallel, "parallel.sequence_parallel");
  return keys;
}

ResolvedRecipe resolve_layout(const Layout& l) {
  const std::string model = fmt::format(
      "{{family: {}, vocab_size: 131, num_layers: {}, hidden_size: 32, ffn_hidden_size: {}, "
      "num_attention_heads: {}, num_query_groups: {}, init_std: 0.1{}}}",
      l.experts ? "mixtral" : "llama", kLayers, kFfn, kHeads, kGroups,
      l.experts ? fmt::format(", moe: {{num_experts: {}, top_k: 2}}", kExperts) : "");
  return small_run(
      model,
      {fmt::format("data={{seq_length: {}, global_batch_size: {}}}", kSeq, kBatch),
       fmt::format("trainer.devices={}", l.tp * l.cp * l.pp * l.dp),
       fmt::format("parallel={{tp_size: {}, cp_size: {}, pp_size: {}, vpp_size: {}, ep_size: {}, "
                   "etp_size: {}, dp_size: {}, sequence_parallel: {}}}",
                   l.tp, l.cp, l.pp, l.vpp, l.ep, l.etp, l.dp, l.sequence_parallel)});
}

// Layouts with tp, cp, pp and dp of at most so many ranks, every vpp up to the layers and every ep
// and etp up to the ranks.
std::vector<Layout> all_layouts() {
  std::vector<Layout> layouts;
  for (int tp = 1; tp <= kMostRanks; ++tp)
    for (int cp = 1; tp * cp <= kMostRanks; ++cp)
      for (int pp = 1; tp * cp * pp <= kMostRanks; ++pp)
        for (int dp = 1; tp * cp * pp * dp <= kMostRanks; ++dp)
          for (int vpp = 1; vpp <= kLayers; ++vpp)
            for (int ep = 1; ep <= kMostRanks; ++ep)
              for (int etp = 1; etp * ep <= kMostRanks; ++etp)
                for (bool experts : {false, true})
                  for (bool sequence_parallel : {false, true})
                    layouts.push_back({experts, sequence_parallel, tp, cp, pp, vpp, ep, etp, dp});
  return layouts;
}

std::set<std::string> keys_of_lines(const std::string& text) {
  std::set<std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) keys.insert(line.substr(0, line.find(':')));
  return keys;
}

// The rules' verdict on the layouts: every legal one, and of the others one in `stride`.
struct Verdicts {
  std::vector<Layout> run;
  // Legal, but not_runnable: by the keys it names.
  std::map<std::set<std::string>, std::vector<Layout>> waiting;
  int num_refused = 0;
};

Verdicts judge(size_t stride) {
  const std::set<std::string> named = {
      "model.num_layers",      "model.num_attention_heads",  "model.num_query_groups",
      "model.ffn_hidden_size", "model.moe.ffn_hidden_size",  "model.moe.num_experts",
      "data.seq_length",       "data.global_batch_size",     "parallel.tp_size",
      "parallel.cp_size",      "parallel.pp_size",           "parallel.vpp_size",
      "parallel.ep_size",      "parallel.etp_size",          "parallel.dp_size",
      "parallel.pp_layout",    "parallel.sequence_parallel", "parallel.microbatch_group_size"};
  Verdicts verdicts;
  size_t num_illegal = 0;
  for (const Layout& layout : all_layouts()) {
    const bool legal = is_legal(layout);
    if (!legal && num_illegal++ % stride != 0) continue;
    std::string wrong;
    try {
      const ResolvedRecipe run = resolve_layout(layout);
      if (!legal) wrong = "is taken";
      const std::vector<std::string> lines = not_runnable(run);
      if (lines.empty())
        verdicts.run.push_back(layout);
      else
        verdicts.waiting[keys_of_lines(fmt::format("{}", fmt::join(lines, "\n")))].push_back(
            layout);
    } catch (const UserError& e) {
      ++verdicts.num_refused;
      const std::set<std::string> keys = keys_of_lines(e.what());
      if (legal) wrong = fmt::format("is refused: {}", e.what());
      if (e.code() != ExitCode::kUsage || keys.empty() || !std::ranges::includes(named, keys))
        wrong = fmt::format("is refused without a key: {}", e.what());
    }
    CAPTURE(layout.name());
    if (!wrong.empty()) FAIL_CHECK(wrong);
  }
  return verdicts;
}

const Verdicts& verdicts() {
  static const Verdicts result = judge(/*stride=*/kSanitized ? 95 : 19);
  return result;
}

void check_against_one_rank(const std::vector<Layout>& layouts) {
  std::map<bool, Outcome> alone;
  for (const Layout& layout : layouts) {
    CAPTURE(layout.name());
    Outcome& one = alone[layout.experts];
    if (one.losses.empty())
      one = train(resolve_layout({layout.experts, false, 1, 1, 1, 1, 1, 1, 1}));
    REQUIRE(one.losses.back() < one.losses.front());
    check_equal(train(resolve_layout(layout)), one);
  }
}

// So many of them, the same in every run.
std::vector<Layout> sample(std::vector<Layout> layouts, size_t count) {
  std::mt19937 random(8);
  for (size_t i = layouts.size(); i > 1; --i) std::swap(layouts[i - 1], layouts[random() % i]);
  layouts.resize(std::min(layouts.size(), count));
  return layouts;
}

}  // namespace

TEST_CASE("a layout is legal or refused by a rule that names a key") {
  CHECK(verdicts().num_refused > (kSanitized ? 400 : 2000));
  CHECK(verdicts().run.size() > 40);
}

TEST_CASE("soak: every layout is legal or refused by a rule that names a key" * doctest::skip()) {
  CHECK(judge(/*stride=*/1).num_refused > 38000);
}

TEST_CASE("a legal layout that cannot run yet is waiting for a key that it uses") {
  std::set<std::string> missing;
  for (const auto& [keys, layouts] : verdicts().waiting) missing.insert(keys.begin(), keys.end());
  size_t num_waiting = 0;
  for (const auto& [keys, layouts] : verdicts().waiting) {
    num_waiting += layouts.size();
    for (const Layout& layout : layouts) {
      CAPTURE(layout.name());
      // All that it uses of what is missing anywhere, and nothing else: so no layout that uses none
      // of it is left out, and none will be once nothing is missing.
      std::set<std::string> expected;
      for (const std::string& key : keys_used(layout))
        if (missing.contains(key)) expected.insert(key);
      CHECK(keys == expected);
    }
  }
  MESSAGE(verdicts().run.size() << " layouts run, " << num_waiting << " wait for "
                                << fmt::format("{}", fmt::join(missing, ", ")));
  for (const Layout& layout : verdicts().run) {
    CAPTURE(layout.name());
    for (const std::string& key : keys_used(layout)) CHECK(!missing.contains(key));
  }
}

TEST_CASE("20 legal layouts of up to eight ranks equal one rank") {
  check_against_one_rank(sample(verdicts().run, kSanitized ? 3 : 20));
}

TEST_CASE("soak: all legal layouts of up to eight ranks equal one rank" * doctest::skip()) {
  check_against_one_rank(verdicts().run);
}
