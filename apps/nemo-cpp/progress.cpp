#include "apps/nemo-cpp/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace nemo {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};  // before anything is shown
constexpr std::chrono::milliseconds kOnTerminal{200};
constexpr std::chrono::milliseconds kElsewhere{10000};

std::string bar(double share) {
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(share * kWidth);
  return fmt::format("[{:=<{}}{:{}}]", "", filled, "", kWidth - filled);
}

}  // namespace

Progress::Progress(std::string label)
    : label_(std::move(label)),
      on_terminal_(isatty(STDERR_FILENO) == 1),
      next_(start_ + kPatience) {}

Progress::~Progress() {
  if (shown_ && on_terminal_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(int64_t done, int64_t total) {
  const Clock::time_point now = Clock::now();
  if (now < next_ || done == total) return;
  next_ = now + (on_terminal_ ? kOnTerminal : kElsewhere);
  shown_ = true;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const double left = seconds_since(start_) * (1.0 - share) / share;
  if (on_terminal_)
    fmt::print(stderr, "\r\033[K{} {} {:.0f}%  {:.0f} s left", label_, bar(share), 100 * share,
               left);
  else
    fmt::print(stderr, "{}: {:.0f}%, {:.0f} s left\n", label_, 100 * share, left);
  std::fflush(stderr);
}

}  // namespace nemo
