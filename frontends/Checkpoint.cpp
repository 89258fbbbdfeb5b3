#include "frontends/Checkpoint.h"

#include "frontends/gguf/GgufFile.h"
#include "frontends/safetensors/SafetensorsHeader.h"

#include <algorithm>
#include <filesystem>
#include <set>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

constexpr const char *indexName = "model.safetensors.index.json", *singleName = "model.safetensors";

bool fileExists(const fs::path &path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

/// The files of a snapshot folder, and for a sharded one where its index puts each tensor.
struct FolderFiles {
  std::vector<std::string> paths;
  std::map<std::string, std::string> tensorPaths; ///< empty for a single file
};

Result<FolderFiles> findFolderFiles(const fs::path &folder) {
  // Both may be there after a conversion; the single file is what loaders take first.
  if (fileExists(folder / singleName))
    return FolderFiles{{(folder / singleName).string()}, {}};
  fs::path indexPath = folder / indexName;
  if (!fileExists(indexPath))
    return modelError(folder.string() + ": has neither " + singleName + " nor " + indexName +
                      "; fetch the model's safetensors files (pytorch_model.bin can't be read)");
  FUSEBOX_ASSIGN(MappedFile index, MappedFile::open(indexPath.string()));
  FUSEBOX_ASSIGN(auto shards, parseSafetensorsIndex(index.bytes(), indexPath.string()));
  FolderFiles files;
  std::set<std::string> paths;
  for (const auto &[tensor, shard] : shards) {
    std::string path = (folder / shard).string();
    paths.insert(path);
    files.tensorPaths.emplace(tensor, path);
  }
  files.paths.assign(paths.begin(), paths.end());
  return files;
}

/// A shard must hold just what the index says: a tensor in two shards would be ambiguous.
Result<void> checkAgainstIndex(const FolderFiles &expected, const std::vector<StoredTensor> &tensors,
                               const std::vector<MappedFile> &files, const std::string &folder) {
  if (expected.tensorPaths.empty())
    return {};
  std::set<std::string_view> seen;
  for (const StoredTensor &tensor : tensors) {
    const std::string &path = files[tensor.file].path();
    auto found = expected.tensorPaths.find(tensor.name);
    if (found == expected.tensorPaths.end() || found->second != path)
      return modelError(path + ": holds tensor '" + tensor.name + "', but " + indexName +
                        " does not say so; fetch all files of one revision");
    seen.insert(tensor.name);
  }
  for (const auto &[name, path] : expected.tensorPaths) {
    if (!seen.count(name))
      return modelError(path + ": lacks tensor '" + name + "', which " + indexName +
                        " puts there; fetch all files of one revision");
  }
  return {};
}

} // namespace

int64_t StoredTensor::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape)
    count *= extent;
  return count;
}

Result<Checkpoint> Checkpoint::open(const std::string &path) {
  Checkpoint checkpoint;
  std::error_code ignored;
  if (path.ends_with(".gguf")) {
    FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(path));
    FUSEBOX_ASSIGN(GgufHeader header, parseGguf(file.bytes(), path));
    header.metadata.file = file;
    checkpoint.metadata = std::make_shared<const GgufMetadata>(std::move(header.metadata));
    checkpoint.tensorList = std::move(header.tensors);
    checkpoint.mappedFiles.push_back(std::move(file));
  } else {
    FolderFiles files{{path}, {}};
    if (fs::is_directory(path, ignored)) {
      FUSEBOX_ASSIGN(files, findFolderFiles(path));
    } else if (!path.ends_with(".safetensors")) {
      return modelError(path + ": is neither a folder nor a .safetensors or .gguf file");
    }
    for (const std::string &filePath : files.paths) {
      FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(filePath));
      FUSEBOX_ASSIGN(std::vector<StoredTensor> tensors, parseSafetensors(file.bytes(), filePath));
      for (StoredTensor &tensor : tensors) {
        tensor.file = uint32_t(checkpoint.mappedFiles.size());
        checkpoint.tensorList.push_back(std::move(tensor));
      }
      checkpoint.mappedFiles.push_back(std::move(file));
    }
    FUSEBOX_TRY(checkAgainstIndex(files, checkpoint.tensorList, checkpoint.mappedFiles, path));
  }
  std::sort(checkpoint.tensorList.begin(), checkpoint.tensorList.end(),
            [](const StoredTensor &a, const StoredTensor &b) { return a.name < b.name; });
  return checkpoint;
}

const StoredTensor *Checkpoint::find(std::string_view name) const {
  auto found =
      std::lower_bound(tensorList.begin(), tensorList.end(), name,
                       [](const StoredTensor &tensor, std::string_view key) { return tensor.name < key; });
  return found != tensorList.end() && found->name == name ? &*found : nullptr;
}

std::span<const std::byte> Checkpoint::data(const StoredTensor &tensor) const {
  return mappedFiles[tensor.file].bytes().subspan(tensor.offset, tensor.bytes);
}
