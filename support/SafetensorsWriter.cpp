#include "support/SafetensorsWriter.h"

#include "support/AtomicFile.h"

#include <nlohmann/json.hpp>

using namespace fusebox;

static const char *safetensorsType(DType type) {
  switch (type) {
  case DType::F64:
    return "F64";
  case DType::F32:
    return "F32";
  case DType::F16:
    return "F16";
  case DType::BF16:
    return "BF16";
  case DType::I64:
    return "I64";
  case DType::I32:
    return "I32";
  case DType::I16:
    return "I16";
  case DType::I8:
    return "I8";
  case DType::U8:
    return "U8";
  case DType::Bool:
    return "BOOL";
  default:
    return nullptr;
  }
}

Result<void> fusebox::writeSafetensors(const std::string &path, std::span<const TensorToWrite> tensors,
                                       std::span<const std::pair<std::string, std::string>> metadata) {
  // Ordered, so that the header lists tensors as they lie in the file.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty())
    for (const auto &[key, value] : metadata)
      header["__metadata__"][key] = value;
  size_t offset = 0;
  for (const TensorToWrite &tensor : tensors) {
    const char *type = safetensorsType(tensor.dtype);
    if (!type)
      return internalError(path + ": tensor '" + tensor.name + "' has a type that safetensors can't hold");
    header[tensor.name] = {
        {"dtype", type}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' '); // tensor data starts at a multiple of 8
  uint64_t length = text.size();

  FUSEBOX_ASSIGN(AtomicFile file, AtomicFile::create(path));
  FUSEBOX_TRY(file.write(std::as_bytes(std::span(&length, 1))));
  FUSEBOX_TRY(file.write(std::as_bytes(std::span(text))));
  for (const TensorToWrite &tensor : tensors)
    FUSEBOX_TRY(file.write(tensor.bytes));
  return file.commit();
}
