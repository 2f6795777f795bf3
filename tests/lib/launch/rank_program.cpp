// A rank for the tests of launching: joins the store that its environment names and does as its
// words say. Prints nothing.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "lib/comm/communicator.h"
#include "lib/comm/store/store.h"
#include "lib/launch/environment.h"

namespace nemo {
namespace {

std::atomic<int> stop_signal{0};

int behave(const std::string& how, int code, const LaunchedTask& rank, Store& store) {
  const auto join = [&] { store.join({rank.task, "here", getpid()}, rank.num_tasks); };
  if (how == "exit") return code;
  if (how == "absent")
    for (;;) pause();
  join();
  if (how == "leave") {
    store.leave();
    return code;
  }
  if (how == "drop") return code;  // without having left
  if (how == "fail")
    return static_cast<int>(
        store.fail({"[data.paths] gone", static_cast<ExitCode>(code)}, Evidence::kCause).exit_code);
  if (how == "kill") return raise(code);
  if (how == "deaf") {  // to the store and to signals
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, SIG_IGN);
    store.set("deaf" + std::to_string(rank.task), "");
    for (;;) pause();
  }
  if (how == "stop") {  // as training does
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1})
      std::signal(signal, [](int number) { stop_signal = number; });
    store.set("listening" + std::to_string(rank.task), "");
    while (stop_signal == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    store.leave();
    return 128 + stop_signal;
  }
  store.get("never");
  return 1;
}

int run(int argc, char** argv) {
  Variables variables;
  for (char** setting = environ; *setting; ++setting) {
    const std::string text = *setting;
    variables[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  const auto rank = find_launcher(variables);
  if (!rank || rank->parent != getppid()) return 99;
  Store store(rank->store, {.timeout = std::chrono::seconds(20)});
  store.set("pid" + std::to_string(rank->task), std::to_string(getpid()));
  try {
    return behave(argv[1], argc > 2 ? std::atoi(argv[2]) : 0, *rank, store);
  } catch (const CommError& e) {
    return static_cast<int>(store.fail({e.what(), e.code()}, Evidence::kEcho).exit_code);
  }
}

}  // namespace
}  // namespace nemo

int main(int argc, char** argv) {
  return nemo::run(argc, argv);
}
