#include "lib/comm/store/control_plane.h"

#include <algorithm>

namespace nemo::store {

ControlPlane::ControlPlane(int world_size, std::chrono::nanoseconds timeout, Clock::time_point now)
    : timeout_(timeout), join_deadline_(now + timeout), ranks_(static_cast<size_t>(world_size)) {}

void ControlPlane::join(const Member& member, int world_size) {
  if (world_size != this->world_size())
    throw_usage(
        "[store] {} belongs to a world of {}, this is one of {}; start each job at a "
        "MASTER_PORT of its own, and all ranks of a job alike",
        to_string(member), world_size, this->world_size());
  if (member.rank < 0 || member.rank >= world_size)
    throw_usage("[store] {} is not one of 0 to {}", to_string(member), world_size - 1);
  Rank& place = rank(member.rank);
  if (place.member)
    throw_usage(
        "[store] {} comes second after {}; start each job at a MASTER_PORT of its own, and "
        "each rank once",
        to_string(member), to_string(*place.member));
  place.member = member;
  ++num_joined_;
}

void ControlPlane::leave(int rank_number, Clock::time_point now) {
  Rank& leaving = rank(rank_number);
  if (leaving.left) return;
  leaving.left = true;
  ++num_left_;
  if (!leave_deadline_) leave_deadline_ = now + timeout_;
}

std::vector<Member> ControlPlane::members() const {
  std::vector<Member> members;
  for (const Rank& rank : ranks_) members.push_back(rank.member.value());
  return members;
}

void ControlPlane::report(const Failure& failure, Evidence evidence, Clock::time_point now) {
  if (!best_)
    best_ = Report{failure, evidence, now + kGrace};
  else if (evidence > best_->evidence)
    best_ = Report{failure, evidence, best_->due};
}

void ControlPlane::report(int rank_number, const Failure& failure, Evidence evidence,
                          Clock::time_point now) {
  rank(rank_number).said_why = true;
  // An echo has the same text on every rank.
  const std::string by = evidence == Evidence::kEcho ? "" : name(rank_number) + ": ";
  report({by + failure.reason, failure.exit_code}, evidence, now);
}

void ControlPlane::lost(int rank_number, const std::string& how, Clock::time_point now) {
  const Rank& of = rank(rank_number);
  if (of.left || of.said_why) return;
  report({fmt::format("{}: {}", name(rank_number), how), ExitCode::kRankLost}, Evidence::kLost,
         now);
}

void ControlPlane::ended(int rank_number, const Failure& failure, Clock::time_point now) {
  const Rank& of = rank(rank_number);
  if (!of.left && !of.said_why) report(failure, Evidence::kCause, now);
}

const std::optional<Failure>& ControlPlane::verdict(Clock::time_point now) {
  if (verdict_ || all_left()) return verdict_;
  if (best_ && (best_->evidence == Evidence::kCause || now >= best_->due))
    verdict_ = best_->failure;
  else if (!all_joined() && now >= join_deadline_)
    verdict_ = too_late("join", [](const Rank& rank) { return !rank.member; });
  else if (leave_deadline_ && now >= *leave_deadline_)
    verdict_ = too_late("end with the others", [](const Rank& rank) { return !rank.left; });
  return verdict_;
}

std::optional<Clock::time_point> ControlPlane::next_deadline() const {
  if (verdict_ || all_left()) return std::nullopt;
  std::optional<Clock::time_point> next;
  const auto consider = [&next](Clock::time_point deadline) {
    next = next ? std::min(*next, deadline) : deadline;
  };
  if (best_) consider(best_->due);
  if (!all_joined()) consider(join_deadline_);
  if (leave_deadline_) consider(*leave_deadline_);
  return next;
}

std::string ControlPlane::name(int rank_number) {
  const Rank& of = rank(rank_number);
  return of.member ? to_string(*of.member) : fmt::format("rank {}", rank_number);
}

template <typename Predicate>
Failure ControlPlane::too_late(const char* what, Predicate is_missing) const {
  std::vector<int> missing;
  for (int i = 0; i < world_size(); ++i)
    if (is_missing(ranks_[static_cast<size_t>(i)])) missing.push_back(i);
  return {
      fmt::format("[store] {} of {} did not {} within {:g} s; find what holds them up, or raise "
                  "trainer.comm_timeout_s",
                  name_ranks(missing), world_size(), what,
                  std::chrono::duration<double>(timeout_).count()),
      ExitCode::kRankLost};
}

}  // namespace nemo::store
