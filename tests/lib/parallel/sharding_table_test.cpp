#include "lib/parallel/sharding_table.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "lib/model/param_count.h"
#include "lib/model/transformer.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

ResolvedRecipe layout(const std::string& family, int64_t tp_size) {
  return resolve_text(
      "{}", {"model={vocab_size: 300, num_layers: 2, hidden_size: 48, ffn_hidden_size: 96, "
             "num_attention_heads: 8, family: " +
                 family + "}",
             "data={kind: mock, seq_length: 16, global_batch_size: 8}",
             family == "llama" ? "model={num_query_groups: 2}" : "model.tie_embeddings=true",
             "parallel.tp_size=" + std::to_string(tp_size)});
}

ParamSet params_of(const ResolvedRecipe& run, const Partition& partition) {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  const ModelConfig& model = run.recipe.model;
  return build_model(model, 16, {all_layers(model)}, partition, arena).params;
}

Slice slice(int64_t tp_size, int64_t rank, ParamRole role, const Shape& shape) {
  return Sharding(layout("llama", tp_size).recipe, {rank, rank, 0}).slice({"x", role, shape});
}

}  // namespace

TEST_CASE("together the tp ranks hold every element as often as its replicas say") {
  for (const std::string family : {"llama", "gpt"})
    for (int64_t tp_size : {1, 2, 4, 8}) {
      CAPTURE(family);
      CAPTURE(tp_size);
      const ResolvedRecipe run = layout(family, tp_size);
      std::map<std::string, std::vector<int>> held;
      std::map<std::string, int> counted;
      for (int64_t rank = 0; rank < tp_size; ++rank) {
        const Sharding sharding(run.recipe, {rank, rank, 0});
        const ParamSet params = params_of(run, sharding);
        for (const Param& param : params.params())
          for (const auto& [tensor, slice, first_row] : param.parts) {
            auto& times = held[tensor.name];
            times.resize(static_cast<size_t>(tensor.shape.numel()));
            const int64_t width = tensor.shape.num_dims() == 2 ? tensor.shape[1] : 1;
            for (int64_t row = slice.rows.begin; row < slice.rows.end; ++row)
              for (int64_t col = slice.cols.begin; col < slice.cols.end; ++col)
                ++times[static_cast<size_t>(row * width + col)];
            counted[tensor.name] += sharding.is_first_replica(tensor.role);
            const int64_t num_replicas = sharding.num_replicas(tensor.role);
            if (rank + 1 < tp_size) continue;
            CAPTURE(tensor.name);
            CHECK(std::ranges::all_of(times, [&](int n) { return n == num_replicas; }));
            CHECK(counted[tensor.name] * num_replicas == tp_size);
          }
      }
    }
}

TEST_CASE("together the etp and ep ranks hold every element of the experts once") {
  for (const auto& [etp_size, ep_size] : {std::pair{1, 4}, {2, 2}, {4, 1}, {2, 8}}) {
    CAPTURE(etp_size);
    CAPTURE(ep_size);
    const ResolvedRecipe run = resolve_text(
        "{}", {"model={family: mixtral, vocab_size: 300, num_layers: 2, hidden_size: 48, "
               "ffn_hidden_size: 96, num_attention_heads: 8, moe: {num_experts: 8}}",
               "data={kind: mock, seq_length: 16, global_batch_size: 16}",
               "parallel.dp_size=" + std::to_string(etp_size * ep_size),
               "parallel.etp_size=" + std::to_string(etp_size),
               "parallel.ep_size=" + std::to_string(ep_size)});
    std::map<std::string, int64_t> held;
    int64_t num_held = 0;
    for (int64_t etp = 0; etp < etp_size; ++etp)
      for (int64_t ep = 0; ep < ep_size; ++ep) {
        const Sharding sharding(run.recipe, {0, etp, ep});
        const ParamSet params = params_of(run, sharding);
        for (const Param& param : params.params()) {
          if (!param.is_expert()) continue;
          num_held += param.shape.numel();
          for (const auto& [tensor, slice, first_row] : param.parts) {
            held[tensor.name] += slice.rows.size() * slice.cols.size();
            CHECK(slice.rows.size() * (tensor.role == ParamRole::kExpertUp ? etp_size : 1) ==
                  tensor.shape[0]);
          }
        }
      }
    CHECK(held.size() == 2 * 8 * 3);
    for (const auto& [name, numel] : held) CHECK(numel == 48 * 96);
    CHECK(num_held == 2 * 8 * 3 * 48 * 96);
  }
}

TEST_CASE("the first rank holds as many elements as the parameter count says") {
  for (const std::string family : {"llama", "gpt"})
    for (int64_t tp_size : {1, 2, 4, 8}) {
      CAPTURE(family);
      CAPTURE(tp_size);
      const ResolvedRecipe run = layout(family, tp_size);
      const Sharding first(run.recipe, {});
      CHECK(params_of(run, first).numel() ==
            params_per_rank(run.recipe.model, run.recipe.parallel, run.sizes)[0].total());
    }
}

TEST_CASE("a vocabulary is cut as if padded to lcm(128, tp), and no rank holds padding") {
  for (ParamRole role : {ParamRole::kTokenEmbedding, ParamRole::kHead}) {
    const int64_t begins[] = {0, 96, 192, 288}, ends[] = {96, 192, 288, 300};  // 384 / 4 each
    for (int64_t rank = 0; rank < 4; ++rank) {
      const Slice held = slice(4, rank, role, {300, 48});
      CHECK(held.rows.begin == begins[rank]);
      CHECK(held.rows.end == ends[rank]);
      CHECK(held.cols.size() == 48);
    }
    CHECK(slice(4, 3, role, {130, 48}).rows.size() == 0);
  }
}

TEST_CASE("key/value heads fewer than the ranks: neighbours hold the head their queries read") {
  for (int64_t rank = 0; rank < 8; ++rank) {
    const Slice queries = slice(8, rank, ParamRole::kQuery, {8 * 6, 48});
    const Slice keys = slice(8, rank, ParamRole::kKeyValue, {2 * 6, 48});
    CHECK(queries.rows.begin == 6 * rank);
    CHECK(queries.rows.size() == 6);
    CHECK(keys.rows.begin == 6 * (rank / 4));
    CHECK(keys.rows.size() == 6);
  }
  const Sharding fourth(layout("llama", 8).recipe, {4, 4, 0});
  CHECK(fourth.num_replicas(ParamRole::kKeyValue) == 4);
  CHECK(fourth.is_first_replica(ParamRole::kKeyValue));
  CHECK(!fourth.is_first_replica(ParamRole::kNorm));
}

TEST_CASE("which replicas' gradients are parts of a sum") {
  ResolvedRecipe run = layout("llama", 4);
  for (bool sequence_parallel : {false, true}) {
    run.recipe.parallel.sequence_parallel = sequence_parallel;
    const Sharding sharding(run.recipe, {});
    CHECK(sharding.sums_replicas(ParamRole::kKeyValue));
    CHECK(sharding.sums_replicas(ParamRole::kNorm) == sequence_parallel);
    for (ParamRole role : {ParamRole::kPositionEmbedding, ParamRole::kOutputBias, ParamRole::kQuery,
                           ParamRole::kTokenEmbedding})
      CHECK(!sharding.sums_replicas(role));
  }
  CHECK(!Sharding(layout("llama", 2).recipe, {}).sums_replicas(ParamRole::kKeyValue));
}
