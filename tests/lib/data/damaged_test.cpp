// Every damaged file is refused by name, at the latest when its tokens are read; under
// AddressSanitizer a read beyond a file's end fails the test (lib/core/mapped_file.cpp).
#include "tests/support/damaged_data.h"

#include <doctest/doctest.h>

#include <array>

#include "lib/core/error.h"
#include "lib/data/dataset.h"
#include "lib/data/inspect.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int64_t kSeq = 7;

DataConfig config_of(const DamagedData& data) {
  DataConfig config;
  config.kind = data.kind;
  config.paths = {data.path};
  config.seq_length = kSeq;
  config.num_samples = 8;
  config.shuffle = false;
  config.split = {1, 0, 0};
  return config;
}

void train_on(const DamagedData& data) {
  const auto dataset = open_dataset(config_of(data), kDamagedVocab, 1, std::array{Part::kTrain});
  std::vector<int32_t> tokens(kSeq + 1);
  for (int64_t i = 0; i < dataset->num_samples(Part::kTrain); ++i)
    dataset->read(Part::kTrain, i, tokens);
}

template <typename Use>
void check_refused(const DamagedData& data, const Use& use) {
  try {
    use();
    FAIL_CHECK(data.what, ": ", data.path, " was taken for sound");
  } catch (const UserError& e) {
    const std::string message = e.what();
    CAPTURE(message);
    CHECK(e.code() == ExitCode::kData);
    CHECK(message.starts_with("[data.paths] " + data.path));
    CHECK(message.find('\n') == std::string::npos);
  }
}

}  // namespace

TEST_CASE("damaged data is refused by training, by verify, and never read past its end") {
  const TempFolder folder;
  const DamagedFiles damaged(folder.path());
  MESSAGE(damaged.all().size(), " damaged files");
  CHECK(damaged.all().size() >= 200);
  for (const DamagedData& data : damaged.all()) {
    CAPTURE(data.what);
    CAPTURE(data.path);
    check_refused(data, [&] { train_on(data); });
    check_refused(
        data, [&] { verify_data(data.path, data.kind, kDamagedVocab, [](int64_t, int64_t) {}); });
  }
}
