#include "frontends/json/ReadJson.h"

#include "support/MappedFile.h"

#include <set>
#include <vector>

using namespace fusebox;
using nlohmann::json;

namespace {

constexpr int maxDepth = 64;

/// Thrown by the callback below and caught in readJson: the library has no other way to stop a parse.
struct Refusal {
  std::string reason;
};

/// Follows a parse and refuses what the library lets pass.
class Watcher {
public:
  bool operator()(int depth, json::parse_event_t event, json &parsed) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      if (depth >= maxDepth)
        throw Refusal{"nested deeper than " + std::to_string(maxDepth) + " levels"};
      keys.resize(size_t(depth) + 2);
      keys.back().clear();
    }
    // A key's depth is one more than its object's.
    if (event == json::parse_event_t::key && !keys[size_t(depth)].insert(parsed.get<std::string>()).second)
      throw Refusal{"the key '" + parsed.get<std::string>() + "' occurs twice"};
    return true;
  }

private:
  std::vector<std::set<std::string>> keys; ///< of the open objects, by depth
};

} // namespace

Result<json> fusebox::readJson(std::span<const std::byte> text, const std::string &name) {
  if (text.size() > maxJsonBytes)
    return modelError(name + ": too large for JSON of a model, " + std::to_string(text.size()) + " bytes");
  auto *begin = reinterpret_cast<const char *>(text.data());
  auto watcher = std::make_shared<Watcher>();
  try {
    return json::parse(begin, begin + text.size(),
                       [watcher](int depth, json::parse_event_t event, json &parsed) {
                         return (*watcher)(depth, event, parsed);
                       });
  } catch (const Refusal &refusal) {
    return modelError(name + ": " + refusal.reason + "; mend the file or fetch it again");
  } catch (const json::parse_error &error) {
    return modelError(name + ": not valid JSON at byte " + std::to_string(error.byte) +
                      "; fetch the file again");
  } catch (const json::exception &error) {
    return modelError(name + ": not valid JSON: " + error.what());
  }
}

Result<json> fusebox::readJsonFile(const std::string &path) {
  FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(path));
  return readJson(file.bytes(), path);
}
