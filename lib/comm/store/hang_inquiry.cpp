#include "lib/comm/store/hang_inquiry.h"

#include <algorithm>

namespace nemo::store {

bool HangInquiry::is_over(Clock::time_point now) const {
  return answers_.size() == hang_.members.size() || now >= due_;
}

bool HangInquiry::is_for_others() const {
  const std::vector<int> late = late_ranks();
  const auto waits = [this](int rank) { return answers_.at(rank).waits; };
  return !hang_.is_last && silent_ranks().empty() && !late.empty() &&
         std::ranges::all_of(late, waits);
}

std::vector<int> HangInquiry::silent_ranks() const {
  std::vector<int> silent = hang_.members;
  std::erase_if(silent, [this](int rank) { return answers_.contains(rank); });
  return silent;
}

std::vector<int> HangInquiry::late_ranks() const {
  std::vector<int> late, waiting;
  for (const auto& [rank, progress] : answers_)
    if (progress.last_called < hang_.sequence) (progress.waits ? waiting : late).push_back(rank);
  return late.empty() && silent_ranks().empty() ? waiting : late;
}

std::string HangInquiry::message() const {
  const std::vector<int> silent = silent_ranks();
  const std::vector<int> late = late_ranks();
  std::string who;
  if (!late.empty()) who = name_ranks(late) + " did not arrive";
  if (!silent.empty())
    who += fmt::format("{}{} not responding", who.empty() ? "" : " and ",
                       name_ranks(silent) + (silent.size() == 1 ? " is" : " are"));
  if (who.empty()) who = "all ranks arrived but did not finish";
  return fmt::format(
      "{}: {} within {:g} s; find what holds them up, or raise trainer.comm_timeout_s",
      hang_.operation, who, hang_.timeout_s);
}

}  // namespace nemo::store
