#include "runtime/cuda/CubinCache.h"

#include "support/AtomicFile.h"
#include "support/ContentHash.h"
#include "support/Hash.h"
#include "support/MappedFile.h"
#include "support/ParallelFor.h"

#include <atomic>
#include <mutex>

namespace fusebox::cuda {

/// Where the cubin of a kernel lies; empty without a cache folder.
static std::string cachePath(const KernelText &kernel, const std::string &chip, const std::string &version) {
  std::string folder = cacheFolder();
  if (folder.empty())
    return {};
  Hasher hasher;
  std::vector<std::string> parts = compileFlags(chip, kernel.options);
  parts.push_back(kernel.source);
  parts.push_back(version);
  for (const std::string &part : parts) {
    hasher.add(part);
    hasher.add(std::string_view("\0", 1));
  }
  return folder + "/cubins/" + hasher.digest128() + ".cubin";
}

static Result<std::vector<std::byte>> compileOne(const KernelText &kernel, const std::string &chip,
                                                 const std::string &version) {
  std::string path = cachePath(kernel, chip, version);
  if (!path.empty())
    if (auto file = MappedFile::open(path))
      return std::vector<std::byte>(file->bytes().begin(), file->bytes().end());
  FUSEBOX_ASSIGN(CompiledModule compiled,
                 compileCuda(kernel.source, kernel.name + ".cu", chip, kernel.options));
  // The cache only saves time: a folder that can't be written is no error.
  if (!path.empty() && makeFolders(cacheFolder() + "/cubins"))
    (void)writeFileAtomically(path, compiled.cubin);
  return std::move(compiled.cubin);
}

Result<std::vector<std::vector<std::byte>>> compileCubins(std::span<const KernelText> kernels,
                                                          const std::string &chip, unsigned threads,
                                                          const CompileProgress &progress) {
  FUSEBOX_ASSIGN(std::string version, nvrtcVersion());
  std::mutex reporting;
  size_t finished = 0;
  std::atomic<bool> cancelled = false;
  auto report = [&] {
    std::scoped_lock lock(reporting);
    ++finished;
    if (progress && !progress("compiling kernels for " + chip, double(finished) / double(kernels.size())))
      cancelled = true;
  };
  std::vector<Result<std::vector<std::byte>>> made(kernels.size(), std::vector<std::byte>());
  parallelFor(kernels.size(), threads, [&](size_t i) {
    if (cancelled)
      return;
    made[i] = compileOne(kernels[i], chip, version);
    report();
  });
  if (cancelled)
    return resourceError("compiling kernels for " + chip + " was cancelled");
  std::vector<std::vector<std::byte>> cubins;
  for (auto &cubin : made) {
    FUSEBOX_TRY(cubin);
    cubins.push_back(std::move(*cubin));
  }
  return cubins;
}

} // namespace fusebox::cuda
