// A run's rank that is a process of its own.
#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "lib/comm/process_world.h"
#include "lib/comm/store/store.h"
#include "lib/comm/store/store_server.h"
#include "lib/launch/agree.h"
#include "lib/launch/prepare.h"
#include "lib/launch/pretrain.h"
#include "lib/launch/run_log.h"

namespace nemo {
namespace {

// How long a rank may take to end by itself once the job has failed: with the 8 s after which a
// lost host is noticed, less than 10 s.
constexpr std::chrono::milliseconds kGrace{1500};

// Ends the process where it does not get round to it: a rank that computes looks at nothing.
class EndInTime {
 public:
  explicit EndInTime(const std::function<void(const Failure&)>& end_now) : end_now_(end_now) {}
  ~EndInTime() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    over_.notify_all();
  }

  // Once, from any thread.
  void start(const Failure& failure) {
    try {
      waiting_ = std::jthread([this, failure] {
        std::unique_lock lock(mutex_);
        if (!over_.wait_for(lock, kGrace, [this] { return is_over_; })) end_now_(failure);
      });
    } catch (const std::system_error&) {  // no thread can be had, which may be the failure itself
      end_now_(failure);
    }
  }

 private:
  const std::function<void(const Failure&)>& end_now_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::jthread waiting_;
};

class ProcessRank {
 public:
  ProcessRank(const ResolvedRecipe& run, const PretrainEnvironment& environment,
              const LaunchedTask& task, const std::function<void(const Failure&)>& end_now)
      : run_(run),
        environment_(environment),
        task_(task),
        self_{task.task, environment.host, getpid()},
        server_(host_store()),
        end_in_time_(end_now),
        looks_at_signal_(task.parent == 0),
        store_(task.store, {.timeout = comm_timeout(run.recipe),
                            .while_waiting = [this] { look_at_signal(); }}) {}

  int run() {
    looks_at_signal_ = true;
    try {
      const TrainResult result = train();
      if (log_) log_->end(result);
      store_.leave();
      return exit_code_of(result);
    } catch (const CommError& e) {
      return fail({e.what(), e.code()}, Evidence::kEcho);
    } catch (const std::exception& e) {
      const ErrorReport report = report_of(e);
      return fail({report.message, report.exit_code}, Evidence::kCause);
    }
  }

 private:
  std::unique_ptr<StoreServer> host_store() const {
    if (task_.task != 0 || task_.parent != 0) return nullptr;
    return std::make_unique<StoreServer>(task_.store, task_.num_tasks, comm_timeout(run_.recipe),
                                         to_string(self_));
  }

  TrainResult train() {
    std::vector<Member> ranks = store_.join(self_, task_.num_tasks);
    agree_on_recipe(store_, self_, run_.recipe);
    world_.emplace(store_, task_.task, task_.num_tasks,
                   ProcessWorld::Options{.timeout = comm_timeout(run_.recipe)});
    store_.on_failure([this](const Failure& failure) {
      world_->poison(failure.reason);
      if (task_.parent == 0) end_in_time_.start(failure);
    });
    const auto communicator = world_->communicator();
    const PreparedRun prepared = prepare_run(run_, 1);
    communicator->barrier("prepared");  // nothing is written before every rank can start
    if (task_.task == 0)
      log_.emplace(run_, environment_, std::move(ranks), prepared.predicted_peak);
    looks_at_signal_ = false;  // training does, so that all ranks stop after the same step
    const TrainInputs inputs = {run_, *prepared.dataset, log_ ? &log_->metrics() : nullptr,
                                environment_.stop_signal, environment_.process_start};
    return Trainer(inputs, *communicator).run();
  }

  void look_at_signal() const {
    const int signal = environment_.stop_signal.load();
    if (looks_at_signal_ && signal != 0)
      throw UserError(static_cast<ExitCode>(128 + signal),
                      fmt::format("stopped by signal {} before training began", signal));
  }

  int fail(const Failure& failure, Evidence evidence) {
    looks_at_signal_ = false;  // no signal keeps this from being told
    const Failure verdict = store_.fail(failure, evidence);
    if (log_) log_->end(verdict.exit_code);
    if (task_.parent == 0) throw UserError(verdict.exit_code, verdict.reason);
    return static_cast<int>(verdict.exit_code);
  }

  const ResolvedRecipe& run_;
  const PretrainEnvironment& environment_;
  const LaunchedTask& task_;
  const Member self_;
  const std::unique_ptr<StoreServer> server_;  // goes last, when the others know all
  std::optional<RunLog> log_;
  std::optional<ProcessWorld> world_;  // outlives store_, whose thread poisons it
  EndInTime end_in_time_;              // likewise
  // Not while a rank connects to its parent: one without the store would have to say itself why it
  // ends.
  bool looks_at_signal_;
  Store store_;
};

}  // namespace

int run_process_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment,
                         const LaunchedTask& task,
                         const std::function<void(const Failure&)>& end_now) {
  return ProcessRank(run, environment, task, end_now).run();
}

}  // namespace nemo
