// UTF-8 validity, as Unicode defines it (no overlong forms, no surrogates, nothing past U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace fusebox {

/// Length of the valid UTF-8 character that `text` begins with; 0 when it begins with none.
size_t utf8Length(std::string_view text);

bool isUtf8(std::string_view text);

} // namespace fusebox
