// The tensors of a model's files, whatever the container: single or sharded safetensors, or GGUF.
// Files are mapped and never copied; every number in a header is checked before it is used.
#pragma once

#include "support/DType.h"
#include "support/MappedFile.h"
#include "support/Result.h"

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fusebox {

class GgufMetadata;

/// Where a tensor's bytes are.
struct StoredTensor {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape; ///< row-major, outermost first (a GGUF's dimensions, reversed)
  uint32_t file = 0;          ///< index into Checkpoint::files()
  uint64_t offset = 0;        ///< from the file's start; a multiple of the element's size is not promised
  uint64_t bytes = 0;

  int64_t elements() const;
};

/// All tensors of a model. Copies share the mappings.
class Checkpoint {
public:
  /// Opens a snapshot folder (model.safetensors.index.json or model.safetensors), a .safetensors file, or a
  /// .gguf file. Fails with ErrorKind::Model when a file is missing, damaged, or has tensors that overlap or
  /// leave the file.
  static Result<Checkpoint> open(const std::string &path);

  /// In order of name.
  const std::vector<StoredTensor> &tensors() const { return tensorList; }
  /// The tensor of that name, or null. Points into tensors().
  const StoredTensor *find(std::string_view name) const;
  const std::vector<MappedFile> &files() const { return mappedFiles; }
  /// The tensor's bytes, inside the mapping.
  std::span<const std::byte> data(const StoredTensor &tensor) const;

  bool isGguf() const { return metadata != nullptr; }
  /// A GGUF's key-value metadata; null for safetensors.
  const GgufMetadata *gguf() const { return metadata.get(); }

private:
  std::vector<StoredTensor> tensorList;
  std::vector<MappedFile> mappedFiles;
  std::shared_ptr<const GgufMetadata> metadata;
};

} // namespace fusebox
