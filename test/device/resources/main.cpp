// Compiles every CUDA kernel that the plans of some models use to cubin, for several chips, and prints what
// each takes of a multiprocessor. Needs NVRTC and shapes, neither a GPU nor weights
// (tools/kernel-resources.sh makes such models). Fails if a kernel does not compile, or if a product,
// attention or all layers' kernel spills registers on sm_90a.
#include "codegen/cuda/CudaCodegen.h"
#include "compiler/Compile.h"
#include "ir/layer/LayerOps.h"
#include "runtime/cuda/Nvrtc.h"
#include "support/AtomicFile.h"
#include "support/ContentHash.h"
#include "support/Hash.h"
#include "support/MappedFile.h"
#include "support/ParallelFor.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>
#include <thread>

using namespace fusebox;

namespace {

[[noreturn]] void fail(const std::string &message) {
  std::fprintf(stderr, "FAILED: %s\n", message.c_str());
  std::_Exit(1);
}
template <class T> T expect(Result<T> result) {
  if (!result)
    fail(result.error().message);
  return std::move(*result);
}

/// One instance on one chip; several plans share it.
struct Instance {
  std::string chip, kernel, name, source;
  uint64_t dynamicShared = 0;
  cuda::KernelResources resources;
};

class Kernels {
public:
  Kernels() { context.loadDialect<layer::LayerDialect, plan::PlanDialect>(); }

  /// Adds the kernels of a model's plan.
  void add(const std::string &model, DType type, const std::string &chip) {
    CompileOptions options;
    options.targets = {"cuda:" + chip};
    options.dtype = type;
    options.stopAfter = Phase::Schedule;
    CompiledPlan plan = expect(compileModel(model, options));
    auto module = mlir::parseSourceString<mlir::ModuleOp>(plan.ir, &context);
    if (!module)
      fail(model + ": its scheduled IR can't be read back");
    for (auto program : module->getOps<plan::ProgramOp>())
      for (auto target : program.getBody().getOps<plan::TargetOp>())
        addProgram(program, target);
  }

  std::vector<Instance> take() {
    std::vector<Instance> all;
    for (auto &[key, instance] : instances)
      all.push_back(std::move(instance));
    return all;
  }
  size_t uses = 0;

private:
  mlir::MLIRContext context;
  std::map<std::string, Instance> instances; ///< by chip and source

  void addProgram(plan::ProgramOp program, plan::TargetOp target) {
    llvm::SmallVector<plan::KernelOp> kernels;
    std::vector<cuda::KernelText> texts;
    if (failed(cudaSources(program, target, kernels, texts)))
      fail("a kernel can't be emitted");
    std::string chip = target.getMachine().str();
    for (size_t i = 0; i < kernels.size(); ++i, ++uses)
      instances.try_emplace(chip + texts[i].source, Instance{chip,
                                                             kernels[i].getTemplateName().str(),
                                                             kernels[i].getSymName().str(),
                                                             texts[i].source,
                                                             kernels[i].getScratchBytes(),
                                                             {}});
  }
};

/// What ptxas said of an instance, kept by content: source, chip and NVRTC's version.
void measure(Instance &instance, const std::string &version) {
  Hasher hasher;
  for (std::string_view part :
       {std::string_view(instance.source), std::string_view(instance.chip), std::string_view(version)}) {
    hasher.add(part);
    hasher.add(std::string_view("\0", 1));
  }
  std::string folder = cacheFolder() + "/kernel-resources", path = folder + "/" + hasher.digest128() + ".log",
              log;
  if (auto known = MappedFile::open(path)) {
    log.assign(reinterpret_cast<const char *>(known->bytes().data()), known->bytes().size());
  } else {
    log = expect(cuda::compileCuda(instance.source, instance.name + ".cu", instance.chip)).log;
    if (makeFolders(folder))
      (void)writeFileAtomically(path, std::as_bytes(std::span(log)));
  }
  std::vector<cuda::KernelResources> kernels = cuda::parseResourceLog(log);
  if (kernels.size() != 1)
    fail(instance.name + ": ptxas reports " + std::to_string(kernels.size()) + " kernels, not one:\n" + log);
  instance.resources = kernels.front();
}

/// Products of few rows, attention and what does both for all layers: their inner loops must not touch local
/// memory.
bool mustNotSpill(const Instance &instance) {
  return instance.chip == "sm_90a" &&
         (instance.kernel == "linear_skinny" || instance.kernel == "linear_any" ||
          instance.kernel == "decode_loop" || instance.kernel.starts_with("attention_"));
}

int printTable(const std::vector<Instance> &instances, bool all) {
  struct Row {
    size_t count = 0;
    unsigned registers = 0, spills = 0, stack = 0;
    uint64_t shared = 0;
  };
  std::map<std::pair<std::string, std::string>, Row> rows;
  int failures = 0;
  for (const Instance &i : instances) {
    const cuda::KernelResources &r = i.resources;
    uint64_t shared = r.sharedBytes + i.dynamicShared;
    if (all)
      std::printf("%-7s %-44s %3u registers, %4u bytes spilled, %4u stack, %6llu shared\n", i.chip.c_str(),
                  i.name.c_str(), r.registers, r.spillBytes, r.stackBytes,
                  static_cast<unsigned long long>(shared));
    Row &row = rows[{i.chip, i.kernel}];
    ++row.count;
    row.registers = std::max(row.registers, r.registers);
    row.spills = std::max(row.spills, r.spillBytes);
    row.stack = std::max(row.stack, r.stackBytes);
    row.shared = std::max(row.shared, shared);
    if (mustNotSpill(i) && r.spillBytes != 0) {
      std::printf("FAIL %s spills %u bytes on %s\n", i.name.c_str(), r.spillBytes, i.chip.c_str());
      ++failures;
    }
  }
  std::printf("%-7s %-20s %9s  most: registers, bytes spilled, stack, shared\n", "chip", "kernel",
              "instances");
  for (const auto &[key, row] : rows)
    std::printf("%-7s %-20s %9zu  %15u %14u %6u %7llu\n", key.first.c_str(), key.second.c_str(), row.count,
                row.registers, row.spills, row.stack, static_cast<unsigned long long>(row.shared));
  return failures;
}

} // namespace

int main(int argc, char **argv) {
  std::string chips = "sm_90a";
  bool all = false;
  std::vector<std::string> models;
  for (int i = 1; i < argc; ++i) {
    std::string arg = argv[i];
    if (arg == "--chips" && i + 1 < argc)
      chips = argv[++i];
    else if (arg == "--all")
      all = true;
    else if (arg[0] != '-')
      models.push_back(arg);
    else
      models.clear(), i = argc;
  }
  if (models.empty()) {
    std::fputs("usage: fusebox-kernel-resources [--chips sm_80,sm_89,sm_90a,sm_100] [--all] MODEL...\n"
               "  MODEL, or MODEL=f32: a model's folder or GGUF, and the type of its activations (bf16)\n"
               "  --all   a line for each kernel, not only for each kind\n",
               stderr);
    return 10;
  }
  std::string version = expect(cuda::nvrtcVersion());
  Kernels kernels;
  std::istringstream list(chips);
  for (std::string chip; std::getline(list, chip, ',');)
    for (const std::string &model : models) {
      bool f32 = model.ends_with("=f32");
      kernels.add(f32 ? model.substr(0, model.size() - 4) : model, f32 ? DType::F32 : DType::BF16, chip);
    }
  size_t uses = kernels.uses;
  std::vector<Instance> instances = kernels.take();
  parallelFor(instances.size(), std::thread::hardware_concurrency(),
              [&](size_t i) { measure(instances[i], version); });
  int failures = printTable(instances, all);
  std::printf("%zu different kernels of %zu in plans; NVRTC %s\n", instances.size(), uses, version.c_str());
  return failures ? 1 : 0;
}
