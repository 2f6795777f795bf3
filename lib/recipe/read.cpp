#include "lib/recipe/read.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <set>
#include <sstream>

#include "lib/core/error.h"

namespace nemo {
namespace {

constexpr size_t kLargestRecipe = 1 << 20;

// Follows the events of one document. Every open map or list is a frame.
class Flattener : public YAML::EventHandler {
 public:
  // `root` is the key that the document is the value of ("" for a recipe); `source` is copied into
  // every entry, with file positions filled in when it is a recipe's.
  Flattener(std::string root, Source source, Problems& problems)
      : root_(std::move(root)), source_(std::move(source)), problems_(problems) {}

  std::vector<Entry> take() { return std::move(entries_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { refuse_anchor(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse_anchor(mark);
    take_value(mark, {.text = {}, .quoted = false}, /*is_null=*/false, /*broken=*/true);
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (anchor != 0) refuse_anchor(mark);
    take_value(mark, {}, /*is_null=*/true, false);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (anchor != 0) refuse_anchor(mark);
    const bool quoted = tag == "!";
    if (!quoted && tag != "?" && !tag.empty()) refuse(mark, "tags are not supported; leave it out");
    take_value(mark, {text, quoted}, false, false);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, Frame::kList);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, Frame::kMap);
  }
  void OnSequenceEnd() override {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (!frame.skipped) add(frame.path, std::move(frame.list), frame.line);
    value_done();
  }
  void OnMapEnd() override {
    frames_.pop_back();
    value_done();
  }

 private:
  struct Frame {
    enum Kind { kMap, kList } kind;
    std::string path;
    int line = 0;
    bool skipped = false;             // inside something already refused
    Value list = {{}, true};          // kList
    bool has_key = false;             // kMap: the next event is a value
    bool key_refused = false;         // kMap: … of a key that was refused
    std::string key_path = {};        // kMap
    int key_line = 0;                 // kMap
    std::set<std::string> keys = {};  // kMap
  };

  std::string place(int line) const {
    return source_.origin == Origin::kRecipe ? fmt::format("{}:{}", source_.file, line)
                                             : source_.describe({});
  }

  void refuse(const YAML::Mark& mark, std::string_view what) {
    const std::string key =
        frames_.empty() ? root_
                        : (frames_.back().has_key ? frames_.back().key_path : frames_.back().path);
    problems_.add(fmt::format("{}: {} ({})", key.empty() ? "recipe" : shorten(key), what,
                              place(mark.line + 1)));
  }

  void refuse_anchor(const YAML::Mark& mark) {
    refuse(mark, "anchors and aliases are not supported; write the value out");
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, Frame::Kind kind) {
    if (anchor != 0) refuse_anchor(mark);
    Frame frame{kind, root_, mark.line + 1};
    if (frames_.empty()) {
      if (root_.empty() && kind == Frame::kList) {
        refuse(mark, "is a list; sections with keys would do");
        frame.skipped = true;
      }
    } else if (Frame& parent = frames_.back(); parent.kind == Frame::kList) {
      if (!parent.skipped) refuse(mark, "a list holds single values, not lists or maps");
      parent.skipped = true;
      frame.skipped = true;
    } else if (!parent.has_key) {
      if (!parent.skipped) refuse(mark, "a key is one word, not a list or a map");
      parent.key_path = parent.path;
      parent.key_refused = true;
      frame.skipped = true;
    } else {
      frame.path = parent.key_path;
      frame.line = parent.key_line;
      frame.skipped = parent.skipped || parent.key_refused;
    }
    frames_.push_back(std::move(frame));
  }

  void take_key(Frame& map, const YAML::Mark& mark, const Scalar& scalar, bool broken) {
    map.has_key = true;
    map.key_line = mark.line + 1;
    map.key_path = map.path.empty() ? scalar.text : map.path + "." + scalar.text;
    map.key_refused = map.skipped || broken;
    if (map.key_refused) return;
    if (scalar.text == "<<") {
      refuse(mark, "merge keys are not supported; write the keys out");
      map.key_refused = true;
    } else if (scalar.text.empty()) {
      refuse(mark, "an empty key; name it");
      map.key_refused = true;
    } else if (!map.keys.insert(scalar.text).second) {
      refuse(mark, "given twice in the same section; keep one");
      map.key_refused = true;
    }
  }

  void take_value(const YAML::Mark& mark, Scalar scalar, bool is_null, bool broken) {
    if (frames_.empty()) {
      if (!root_.empty()) {
        if (!broken) add(root_, {{std::move(scalar)}, false}, mark.line + 1);
      } else if (!is_null) {
        refuse(mark, "is a single value; sections with keys would do");
      }
      return;
    }
    Frame& frame = frames_.back();
    if (frame.kind == Frame::kMap && !frame.has_key) return take_key(frame, mark, scalar, broken);
    if (frame.kind == Frame::kList) {
      frame.list.items.push_back(std::move(scalar));
    } else if (!frame.key_refused && !broken) {
      add(frame.key_path, {{std::move(scalar)}, false}, frame.key_line);
    }
    value_done();
  }

  // The value (or the complex key) that an event ended belongs to the frame now on top.
  void value_done() {
    if (frames_.empty() || frames_.back().kind != Frame::kMap) return;
    Frame& map = frames_.back();
    map.has_key = !map.has_key;
  }

  void add(const std::string& key, Value value, int line) {
    Entry entry{key, std::move(value), source_, {}};
    if (source_.origin == Origin::kRecipe) entry.source.line = line;
    entry.source.spelling = key;
    entry.typed_value = entry.value.to_string();
    entries_.push_back(std::move(entry));
  }

  std::string root_;
  Source source_;
  Problems& problems_;
  std::vector<Frame> frames_;
  std::vector<Entry> entries_;
};

// Parses one document; what of it is not YAML throws.
std::vector<Entry> flatten(const std::string& text, const std::string& root, const Source& source,
                           Problems& problems) {
  Flattener flattener(root, source, problems);
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  if (parser.HandleNextDocument(flattener)) {
    Problems ignored;
    Flattener rest("", source, ignored);
    if (parser.HandleNextDocument(rest))
      problems.add(
          fmt::format("{}: several YAML documents; keep one", root.empty() ? source.file : root));
  }
  return flattener.take();
}

bool is_plain_word(std::string_view text) {
  return !text.empty() &&
         text.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-") ==
             std::string_view::npos &&
         !text.starts_with("-") && !text.starts_with(".");
}

}  // namespace

std::vector<Entry> read_recipe(const std::string& text, const std::string& file,
                               Problems& problems) {
  if (text.size() > kLargestRecipe)
    throw_usage("{}: {} bytes, larger than any recipe ({}); is it one?", file, text.size(),
                kLargestRecipe);
  try {
    return flatten(text, "", {.origin = Origin::kRecipe, .file = file}, problems);
  } catch (const YAML::Exception& e) {
    throw_usage("{}:{}:{}: not YAML: {}", file, e.mark.line + 1, e.mark.column + 1, e.msg);
  }
}

std::vector<Entry> read_override(const std::string& word, Problems& problems) {
  const size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0) {
    problems.add(fmt::format("{}: not an override; dotted.key=value would do", shorten(word)));
    return {};
  }
  const std::string key = word.substr(0, equals);
  const std::string value = word.substr(equals + 1);
  const Source source{.origin = Origin::kOverride, .spelling = key, .text = word};
  if (is_plain_word(value)) return {{key, Value::scalar(value), source, "'" + value + "'"}};
  try {
    Problems inside;  // means nothing where the word turns out not to be YAML
    std::vector<Entry> entries = flatten(value, key, source, inside);
    if (entries.empty() && inside.empty())
      inside.add(fmt::format("{}: an empty value; {}=<value>, or {}=null where a key can be absent",
                             shorten(key), shorten(key), shorten(key)));
    problems.add(inside);
    return entries;
  } catch (const YAML::Exception& e) {
    problems.add(fmt::format("{}: '{}' is not YAML: {}", shorten(key), shorten(value), e.msg));
    return {};
  }
}

}  // namespace nemo
