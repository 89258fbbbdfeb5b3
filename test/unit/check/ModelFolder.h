// Temporary model folders for tests of the check: a golden's files, with some weights replaced.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace fusebox::test {

/// A folder that is removed at the end, and a cache folder of its own.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string operator/(const std::string &name) const { return path + "/" + name; }
  std::string path;
};

/// bf16 bit patterns of a tensor, changed in place. A tensor that is left with none is left out.
using Edit = std::function<void(std::vector<uint16_t> &)>;

/// Copies the golden `name` to `folder`, with `edits` by tensor name.
void writeModel(const std::string &name, const std::string &folder,
                const std::map<std::string, Edit> &edits = {});

/// The golden "llama" as a Qwen2: with biases on q, k and v, up to 1 in size, rows of k's up to `largest`.
void writeQwen2(const std::string &folder, double largest, const std::map<std::string, Edit> &edits = {});

std::string readText(const std::string &path);

} // namespace fusebox::test
