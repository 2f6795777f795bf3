#include "lib/checkpoint/json_file.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/mapped_file.h"

namespace nemo {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;

// Called by the parser at every bracket and key.
class Limits {
 public:
  explicit Limits(const std::string& path) : path_(path) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& key) {
    if (depth > kMaxDepth)
      throw_data("[json] {}: expected at most {} levels of nesting, found more", path_, kMaxDepth);
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key && !keys_.back().insert(key.get<std::string>()).second)
      throw_data("[json] {}: expected each key once, found {} twice", path_, key.dump());
    return true;
  }

 private:
  const std::string& path_;
  std::vector<std::set<std::string>> keys_;  // of each open object
};

}  // namespace

Json read_json_file(const std::filesystem::path& path, int64_t max_bytes) {
  const std::string name = path.string();
  const MappedFile file(path.string(), "json");
  if (file.size() > max_bytes)
    throw_data("[json] {}: expected at most {} bytes, found {}", name, max_bytes, file.size());
  Json json;
  try {
    json = Json::parse(file.text(),
                       [limits = Limits(name)](int depth, auto event, Json& value) mutable {
                         return limits(depth, event, value);
                       });
  } catch (const Json::parse_error& e) {
    throw_data("[json] {}: expected JSON, found bad text at byte {}", name, e.byte);
  }
  if (!json.is_object())
    throw_data("[json] {}: expected an object, found {}", name, json.type_name());
  return json;
}

}  // namespace nemo
