#include "runtime/generate/StopStrings.h"

#include <algorithm>
#include <utility>

using namespace fusebox;

StopStrings::StopStrings(std::vector<std::string> stopList) : stops(std::move(stopList)) {
  std::erase_if(stops, [](const std::string &stop) { return stop.empty(); });
}

/// Length of the longest end of `text` that begins `stop`.
static size_t pendingLength(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length)
    if (stop.starts_with(text.substr(text.size() - length)))
      return length;
  return 0;
}

std::string StopStrings::push(std::string_view piece) {
  if (found)
    return {};
  held += piece;
  size_t stopAt = std::string::npos, pending = 0;
  for (const std::string &stop : stops) {
    stopAt = std::min(stopAt, held.find(stop));
    pending = std::max(pending, pendingLength(held, stop));
  }
  if (stopAt != std::string::npos) {
    found = true;
    std::string shown = held.substr(0, stopAt);
    held.clear();
    return shown;
  }
  std::string shown = held.substr(0, held.size() - pending);
  held.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() { return std::exchange(held, {}); }
