#include "frontends/TensorRanges.h"

#include <algorithm>

using namespace fusebox;

std::optional<uint64_t> fusebox::storedBytes(DType type, std::span<const int64_t> shape) {
  BlockSize block = blockSize(type);
  uint64_t row = shape.empty() ? 1 : uint64_t(shape.back());
  if (row % block.elements)
    return std::nullopt;
  uint64_t bytes = block.bytes;
  if (__builtin_mul_overflow(bytes, row / block.elements, &bytes))
    return std::nullopt;
  uint64_t elements = row;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) {
    if (__builtin_mul_overflow(bytes, uint64_t(shape[axis]), &bytes) ||
        __builtin_mul_overflow(elements, uint64_t(shape[axis]), &elements))
      return std::nullopt;
  }
  return elements <= uint64_t(INT64_MAX) ? std::optional(bytes) : std::nullopt;
}

Result<void> fusebox::checkTensorRanges(const std::vector<StoredTensor> &tensors, DataRange range,
                                        bool gapsAllowed, const std::string &name) {
  std::vector<const StoredTensor *> order;
  for (const StoredTensor &tensor : tensors) {
    if (tensor.offset < range.begin || tensor.offset > range.end || tensor.bytes > range.end - tensor.offset)
      return modelError(name + ": tensor '" + tensor.name + "' has " + std::to_string(tensor.bytes) +
                        " bytes at " + std::to_string(tensor.offset) + ", but the file ends at " +
                        std::to_string(range.end) + "; it is truncated or damaged, fetch it again");
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const StoredTensor *a, const StoredTensor *b) {
    return std::pair(a->offset, a->bytes) < std::pair(b->offset, b->bytes);
  });
  uint64_t end = range.begin;
  const StoredTensor *previous = nullptr;
  for (const StoredTensor *tensor : order) {
    if (tensor->offset < end)
      return modelError(name + ": tensors '" + previous->name + "' and '" + tensor->name +
                        "' share bytes; the file is damaged, fetch it again");
    if (tensor->offset > end && !gapsAllowed)
      return modelError(name + ": bytes before tensor '" + tensor->name +
                        "' belong to no tensor; the file is damaged, fetch it again");
    end = tensor->offset + tensor->bytes;
    previous = tensor;
  }
  if (end != range.end && !gapsAllowed)
    return modelError(name + ": " + std::to_string(range.end - end) +
                      " bytes at the end belong to no tensor; the file is damaged, fetch it again");
  return {};
}
