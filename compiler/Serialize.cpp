// The last phase: programs, IR texts, remarks, tokenizer and metadata become the sections of a plan file.
#include "compiler/Compilation.h"

#include "codegen/plan/BuildProgram.h"
#include "frontends/Resolve.h"
#include "frontends/gguf/GgufTokenizer.h"
#include "runtime/text/LoadText.h"
#include "support/ContentHash.h"

#include <nlohmann/json.hpp>

#include <filesystem>

using namespace mlir;
using namespace fusebox;

/// Verdicts are dictionaries of texts, numbers and flags; what doesn't apply is NaN there and null in JSON.
static nlohmann::ordered_json toJson(Attribute attribute) {
  nlohmann::ordered_json json;
  if (auto array = dyn_cast<ArrayAttr>(attribute)) {
    json = nlohmann::ordered_json::array();
    for (Attribute element : array)
      json.push_back(toJson(element));
  } else if (auto dictionary = dyn_cast<DictionaryAttr>(attribute)) {
    for (NamedAttribute entry : dictionary)
      json[entry.getName().str()] = toJson(entry.getValue());
  } else if (auto flag = dyn_cast<BoolAttr>(attribute)) {
    json = flag.getValue();
  } else if (auto integer = dyn_cast<IntegerAttr>(attribute)) {
    json = integer.getInt();
  } else if (auto real = dyn_cast<FloatAttr>(attribute)) {
    json = real.getValueAsDouble();
  } else if (auto text = dyn_cast<StringAttr>(attribute)) {
    json = text.str();
  }
  return json;
}

Result<void> Compilation::serialize() {
  for (auto op : module->getOps<plan::ProgramOp>()) {
    FailureOr<plan::Program> program = buildProgram(op);
    if (failed(program))
      return takeErrors(ErrorKind::Model, "the plan can't be built");
    FUSEBOX_TRY(describeFiles(*program));
    result.writer.addProgram(op.getSymName().str(), *program);
  }
  for (const auto &[phase, text] : texts)
    result.writer.addText(phase < Phase::SelectKernels ? plan::SectionKind::LayerIr
                                                       : plan::SectionKind::PlanIr,
                          std::string(phaseName(phase)), text);
  nlohmann::ordered_json remarks = {{"remarks", result.remarks},
                                    {"verdicts", verdicts ? toJson(verdicts) : nlohmann::ordered_json()}};
  result.writer.addText(plan::SectionKind::Remarks, "", remarks.dump());
  result.writer.addText(plan::SectionKind::Metadata, "", metadata());
  return addTextAssets();
}

/// Fills in size and content hash of each weight file, and where an embedded one lies.
Result<void> Compilation::describeFiles(plan::Program &program) {
  std::vector<MappedFile> files;
  std::vector<uint64_t> sizes;
  for (plan::WeightFile &record : program.files) {
    FUSEBOX_ASSIGN(MappedFile file, MappedFile::open(record.pathHint));
    record.size = file.bytes().size();
    auto pending = hashes.find(record.pathHint);
    if (pending != hashes.end() && pending->second.valid()) {
      // Programs of several targets share the files.
      Result<std::string> hash = pending->second.get();
      pending->second = std::async(std::launch::deferred, [hash] { return hash; });
      FUSEBOX_ASSIGN(record.contentHash, hash);
    } else {
      FUSEBOX_ASSIGN(record.contentHash,
                     contentHash(file, options.verifyWeights ? HashMemo::Rehash : HashMemo::Use));
    }
    record.pathHint = std::filesystem::absolute(record.pathHint).lexically_normal();
    files.push_back(file);
    sizes.push_back(record.size);
  }
  if (!options.embedWeights)
    return {};
  std::vector<uint64_t> offsets = plan::PlanWriter::embeddedOffsets(sizes);
  for (size_t i = 0; i < offsets.size(); ++i) {
    program.files[i].embedded = true;
    program.files[i].embeddedOffset = offsets[i];
  }
  result.writer.setEmbeddedWeights(std::move(files));
  return {};
}

Result<void> Compilation::addTextAssets() {
  if (modelPath.empty())
    return {};
  TextAssets assets;
  if (loaded && loaded->checkpoint.isGguf()) {
    FUSEBOX_ASSIGN(GgufTokenizerData data, readGgufTokenizer(*loaded->checkpoint.gguf()));
    FUSEBOX_ASSIGN(assets, textAssetsFromGguf(data));
  } else {
    FUSEBOX_ASSIGN(std::string path, resolveModel(modelPath));
    if (!std::filesystem::is_directory(path))
      path = std::filesystem::path(path).parent_path();
    FUSEBOX_ASSIGN(assets, loadTextAssets(path));
  }
  result.writer.addBytes(plan::SectionKind::TextAssets, "", serializeTextAssets(assets));
  return {};
}

std::string Compilation::metadata() const {
  nlohmann::ordered_json json;
  json["model"] = modelPath;
  json["targets"] = nlohmann::json::array();
  for (const TargetSpec &target : targets)
    json["targets"].push_back({{"name", target.name()}, {"features", target.features}});
  json["dtype"] = options.dtype ? std::string(dtypeName(*options.dtype)) : "model's own";
  json["weights"] = options.weights;
  json["rounding"] = options.rounding;
  json["fusion"] = options.fusion;
  json["activations_int8"] = options.activationsInt8;
  json["embed_weights"] = options.embedWeights;
  return json.dump(1);
}
