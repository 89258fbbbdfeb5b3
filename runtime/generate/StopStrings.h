// Finding stop strings in streamed text: text that may yet become one is held back until it is decided.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

/// Filters a stream of text pieces.
class StopStrings {
public:
  explicit StopStrings(std::vector<std::string> stops);

  /// Adds a piece; returns the text that can be shown now. After a stop string was found (`stopped()`), the
  /// text before it has been returned and everything from it on is dropped.
  std::string push(std::string_view piece);

  /// The text still held back at the end of the stream.
  std::string finish();

  bool stopped() const { return found; }

private:
  std::vector<std::string> stops;
  std::string held;
  bool found = false;
};

} // namespace fusebox
