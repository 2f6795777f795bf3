// The order of samples against Megatron-Core's own (see README.md here).
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lib/checkpoint/safetensors.h"
#include "lib/data/blend_order.h"
#include "lib/data/megatron.h"

using namespace nemo;

namespace {

const std::string kFolder = "tests/golden/megatron_order/";

struct Golden {
  nlohmann::json settings = nlohmann::json::parse(std::ifstream(kFolder + "cases.json"));
  SafetensorsFile tensors{kFolder + "samples.safetensors"};

  std::vector<int32_t> ints(const std::string& name) const {
    const SafetensorsTensor& tensor = tensors.at(name);
    std::vector<int32_t> values(static_cast<size_t>(tensor.num_bytes / 4));
    if (!values.empty())  // a part may hold no sample
      std::memcpy(values.data(), tensor.data, static_cast<size_t>(tensor.num_bytes));
    return values;
  }
};

DataConfig config_of(const nlohmann::json& golden, const nlohmann::json& settings) {
  DataConfig config;
  config.kind = DataKind::kMegatron;
  for (const std::string word : settings["paths"])
    config.paths.push_back(word.find_first_of("0123456789") == 0 ? word : kFolder + word);
  config.seq_length = golden["seq_length"];
  config.num_samples = settings["num_samples"];
  config.split = settings["split"];
  return config;
}

}  // namespace

TEST_CASE("samples of every part are Megatron-Core's, in its order") {
  const Golden golden;
  REQUIRE(golden.settings["cases"].size() == 30);
  for (const auto& settings : golden.settings["cases"]) {
    CAPTURE(settings.dump());
    const std::string name = settings["name"];
    const DataConfig config = config_of(golden.settings, settings);
    std::vector<Part> parts;
    for (const Part part : {Part::kTrain, Part::kValidation, Part::kTest})
      if (!golden.ints(name + "." + std::string(to_string(part))).empty()) parts.push_back(part);
    const MegatronDataset dataset(config, 128256, settings["seed"], parts);
    for (const Part part : parts) {
      CAPTURE(to_string(part));
      const std::vector<int32_t> expected = golden.ints(name + "." + std::string(to_string(part)));
      std::vector<int32_t> sample(static_cast<size_t>(config.seq_length) + 1);
      const auto count = static_cast<int64_t>(expected.size() / sample.size());
      // A blend goes on after what Megatron-Core was asked for.
      CHECK((config.paths.size() > 1 ? count <= dataset.num_samples(part)
                                     : count == dataset.num_samples(part)));
      std::vector<int32_t> samples;
      for (int64_t position = 0; position < count; ++position) {
        dataset.read(part, position, sample);
        samples.insert(samples.end(), sample.begin(), sample.end());
      }
      CHECK(samples == expected);
    }
  }
}

TEST_CASE("blends of many datasets take turns as Megatron-Core's do") {
  const Golden golden;
  for (const auto& [name, weights] : golden.settings["blends"].items()) {
    const std::vector<double> given = weights;
    const std::vector<int32_t> expected = golden.ints("blend." + name);
    const std::vector<int64_t> available(given.size(), INT64_MAX);
    const BlendOrder order(normalize_weights(normalize_weights(given)), available,
                           static_cast<int64_t>(expected.size()));
    std::vector<int32_t> datasets;
    std::vector<int64_t> count(given.size());
    for (int64_t position = 0; position < order.size(); ++position) {
      datasets.push_back(static_cast<int32_t>(order(position).dataset));
      CHECK(order(position).sample == count[order(position).dataset]++);
    }
    CHECK(datasets == expected);
  }
}
