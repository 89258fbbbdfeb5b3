#include "runtime/text/Utf8.h"

#include <cstdint>

using namespace fusebox;

size_t fusebox::utf8Length(std::string_view text) {
  auto byte = [&](size_t index) { return uint8_t(text[index]); };
  auto trails = [&](size_t count) {
    for (size_t i = 1; i < count; ++i)
      if ((byte(i) & 0xC0) != 0x80)
        return false;
    return true;
  };
  if (text.empty())
    return 0;
  uint8_t lead = byte(0);
  if (lead < 0x80)
    return 1;
  if (lead >= 0xC2 && lead < 0xE0)
    return text.size() >= 2 && trails(2) ? 2 : 0;
  if (lead >= 0xE0 && lead < 0xF0) {
    bool overlong = lead == 0xE0 && text.size() >= 2 && byte(1) < 0xA0;
    bool surrogate = lead == 0xED && text.size() >= 2 && byte(1) >= 0xA0;
    return text.size() >= 3 && trails(3) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead < 0xF5) {
    bool overlong = lead == 0xF0 && text.size() >= 2 && byte(1) < 0x90;
    bool tooLarge = lead == 0xF4 && text.size() >= 2 && byte(1) >= 0x90;
    return text.size() >= 4 && trails(4) && !overlong && !tooLarge ? 4 : 0;
  }
  return 0;
}

bool fusebox::isUtf8(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8Length(text);
    if (length == 0)
      return false;
    text.remove_prefix(length);
  }
  return true;
}
