// The header of a safetensors file, and the index of a sharded one (huggingface/safetensors, README
// "Format").
#pragma once

#include "frontends/Checkpoint.h"
#include "support/Result.h"

#include <map>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

/// Largest header accepted, in bytes; the limit of the format's own library.
inline constexpr uint64_t maxSafetensorsHeader = 100'000'000;

/// Parses the header of `bytes`, a whole file; `name` is for messages. Offsets count from the file's start;
/// file = 0. Tensor data is aligned to 8 bytes at best. Fails with ErrorKind::Model on a truncated or
/// malformed header, unknown types, duplicate names, sizes that disagree with shapes, and tensors that
/// overlap, leave gaps or leave the file.
Result<std::vector<StoredTensor>> parseSafetensors(std::span<const std::byte> bytes, const std::string &name);

/// Parses a model.safetensors.index.json: tensor name → shard's file name. Shards are plain names in the
/// index's own folder; anything else fails with ErrorKind::Model.
Result<std::map<std::string, std::string>> parseSafetensorsIndex(std::span<const std::byte> bytes,
                                                                 const std::string &name);

} // namespace fusebox
