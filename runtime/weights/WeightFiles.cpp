#include "runtime/weights/WeightFiles.h"

#include "support/Hash.h"
#include "support/ParallelFor.h"

#include <filesystem>

using namespace fusebox;
using namespace fusebox::plan;

static std::string locate(const WeightFile &file, const std::string &planPath,
                          const std::string &weightsDir) {
  std::filesystem::path hint(file.pathHint);
  if (!weightsDir.empty())
    return (std::filesystem::path(weightsDir) / hint.filename()).string();
  if (hint.is_absolute())
    return hint.string();
  return (std::filesystem::path(planPath).parent_path() / hint).string();
}

static std::string expectation(const WeightFile &file) {
  return "the plan was compiled from a file of " + std::to_string(file.size) + " bytes with XXH3-128 hash " +
         file.contentHash;
}

static constexpr const char *remedy =
    "put that file back, say where it is with --weights-dir DIR, or compile again";

static Result<void> verify(const WeightFile &file, const MappedFile &found, HashMemo memo) {
  uint64_t size = found.bytes().size();
  if (size != file.size)
    return modelError(found.path() + ": the weight file has " + std::to_string(size) + " bytes, but " +
                      expectation(file) + "; " + remedy);
  FUSEBOX_ASSIGN(std::string hash, contentHash(found, memo));
  if (hash != file.contentHash)
    return modelError(found.path() + ": the weight file has changed (its hash is " + hash +
                      "): " + expectation(file) + "; " + remedy);
  return {};
}

Result<WeightFiles> WeightFiles::open(const Program &program, const PlanReader &reader,
                                      const WeightFileOptions &options, unsigned threads) {
  WeightFiles opened{};
  opened.plan = reader;
  opened.mapped.resize(program.files.size());
  opened.files.resize(program.files.size());
  std::vector<Result<void>> outcomes(program.files.size());
  parallelFor(program.files.size(), threads, [&](size_t i) {
    const WeightFile &file = program.files[i];
    outcomes[i] = [&]() -> Result<void> {
      if (file.embedded) {
        opened.files[i] = reader.embeddedWeights().subspan(file.embeddedOffset, file.size);
        if (hash128(opened.files[i]) != file.contentHash)
          return modelError(reader.path() + ": the weights embedded in the plan are damaged (" +
                            file.pathHint + "); copy or compile it again");
        return {};
      }
      std::string path = locate(file, reader.path(), options.weightsDir);
      auto found = MappedFile::open(path);
      if (!found)
        return modelError(found.error().message + "; " + expectation(file) + "; " + remedy);
      found->expectWholeRead();
      FUSEBOX_TRY(verify(file, *found, options.verify));
      opened.files[i] = found->bytes();
      opened.mapped[i] = std::move(*found);
      return {};
    }();
  });
  for (const Result<void> &outcome : outcomes)
    FUSEBOX_TRY(outcome);
  return opened;
}
