// kv_write: puts the step's keys and values into their pages (layout: KvPage.h). args: kv, k, v.
#pragma once
#include <cstdint>

struct KvWriteShape {
  int64_t kvHeads;
  int64_t headDim; ///< even
  int64_t type;    ///< DType: BF16 or F32
  int64_t rowTile; ///< tokens a task
};
