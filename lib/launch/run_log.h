// What rank 0 leaves of a run and says of it: the folder, how it began, and how it ended.
#pragma once

#include <optional>
#include <vector>

#include "lib/launch/pretrain.h"
#include "lib/train/metrics.h"

namespace nemo {

class RunLog {
 public:
  // Makes log.dir ready, and writes the recipe and the start record. `ranks`: all, in order.
  RunLog(const ResolvedRecipe& run, const PretrainEnvironment& environment,
         std::vector<Member> ranks, int64_t predicted_peak);

  MetricsWriter& metrics() { return metrics_; }
  void end(const TrainResult& result);
  // The error counts, whether or not the line about it can be written.
  void end(ExitCode error);

 private:
  void write_end(int64_t step, const std::string& reason, int exit_code, const std::string& why);

  const PretrainEnvironment& environment_;
  std::string dir_;
  MetricsWriter metrics_;
};

// Of the process, once training has ended so.
int exit_code_of(const TrainResult& result);

}  // namespace nemo
