// select_rows: the rows whose logits are wanted. args: out [R], in [N].
#pragma once
#include <cstdint>

struct SelectRowsShape {
  int64_t columns;
  int64_t type;    ///< DType: BF16 or F32
  int64_t rowTile; ///< logits rows a task
};
