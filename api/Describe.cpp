// What `inspect` shows of a plan: metadata, memory, kernels, weights, remarks, and machine code.
#include "api/Compile.h"
#include "codegen/cpu/Disassemble.h"
#include "codegen/cuda/Sass.h"
#include "runtime/plan/PlanFile.h"
#include "runtime/session/Memory.h"

#include <algorithm>
#include <nlohmann/json.hpp>

using namespace fusebox;
using nlohmann::ordered_json;

Result<plan::Program> api::firstProgram(const plan::PlanReader &reader) {
  const plan::Section *section = reader.find(plan::SectionKind::Program);
  if (!section)
    return modelError(reader.path() + ": the plan holds no program; compile it again");
  return reader.readProgram(*section);
}

static ordered_json describeModel(const plan::PlanReader &reader, const plan::Program &program) {
  ordered_json targets = ordered_json::array();
  for (const plan::Section &section : reader.sections())
    if (section.kind == plan::SectionKind::Program)
      targets.push_back(section.name);
  return {{"name", program.model.name},
          {"family", program.model.family},
          {"vocabulary", program.model.vocabulary},
          {"layers", program.model.layers},
          {"max_position", program.model.maxPosition},
          {"activations", dtypeName(program.model.dtype)},
          {"targets", targets}};
}

static ordered_json describeMemory(const plan::Program &program) {
  uint64_t weights = 0;
  for (const plan::Weight &weight : program.weights)
    weights += weight.bytes * weight.instances.size();
  uint64_t kv = 0;
  for (const plan::KvCache &cache : program.kvCaches)
    kv += cache.layers * cache.pageBytes / cache.pageTokens;
  ordered_json result = {{"weights", formatBytes(weights)}, {"kv_cache_per_token", formatBytes(kv)}};
  static constexpr const char *extents[] = {"fixed", "per token", "per logits row", "per sequence"};
  for (unsigned extent = 0; extent < plan::extentCount; ++extent) {
    uint64_t used = 0, scratch = program.arenaUnreused[extent];
    for (const plan::Buffer &buffer : program.buffers)
      if (unsigned(buffer.extent) == extent)
        used = std::max(used, buffer.offsetPerUnit + buffer.bytesPerUnit);
    if (used)
      result[std::string("arena ") + extents[extent]] =
          formatBytes(used) + " (" + formatBytes(scratch) + " without reuse, " +
          formatBytes(scratch > used ? scratch - used : 0) + " saved)";
  }
  return result;
}

static ordered_json describeKernels(const plan::Program &program) {
  std::vector<unsigned> launches(program.kernels.size()), loops(program.kernels.size());
  for (const plan::Launch &launch : program.launches) {
    for (const plan::Variant &variant : launch.variants)
      launches[variant.kernel] += !variant.loop;
    loops[launch.variants.front().kernel] += plan::loopBlocks(launch) > 0;
  }
  ordered_json list = ordered_json::array();
  for (size_t i = 0; i < program.kernels.size(); ++i) {
    const plan::Kernel &kernel = program.kernels[i];
    list.push_back({{"name", kernel.name}, {"launches", launches[i]}, {"scratch", kernel.scratchBytes}});
    if (kernel.product.in != 0)
      list.back()["or"] = "cuBLASLt";
    if (loops[i] != 0)
      list.back()["loops"] = loops[i];
  }
  return list;
}

static std::string recipeText(const std::vector<plan::RecipeOp> &recipe) {
  static constexpr const char *names[] = {"widen", "unpermute_rope", "concatenate", "interleave",
                                          "slice", "repack",         "scale",       "add_one"};
  std::string text;
  for (const plan::RecipeOp &op : recipe) {
    text += (text.empty() ? "" : ", ") + std::string(names[unsigned(op.kind)]);
    for (int64_t arg : op.args)
      text += " " + std::to_string(arg);
  }
  return text.empty() ? "in place" : text;
}

static ordered_json describeWeights(const plan::Program &program) {
  ordered_json list = ordered_json::array();
  for (const plan::WeightFile &file : program.files)
    list.push_back({{"file", file.pathHint},
                    {"size", file.size},
                    {"content", file.contentHash},
                    {"embedded", file.embedded}});
  for (const plan::Weight &weight : program.weights)
    list.push_back({{"name", weight.name},
                    {"type", dtypeName(weight.dtype)},
                    {"shape", weight.shape},
                    {"instances", weight.instances.size()},
                    {"recipe", recipeText(weight.recipe)}});
  return list;
}

static Result<ordered_json> describePlan(const std::string &path) {
  FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
  FUSEBOX_ASSIGN(plan::Program program, api::firstProgram(reader));
  ordered_json result = {{"plan", path},
                         {"model", describeModel(reader, program)},
                         {"memory", describeMemory(program)},
                         {"kernels", describeKernels(program)},
                         {"weights", describeWeights(program)}};
  if (const plan::Section *metadata = reader.find(plan::SectionKind::Metadata)) {
    FUSEBOX_ASSIGN(std::string text, reader.readText(*metadata));
    result["metadata"] = ordered_json::parse(text);
  }
  if (const plan::Section *remarks = reader.find(plan::SectionKind::Remarks)) {
    FUSEBOX_ASSIGN(std::string text, reader.readText(*remarks));
    ordered_json parsed = ordered_json::parse(text);
    result["remarks"] = parsed.is_object() ? parsed.value("remarks", ordered_json::array()) : parsed;
    if (parsed.is_object() && parsed.contains("verdicts"))
      result["verdicts"] = parsed["verdicts"];
  }
  return result;
}

fusebox_status fusebox_describe(const char *model, const fusebox_compile_options *given, char **json) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_compile_options options, api::complete(given, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(std::string path, api::planPath(model, options));
    FUSEBOX_ASSIGN(ordered_json description, describePlan(path));
    *json = api::copyString(description.dump(2));
    return {};
  });
}

/// Machine code of the kernel `name` of a program; a CPU kernel's goes from its entry to the next one.
static Result<std::string> kernelAssembly(const plan::Program &program, const std::string &name) {
  std::string names;
  for (const plan::Kernel &kernel : program.kernels) {
    if (kernel.name != name) {
      names += "\n  " + kernel.name;
      continue;
    }
    for (const plan::Image &image : program.images) {
      if (image.target != kernel.target)
        continue;
      uint64_t end = image.codeBytes;
      for (const plan::Kernel &other : program.kernels)
        if (other.target == kernel.target && other.entry > kernel.entry)
          end = std::min(end, other.entry);
      const plan::Target &target = program.targets[kernel.target];
      return cpu::disassemble(std::span(image.bytes).subspan(kernel.entry, end - kernel.entry), target.name,
                              target.features);
    }
    const plan::Module &module = program.modules[kernel.module];
    if (module.cubins.empty())
      return usageError("kernel '" + name + "' has no machine code in the plan");
    return cuda::disassembleCubin(module.cubins.front().bytes);
  }
  return usageError("no kernel '" + name + "'; there are" + names);
}

fusebox_status fusebox_kernel_asm(const char *model, const char *kernel, const fusebox_compile_options *given,
                                  char **text) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_compile_options options, api::complete(given, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(std::string path, api::planPath(model, options));
    FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
    FUSEBOX_ASSIGN(plan::Program program, api::firstProgram(reader));
    FUSEBOX_ASSIGN(std::string assembly, kernelAssembly(program, kernel));
    *text = api::copyString(assembly);
    return {};
  });
}
