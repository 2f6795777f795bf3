#include "lib/nn/routes.h"

#include <algorithm>
#include <cmath>

namespace nemo {
namespace {

// Kept from one plan to the next, so that a step takes no memory from the system.
struct Scratch {
  std::vector<int32_t> counts;  // [block, E]: kept choices of each expert by each rank
  std::vector<int64_t> next;    // [E]
  std::vector<int32_t> row_at;  // [T]: the gathered row of each token in order of the sequences
};

class Planner {
 public:
  Planner(Context& ctx, const MicroBatch& batch, const Tensor& indices, const RoutesConfig& config)
      : ctx_(ctx),
        batch_(batch),
        indices_(indices),
        config_(config),
        num_tokens_(indices.size(0)),
        top_k_(indices.size(1)),
        num_ep_(ctx.mesh[Axis::kEp].size()),
        num_etp_(ctx.mesh[Axis::kEtp].size()),
        num_local_(div_exact(config.num_experts, num_ep_)),
        scratch_(ctx.stream.state<Scratch>()) {}

  Routes plan() {
    routes_.place = ints({num_tokens_, top_k_}, "routes.place");
    if (config_.capacity_factor)
      drop_beyond_capacity();
    else if (!recording())
      std::fill_n(routes_.place.data<int32_t>(), routes_.place.numel(), 0);
    share_counts();
    plan_runs();
    plan_sent();
    if (num_ep_ * num_etp_ > 1) plan_arrived();
    return std::move(routes_);
  }

 private:
  bool recording() const { return ctx_.stream.recording(); }
  Tensor ints(const Shape& shape, const char* name) {
    return ctx_.activation(shape, name, DType::kI32);
  }
  int my_rank() const { return ctx_.mesh.etp_ep().rank(); }
  int64_t first_local() const { return ctx_.mesh[Axis::kEp].rank() * num_local_; }
  int64_t count(int64_t etp_rank, int64_t ep_rank, int64_t expert) const {
    return count(etp_rank + num_etp_ * ep_rank, expert);
  }
  int64_t count(int64_t rank, int64_t expert) const {
    return scratch_.counts[static_cast<size_t>(rank * config_.num_experts + expert)];
  }
  // Of the rows of `ep_rank`'s experts.
  int64_t count_for(int64_t rank, int64_t ep_rank) const {
    int64_t sum = 0;
    for (int64_t e = 0; e < num_local_; ++e) sum += count(rank, ep_rank * num_local_ + e);
    return sum;
  }

  void drop_beyond_capacity();
  int64_t capacity() const;
  int32_t order_of(int64_t row) const;
  void share_counts();
  void balance_counts();
  void plan_runs();
  void plan_sent();
  void plan_arrived();

  Context& ctx_;
  const MicroBatch& batch_;
  const Tensor& indices_;
  const RoutesConfig& config_;
  int64_t num_tokens_, top_k_, num_ep_, num_etp_, num_local_;
  Scratch& scratch_;
  Routes routes_;
};

// Choices that an expert takes from one micro batch over tp and cp.
int64_t Planner::capacity() const {
  const int64_t num_choices = num_tokens_ * ctx_.mesh.tp_cp().size() * top_k_;
  return static_cast<int64_t>(
      std::ceil(static_cast<double>(num_choices) / static_cast<double>(config_.num_experts) *
                *config_.capacity_factor));
}

// Of this rank's row among all tokens of the micro batch, sample after sample.
int32_t Planner::order_of(int64_t row) const {
  const int64_t spread = batch_.num_tokens() / num_tokens_;  // tp ranks under sequence parallelism
  const int64_t token = row + (spread == 1 ? 0 : ctx_.mesh[Axis::kTp].rank() * num_tokens_);
  const int64_t sample = token / batch_.seq(), column = token % batch_.seq();
  const int64_t sample_length = batch_.seq() * ctx_.mesh[Axis::kCp].size();
  return narrow<int32_t>(sample * sample_length + batch_.positions.data<int32_t>()[column]);
}

// An expert keeps its first choices in the order of the sequences, whatever ranks hold them: every
// rank sees all choices and finds out which of its own are kept.
void Planner::drop_beyond_capacity() {
  Communicator& peers = ctx_.mesh.tp_cp();
  const auto scratch = [&](const Shape& shape, const char* name) {
    return ctx_.stream.workspace(DType::kI32, shape, name);
  };
  const Tensor order = scratch({num_tokens_}, "routes.order");
  const Tensor orders = scratch({peers.size(), num_tokens_}, "routes.orders");
  const Tensor choices = scratch({peers.size(), num_tokens_, top_k_}, "routes.choices");
  if (!recording())
    for (int64_t t = 0; t < num_tokens_; ++t) order.data<int32_t>()[t] = order_of(t);
  peers.all_gather(order, orders, "capacity").wait(ctx_.stream);
  peers.all_gather(indices_, choices, "capacity").wait(ctx_.stream);
  if (recording()) return;

  scratch_.row_at.resize(static_cast<size_t>(orders.numel()));
  for (int64_t i = 0; i < orders.numel(); ++i)
    scratch_.row_at[static_cast<size_t>(orders.data<int32_t>()[i])] = static_cast<int32_t>(i);
  scratch_.next.assign(static_cast<size_t>(config_.num_experts), 0);
  const int64_t limit = capacity(), mine = peers.rank() * num_tokens_;
  int64_t num_dropped = 0;
  for (const int64_t row : scratch_.row_at)
    for (int64_t j = 0; j < top_k_; ++j) {
      const int32_t expert = choices.data<int32_t>()[row * top_k_ + j];
      const bool is_kept = scratch_.next[static_cast<size_t>(expert)]++ < limit;
      if (row < mine || row >= mine + num_tokens_) continue;
      routes_.place.data<int32_t>()[(row - mine) * top_k_ + j] = is_kept ? 0 : -1;
      num_dropped += !is_kept;
    }
  if (ctx_.training)
    ctx_.routers->dropped_of(config_.layer).data<double>()[0] += static_cast<double>(num_dropped);
}

void Planner::share_counts() {
  Communicator& block = ctx_.mesh.etp_ep();
  const Tensor mine = ctx_.stream.workspace(DType::kI32, {config_.num_experts}, "routes.count");
  const Tensor all =
      ctx_.stream.workspace(DType::kI32, {block.size(), config_.num_experts}, "routes.counts");
  scratch_.counts.resize(static_cast<size_t>(all.numel()));
  if (!recording()) {
    std::fill_n(mine.data<int32_t>(), mine.numel(), 0);
    for (int64_t i = 0; i < indices_.numel(); ++i)
      if (routes_.place.data<int32_t>()[i] >= 0)
        ++mine.data<int32_t>()[indices_.data<int32_t>()[i]];
  }
  block.all_gather(mine, all, "routes").wait(ctx_.stream);
  if (recording())
    balance_counts();
  else
    std::copy_n(all.data<int32_t>(), all.numel(), scratch_.counts.begin());
}

// As if every expert were chosen as often as any other.
void Planner::balance_counts() {
  int64_t num_choices = num_tokens_ * top_k_;
  if (config_.capacity_factor)
    num_choices = std::min(
        num_choices, ceil_div<int64_t>(capacity() * config_.num_experts, ctx_.mesh.tp_cp().size()));
  for (size_t i = 0; i < scratch_.counts.size(); ++i) {
    const int64_t expert = static_cast<int64_t>(i) % config_.num_experts;
    scratch_.counts[i] = narrow<int32_t>(num_choices / config_.num_experts +
                                         (expert < num_choices % config_.num_experts));
  }
}

void Planner::plan_runs() {
  routes_.offsets.assign(1, 0);
  for (int64_t e = first_local(); e < first_local() + num_local_; ++e) {
    int64_t rows = 0;
    for (int64_t rank = 0; rank < num_etp_ * num_ep_; ++rank) rows += count(rank, e);
    routes_.offsets.push_back(routes_.offsets.back() + rows);
  }
}

// Kept choices by expert, in the order of tokens.
void Planner::plan_sent() {
  auto& next = scratch_.next;  // the next row sent to each expert
  next.resize(static_cast<size_t>(config_.num_experts));
  int64_t num_sent = 0;
  for (int64_t e = 0; e < config_.num_experts; ++e) {
    next[static_cast<size_t>(e)] = num_sent;
    num_sent += count(my_rank(), e);
  }
  routes_.sent_token = ints({num_sent}, "routes.sent_token");
  routes_.sent_choice = ints({num_sent}, "routes.sent_choice");
  if (recording()) return;
  int32_t *token = routes_.sent_token.data<int32_t>(),
          *choice = routes_.sent_choice.data<int32_t>();
  int32_t* place = routes_.place.data<int32_t>();
  for (int64_t i = 0; i < indices_.numel(); ++i) {
    if (place[i] < 0) continue;
    const int64_t row = next[static_cast<size_t>(indices_.data<int32_t>()[i])]++;
    token[row] = static_cast<int32_t>(i / top_k_);
    choice[row] = static_cast<int32_t>(i);
    place[i] = narrow<int32_t>(row);
  }
}

void Planner::plan_arrived() {
  const int64_t my_ep = ctx_.mesh[Axis::kEp].rank(), my_etp = ctx_.mesh[Axis::kEtp].rank();
  for (int64_t a = 0; a < num_etp_; ++a) {
    int64_t arrived = 0;
    for (int64_t b = 0; b < num_ep_; ++b) arrived += count_for(a + num_etp_ * b, my_ep);
    routes_.most = std::max(routes_.most, arrived);
    if (a == my_etp) routes_.num_arrived = arrived;
  }
  for (int64_t b = 0; b < num_ep_; ++b) {
    routes_.sent_rows.push_back(count_for(my_rank(), b));
    routes_.arrived_rows.push_back(count_for(my_etp + num_etp_ * b, my_ep));
  }
  routes_.run_row = ints({routes_.num_rows()}, "routes.run_row");
  routes_.gathered_place = ints({num_etp_ * routes_.most}, "routes.gathered_place");
  if (recording()) return;
  int32_t *run_row = routes_.run_row.data<int32_t>(),
          *place = routes_.gathered_place.data<int32_t>();
  std::fill_n(place, routes_.gathered_place.numel(), -1);
  auto& next = scratch_.next;  // the next row of each run
  next.assign(routes_.offsets.begin(), routes_.offsets.end() - 1);
  for (int64_t a = 0; a < num_etp_; ++a) {
    int64_t row = a * routes_.most;
    for (int64_t b = 0; b < num_ep_; ++b)
      for (int64_t e = 0; e < num_local_; ++e)
        for (int64_t i = count(a, b, first_local() + e); i > 0; --i, ++row) {
          const int64_t run = next[static_cast<size_t>(e)]++;
          run_row[run] = narrow<int32_t>(row);
          place[row] = narrow<int32_t>(run);
        }
  }
}

}  // namespace

Routes make_routes(Context& ctx, const MicroBatch& batch, const Tensor& indices,
                   const RoutesConfig& config) {
  return Planner(ctx, batch, indices, config).plan();
}

}  // namespace nemo
