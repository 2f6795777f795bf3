#include "lib/train/terminal.h"

#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include "lib/core/counted.h"

namespace nemo {
namespace {

std::string short_number(double value) {
  if (value >= 1e6) return fmt::format("{:.2f}M", value / 1e6);
  if (value >= 1e3) return fmt::format("{:.1f}k", value / 1e3);
  return fmt::format("{:.0f}", value);
}

// A NaN has a sign, which means nothing.
double without_nan_sign(double value) {
  return std::isnan(value) ? NAN : value;
}

std::string clock(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

// A line fits where poll says that there is room.
bool wait_for_reader(const std::atomic<int>& stop_signal) {
  constexpr int kLookEveryMs = 100;
  pollfd out = {STDOUT_FILENO, POLLOUT, 0};
  for (;;) {
    const int ready = poll(&out, 1, kLookEveryMs);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;  // what is wrong, puts finds
    if (stop_signal.load() != 0) return false;
  }
}

std::error_code print_line(const std::string& line, const std::atomic<int>& stop_signal) {
  if (!wait_for_reader(stop_signal)) return std::make_error_code(std::errc::interrupted);
  if (std::puts(line.c_str()) >= 0 && std::fflush(stdout) == 0) return {};
  return {errno, std::generic_category()};
}

}  // namespace

std::error_code print_step(const StepRecord& r, int64_t max_steps,
                           const std::atomic<int>& stop_signal) {
  std::string line = fmt::format(
      "step {}/{}  loss {:.4f}  grad_norm {:.3f}  lr {:.2e}  {} tokens/s", r.step, max_steps,
      without_nan_sign(r.loss), without_nan_sign(r.grad_norm), r.lr, short_number(r.tokens_per_s));
  if (r.mfu_causal) line += fmt::format("  mfu {:.1f}%", 100 * *r.mfu_causal);
  if (r.moe) {
    line += fmt::format("  experts {:.2f}x", std::ranges::max(r.moe->max_over_mean));
    const double dropped = std::ranges::max(r.moe->dropped);
    if (dropped > 0) line += fmt::format(" dropped {:.1f}%", 100 * dropped);
  }
  const bool overflowed = r.skipped && std::isfinite(r.loss) && r.loss_scale > 1;
  if (overflowed)
    line += fmt::format("  overflow at loss scale {:.0f}: skipped", r.loss_scale);
  else if (r.skipped)
    line += "  not finite: no update";
  // The mean of the whole run smooths over slow and fast steps, and includes evaluation.
  const double left =
      r.since_start_s / static_cast<double>(r.step) * static_cast<double>(max_steps - r.step);
  line += fmt::format("  {} left", clock(left));
  return print_line(line, stop_signal);
}

std::error_code print_eval(const EvalRecord& r, const std::atomic<int>& stop_signal) {
  return print_line(fmt::format("eval {}  loss {:.4f} over {}", r.step, without_nan_sign(r.loss),
                                counted(r.num_tokens, "token")),
                    stop_signal);
}

}  // namespace nemo
