// A golden model as a GGUF file, as llama.cpp's converter would write it: names, metadata, order of q and k
// rows.
#pragma once

#include "support/DType.h"

#include <string>

namespace fusebox::test {

struct GgufWriting {
  DType matrices =
      DType::BF16;      ///< BF16, F32, or a block type of 32 elements, to which values are rounded roughly
  bool widened = false; ///< matrices as F32, of the values that `matrices` can hold
};

/// The file's bytes. Norms and biases are F32. Errors end the test program.
std::string ggufOfGolden(const std::string &folder, const GgufWriting &writing = {});

} // namespace fusebox::test
