// A job of several processes, and what is left of it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>
#include <memory>

#include "lib/core/clock.h"
#include "tests/cli/run_folder.h"

namespace nemo {

// Processes alive whose command line names this folder.
inline std::vector<pid_t> processes_of(const RunFolder& folder) {
  std::vector<pid_t> pids;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string words = test::read_file(entry.path() / "cmdline");
    const pid_t pid = std::stoi(name);
    if (words.find(folder.path().string()) != std::string::npos && test::is_running(pid))
      pids.push_back(pid);
  }
  return pids;
}

// As errors name it.
inline std::string name_of(const RunFolder& folder, int rank) {
  const auto of = folder.lines("start").at(0)["ranks"].at(static_cast<size_t>(rank));
  return "rank " + std::to_string(rank) + " (pid " + of["pid"].dump() + ", host " +
         of["host"].get<std::string>() + ")";
}

// metrics.jsonl without what no two runs have in common.
inline std::vector<nlohmann::json> results(const RunFolder& folder) {
  std::vector<nlohmann::json> lines = folder.lines();
  for (nlohmann::json& line : lines)
    for (const char* key :
         {"time", "ranks", "step_time_s", "tokens_per_s", "since_start_s", "wall_time_s"})
      line.erase(key);
  return lines;
}

// Of one of its ranks.
inline pid_t pid_of(const RunFolder& folder, int rank) {
  return folder.lines("start").at(0)["ranks"].at(static_cast<size_t>(rank))["pid"];
}

// Waits until it is.
inline bool is_training(const RunFolder& folder) {
  return comes_true([&] { return folder.lines("step").size() > 1; });
}

// Takes the port, or any where it is 0, and frees it again; 0 where somebody has it.
inline int try_port(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  socklen_t size = sizeof address;
  const bool taken = bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  close(fd);
  return taken ? 0 : ntohs(address.sin_port);
}

// One that nobody listens at now.
inline int free_port() {
  return try_port(0);
}

// Of a job whose port, 20000 + its number % 20000, nobody listens at now.
inline int free_job_number() {
  int job = getpid() % 10000;
  while (try_port(20000 + job) == 0) ++job;
  return 40000 + job;
}

// A program whose errors are kept.
class JobProcess {
 public:
  JobProcess(const std::string& arguments, const std::string& before = "")
      : program_(arguments + " 2>" + (folder_ / "err").string(), before) {}

  RunningProgram& program() { return program_; }
  void send(int signal) { program_.send(signal); }
  // Waits for its end.
  int exit_code() {
    return comes_true([&] { return program_.ended(); }) ? program_.exit_code() : -1;
  }
  // The lines that begin with "error: ", without that.
  std::vector<std::string> errors() const {
    std::vector<std::string> errors;
    std::istringstream text(test::read_file(folder_ / "err"));
    for (std::string line; std::getline(text, line);)
      if (line.starts_with("error: ")) errors.push_back(line.substr(7));
    return errors;
  }

 private:
  test::TempFolder folder_;
  RunningProgram program_;
};

// What torchrun sets for a rank, as shell text.
inline std::string torchrun(int rank, int world_size, int port,
                            const std::string& address = "127.0.0.1") {
  return "export RANK=" + std::to_string(rank) + " WORLD_SIZE=" + std::to_string(world_size) +
         " LOCAL_RANK=" + std::to_string(rank) + " MASTER_ADDR=" + address +
         " MASTER_PORT=" + std::to_string(port) + ";";
}

// The ranks of a job, started one by one as torchrun does.
struct TorchrunJob {
  // Rank i gets `of_rank` of it too.
  TorchrunJob(int world_size, const std::string& arguments,
              const std::map<int, std::string>& of_rank = {}) {
    const int port = free_port();
    for (int rank = 0; rank < world_size; ++rank) {
      const auto more = of_rank.find(rank);
      const std::string words = arguments + (more == of_rank.end() ? "" : " " + more->second);
      ranks.push_back(std::make_unique<JobProcess>(words, torchrun(rank, world_size, port)));
    }
  }
  std::vector<std::unique_ptr<JobProcess>> ranks;
};

}  // namespace nemo
