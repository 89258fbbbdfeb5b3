#include "support/ReadText.h"

#include <fstream>
#include <sstream>

using namespace fusebox;

Result<std::string> fusebox::readText(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  if (!stream)
    return modelError(path + ": cannot be read");
  return text.str();
}
