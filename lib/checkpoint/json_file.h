// A JSON file written by someone else, read with limits. For .cpp files only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace nemo {

// Throws a data error for a file over `max_bytes`, bad JSON, nesting beyond 32 levels, a key twice
// in one object, or a document that is not an object.
nlohmann::json read_json_file(const std::filesystem::path& path, int64_t max_bytes);

}  // namespace nemo
