#include "lib/launch/supervise.h"

#include <sys/wait.h>

#include <csignal>
#include <thread>

#include "lib/comm/store/job.h"

namespace nemo {
namespace {

constexpr std::chrono::milliseconds kLookEvery{10};
constexpr std::chrono::milliseconds kGroupArrivesWithin{200};

class Supervisor {
 public:
  Supervisor(std::vector<ChildProcess>& ranks, const Supervision& supervision)
      : ranks_(ranks), supervision_(supervision), codes_(ranks.size(), -1) {}

  int run() {
    while (look()) {
      pass_on_signal();
      end_after_failure();
      std::this_thread::sleep_for(kLookEvery);
    }
    if (const auto failure = supervision_.store.failure())
      return static_cast<int>(failure->exit_code);
    for (const int code : codes_)
      if (code != 0) return code;
    return 0;
  }

 private:
  // Whether some still run.
  bool look() {
    bool some_run = false;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      if (codes_[i] >= 0) continue;
      if (const auto status = ranks_[i].ending())
        codes_[i] = report(i, *status);
      else
        some_run = true;
    }
    return some_run;
  }

  // Tells the job how a rank ended; its exit code.
  int report(size_t i, int status) {
    const Member member{supervision_.first_rank + static_cast<int>(i), supervision_.host,
                        ranks_[i].pid()};
    Failure failure{to_string(member) + ": ", ExitCode::kRankLost};
    if (WIFEXITED(status)) {
      const int code = WEXITSTATUS(status);
      failure.reason += fmt::format("ended with exit code {}", code);
      if (code != 0) failure.exit_code = static_cast<ExitCode>(code);
    } else if (asks_for_a_stop(WTERMSIG(status))) {
      failure.reason += fmt::format("stopped by signal {} before training began", WTERMSIG(status));
      failure.exit_code = static_cast<ExitCode>(128 + WTERMSIG(status));
    } else {
      failure.reason += fmt::format("killed by signal {}", WTERMSIG(status));
    }
    supervision_.store.report_end(member.rank, failure);
    return WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(failure.exit_code);
  }

  // Whether this process has been sent what ended a rank that had no handler yet. What is sent to
  // the whole group may reach the rank first.
  bool asks_for_a_stop(int signal) const {
    if (signal != SIGINT && signal != SIGTERM && signal != SIGUSR1 && signal != SIGHUP)
      return false;
    const Clock::time_point end = Clock::now() + kGroupArrivesWithin;
    while (supervision_.stop_signal.load() == 0 && Clock::now() < end)
      std::this_thread::sleep_for(kLookEvery);
    return supervision_.stop_signal.load() == signal;
  }

  void pass_on_signal() {
    const int signal = supervision_.stop_signal.load();
    if (signal == passed_on_) return;
    passed_on_ = signal;
    for (ChildProcess& rank : ranks_) rank.send(signal);
  }

  void end_after_failure() {
    if (!supervision_.store.failure()) return;
    const Clock::time_point now = Clock::now();
    if (!deadline_) deadline_ = now + supervision_.grace;
    // The others have nothing to finish once the first, which may be rank 0, has.
    if (now < *deadline_ && codes_[0] < 0) return;
    for (ChildProcess& rank : ranks_) rank.send(SIGKILL);
  }

  std::vector<ChildProcess>& ranks_;
  const Supervision& supervision_;
  std::vector<int> codes_;  // -1 = runs
  int passed_on_ = 0;
  std::optional<Clock::time_point> deadline_;
};

}  // namespace

int supervise(std::vector<ChildProcess>& ranks, const Supervision& supervision) {
  return Supervisor(ranks, supervision).run();
}

}  // namespace nemo
