#include "lib/launch/agree.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "lib/core/error.h"
#include "lib/recipe/print.h"
#include "lib/recipe/resolve.h"

namespace nemo {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string without_indent(const std::string& line) {
  return line.substr(std::min(line.size(), line.find_first_not_of(' ')));
}

// "trainer.": the sections that line `index` of a printed recipe lies in.
std::string sections_of(const std::vector<std::string>& lines, size_t index) {
  std::string sections;
  size_t indent = lines[index].find_first_not_of(' ');
  while (indent > 0 && index-- > 0) {
    const size_t other = lines[index].find_first_not_of(' ');
    if (other >= indent) continue;
    indent = other;
    const std::string name = without_indent(lines[index]);
    sections = name.substr(0, name.find(':')) + "." + sections;
  }
  return sections;
}

}  // namespace

void agree_on_recipe(Rendezvous& rendezvous, const Member& self, const Recipe& recipe) {
  const std::string mine = print_recipe(recipe);
  if (self.rank == 0) return rendezvous.set("recipe", mine);
  const std::string first = rendezvous.get("recipe");
  if (mine == first) return;
  const std::vector<std::string> my_lines = lines_of(mine);
  const std::vector<std::string> first_lines = lines_of(first);
  size_t i = 0;
  while (i < my_lines.size() && i < first_lines.size() && my_lines[i] == first_lines[i]) ++i;
  NEMO_CHECK(i < my_lines.size() && i < first_lines.size(), "[recipe] {} and {} lines",
             my_lines.size(), first_lines.size());
  throw_usage("[recipe] here {}{}, on rank 0 {}; start every rank with the same command",
              sections_of(my_lines, i), without_indent(my_lines[i]),
              without_indent(first_lines[i]));
}

}  // namespace nemo
