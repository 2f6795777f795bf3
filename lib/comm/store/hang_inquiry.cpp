#include "lib/comm/store/hang_inquiry.h"

namespace nemo::store {

bool HangInquiry::is_over(Clock::time_point now) const {
  return last_called_.size() == hang_.members.size() || now >= due_;
}

std::string HangInquiry::message() const {
  std::vector<int> silent, behind;
  for (const int rank : hang_.members) {
    const auto called = last_called_.find(rank);
    if (called == last_called_.end())
      silent.push_back(rank);
    else if (called->second < hang_.sequence)
      behind.push_back(rank);
  }
  std::string who;
  if (!behind.empty()) who = name_ranks(behind) + " did not arrive";
  if (!silent.empty())
    who += fmt::format("{}{} not responding", who.empty() ? "" : " and ",
                       name_ranks(silent) + (silent.size() == 1 ? " is" : " are"));
  if (who.empty()) who = "all ranks arrived but did not finish";
  return fmt::format(
      "{}: {} within {:g} s; find what holds them up, or raise trainer.comm_timeout_s",
      hang_.operation, who, hang_.timeout_s);
}

}  // namespace nemo::store
