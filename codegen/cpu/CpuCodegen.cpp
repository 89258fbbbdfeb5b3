#include "codegen/cpu/CpuCodegen.h"

#include "codegen/cpu/ImageBuilder.h"
#include "codegen/cpu/Specialise.h"

#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/Analysis/TargetTransformInfo.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace llvm;

namespace {

constexpr StringLiteral triple = "x86_64-unknown-linux-gnu";

Result<std::unique_ptr<TargetMachine>> targetMachine(const CpuTarget &target) {
  static std::once_flag initialised;
  std::call_once(initialised, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
  std::string message;
  const llvm::Target *found = TargetRegistry::lookupTarget(Triple(triple), message);
  if (!found)
    return internalError("LLVM: " + message);
  TargetOptions options;
  options.AllowFPOpFusion = FPOpFusion::Strict;
  return std::unique_ptr<TargetMachine>(
      found->createTargetMachine(Triple(triple), target.cpu, target.features, options, Reloc::PIC_,
                                 CodeModel::Small, CodeGenOptLevel::Default));
}

/// LLVM's O2 pipeline without its vectorisers (kernels are written in vectors) and without library functions
/// (an image has none, so no loop may become a call of memset).
void optimise(Module &module, TargetMachine &machine) {
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopInterleaving = false;
  tuning.CallGraphProfile = false;
  PassBuilder builder(&machine, tuning);
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager components;
  ModuleAnalysisManager modules;
  TargetLibraryInfoImpl library(machine.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(OptimizationLevel::O2).run(module, modules);
}

Result<SmallVector<char, 0>> compileOne(const KernelRequest &request, const CpuTarget &target,
                                        Specialise specialise, CodeGenFileType fileType) {
  LLVMContext context;
  FUSEBOX_ASSIGN(std::unique_ptr<TargetMachine> machine, targetMachine(target));
  FUSEBOX_ASSIGN(std::unique_ptr<Module> module, specialisedModule(context, request, target, specialise));
  module->setTargetTriple(machine->getTargetTriple());
  module->setDataLayout(machine->createDataLayout());
  optimise(*module, *machine);
  SmallVector<char, 0> output;
  raw_svector_ostream stream(output);
  legacy::PassManager emit;
  if (machine->addPassesToEmitFile(emit, stream, nullptr, fileType, /*DisableVerify=*/true))
    return internalError("LLVM cannot emit code for " + target.cpu);
  emit.run(*module);
  return output;
}

} // namespace

Result<CompiledImage> cpu::compileCpuKernels(std::span<const KernelRequest> requests, const CpuTarget &target,
                                             Specialise specialise, unsigned threads) {
  std::vector<KernelObject> objects(requests.size());
  std::vector<std::optional<fusebox::Error>> errors(requests.size());
  std::atomic<size_t> next = 0;
  auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < requests.size();) {
      auto object = compileOne(requests[i], target, specialise, CodeGenFileType::ObjectFile);
      objects[i].entry = requests[i].name;
      if (object)
        objects[i].bytes = std::move(*object);
      else
        errors[i] = object.error();
    }
  };
  if (threads == 0)
    threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (unsigned i = 1; i < std::min<size_t>(threads, requests.size()); ++i)
    others.emplace_back(work);
  work();
  for (std::thread &other : others)
    other.join();
  for (const auto &error : errors)
    if (error)
      return *error;
  return buildImage(objects);
}

Result<std::string> cpu::kernelAssembly(const KernelRequest &request, const CpuTarget &target) {
  FUSEBOX_ASSIGN(auto text, compileOne(request, target, Specialise::All, CodeGenFileType::AssemblyFile));
  return std::string(text.begin(), text.end());
}
