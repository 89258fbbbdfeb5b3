#include "codegen/cpu/Specialise.h"

#include "kernels/cpu/KernelBitcode.h"

#include "llvm/Analysis/CGSCCPassManager.h"
#include "llvm/Analysis/LoopAnalysisManager.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/SROA.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace fusebox;
using namespace fusebox::cpu;
using namespace llvm;

namespace {

Isa isaOf(const CpuTarget &target) {
  if (target.cpu != "x86-64-v4")
    return Isa::Avx2;
  return target.features.find("avx512bf16") != std::string::npos ? Isa::Avx512Bf16 : Isa::Avx512;
}

Result<std::unique_ptr<Module>> parse(LLVMContext &context, const KernelRequest &request, Isa isa) {
  std::span<const char> bitcode = kernelBitcode(request.symbol, isa);
  if (bitcode.empty())
    return internalError("no bitcode of CPU kernel " + request.symbol);
  Expected<std::unique_ptr<Module>> module = getLazyBitcodeModule(
      MemoryBufferRef(StringRef(bitcode.data(), bitcode.size()), request.symbol), context);
  if (!module)
    return internalError("bitcode of CPU kernel " + request.symbol + ": " + toString(module.takeError()));
  return std::move(*module);
}

/// Reads a function's body, if it has not been read.
Result<void> materialise(Function &function) {
  if (llvm::Error error = function.materialize())
    return internalError("bitcode of a CPU kernel: " + toString(std::move(error)));
  return {};
}

/// Whether a field is a size: what code that is specialised to types only must load.
bool isSize(StringRef field) {
  return is_contained({"columns", "groups", "in", "out", "heads", "kvHeads", "headDim", "rotaryDim", "half"},
                      field);
}

/// The shape struct as a constant, fields in the struct's order.
Result<llvm::Constant *> shapeConstant(LLVMContext &context, const KernelRequest &request,
                                       ArrayRef<FieldType> types) {
  SmallVector<llvm::Constant *> values;
  for (const FieldType &type : types) {
    auto found =
        llvm::find_if(request.constants, [&](const auto &field) { return field.first == type.name; });
    if (found == request.constants.end() || std::holds_alternative<double>(found->second) != type.isDouble)
      return internalError("CPU kernel " + request.symbol + ": constant " + type.name +
                           " is missing or of the wrong kind");
    if (type.isDouble)
      values.push_back(ConstantFP::get(Type::getDoubleTy(context), std::get<double>(found->second)));
    else
      values.push_back(ConstantInt::getSigned(Type::getInt64Ty(context), std::get<int64_t>(found->second)));
  }
  return ConstantStruct::getAnon(values);
}

/// Where the kernel finds its shape: a constant, or a copy on the stack whose sizes are loaded from memory
/// that the optimiser knows nothing about.
Value *shapePointer(IRBuilder<> &builder, Module &module, llvm::Constant *shape, ArrayRef<FieldType> types,
                    Specialise specialise) {
  auto *global =
      new GlobalVariable(module, shape->getType(), true, GlobalValue::InternalLinkage, shape, "shape");
  if (specialise == Specialise::All)
    return global;
  // A weak definition might be replaced, so nothing is folded through it; hidden, it is reached without a
  // table.
  global->setLinkage(GlobalValue::WeakAnyLinkage);
  global->setVisibility(GlobalValue::HiddenVisibility);
  Value *copy = builder.CreateAlloca(shape->getType());
  for (auto [i, type] : enumerate(types)) {
    Value *field = shape->getAggregateElement(i);
    if (isSize(type.name))
      field = builder.CreateLoad(field->getType(), builder.CreateStructGEP(shape->getType(), global, i));
    builder.CreateStore(field, builder.CreateStructGEP(shape->getType(), copy, i));
  }
  return copy;
}

/// Inlines always-inline functions into `function` until none is left: the kernel's dispatch over types.
Result<void> inlineDispatch(Function &function) {
  for (bool changed = true; changed;) {
    changed = false;
    SmallVector<CallBase *> calls;
    for (Instruction &instruction : instructions(function))
      if (auto *call = dyn_cast<CallBase>(&instruction))
        if (Function *callee = call->getCalledFunction();
            callee && !callee->isDeclaration() && callee->hasFnAttribute(Attribute::AlwaysInline))
          calls.push_back(call);
    for (CallBase *call : calls) {
      FUSEBOX_TRY(materialise(*call->getCalledFunction()));
      InlineFunctionInfo info;
      changed |= InlineFunction(*call, info).isSuccess();
    }
  }
  return {};
}

/// Reads the functions that `entry` still calls, and theirs; drops all others, which were never read.
Result<void> keepReachable(Module &module, Function &entry) {
  SmallPtrSet<Function *, 32> reached = {&entry};
  SmallVector<Function *> pending = {&entry};
  while (!pending.empty()) {
    Function *function = pending.pop_back_val();
    FUSEBOX_TRY(materialise(*function));
    for (Instruction &instruction : instructions(*function))
      for (Value *operand : instruction.operands())
        if (auto *used = dyn_cast<Function>(operand->stripPointerCasts());
            used && reached.insert(used).second)
          pending.push_back(used);
  }
  for (Function &function : make_early_inc_range(module))
    if (!reached.contains(&function)) {
      function.deleteBody();
      function.setLinkage(GlobalValue::ExternalLinkage);
    }
  for (Function &function : make_early_inc_range(module))
    if (!reached.contains(&function) && function.use_empty())
      function.eraseFromParent();
  return {};
}

} // namespace

/// Adds the function the runtime calls: (args, step, scratch, task) with the shape in front of them.
static Function *addEntry(Module &module, Function &kernel, const KernelRequest &request,
                          llvm::Constant *shape, ArrayRef<FieldType> types, Specialise specialise) {
  LLVMContext &context = module.getContext();
  Type *pointer = PointerType::getUnqual(context);
  auto *type = FunctionType::get(Type::getVoidTy(context),
                                 {pointer, pointer, pointer, Type::getInt64Ty(context)}, false);
  Function *entry = Function::Create(type, GlobalValue::ExternalLinkage, request.name, module);
  IRBuilder<> builder(BasicBlock::Create(context, "", entry));
  SmallVector<Value *> args = {shapePointer(builder, module, shape, types, specialise)};
  for (Argument &arg : entry->args())
    args.push_back(&arg);
  builder.CreateCall(&kernel, args);
  builder.CreateRetVoid();
  return entry;
}

/// Every function is compiled for the target, whatever its source was compiled for.
static void setTarget(Module &module, const CpuTarget &target) {
  for (Function &function : module) {
    function.removeFnAttr("tune-cpu");
    function.addFnAttr("target-cpu", target.cpu);
    function.addFnAttr("target-features", target.features);
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("min-legal-vector-width", "512");
    if (!function.isDeclaration())
      function.addFnAttr(Attribute::NoUnwind);
  }
}

/// Folds the shape through `entry`, so that only one variant of the kernel is read and optimised, not all of
/// them.
static void foldDispatch(Function &entry) {
  PassBuilder builder;
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager components;
  ModuleAnalysisManager modules;
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  FunctionPassManager fold;
  fold.addPass(SROAPass(SROAOptions::ModifyCFG));
  fold.addPass(EarlyCSEPass(/*UseMemorySSA=*/true));
  fold.addPass(InstCombinePass());
  fold.addPass(SimplifyCFGPass());
  fold.run(entry, functions);
}

Result<std::unique_ptr<Module>> cpu::specialisedModule(LLVMContext &context, const KernelRequest &request,
                                                       const CpuTarget &target, Specialise specialise) {
  FUSEBOX_ASSIGN(std::vector<FieldType> types, kernelFields(request.symbol));
  FUSEBOX_ASSIGN(llvm::Constant * shape, shapeConstant(context, request, types));
  FUSEBOX_ASSIGN(std::unique_ptr<Module> module, parse(context, request, isaOf(target)));
  Function *kernel = module->getFunction("fusebox_" + request.symbol);
  if (!kernel)
    return internalError("bitcode of CPU kernel " + request.symbol + " does not define fusebox_" +
                         request.symbol);
  for (Function &function : *module)
    if (!function.isDeclaration())
      function.setLinkage(GlobalValue::InternalLinkage);
  kernel->removeFnAttr(Attribute::NoInline);
  kernel->addFnAttr(Attribute::AlwaysInline);
  Function *entry = addEntry(*module, *kernel, request, shape, types, specialise);
  FUSEBOX_TRY(inlineDispatch(*entry));
  foldDispatch(*entry);
  FUSEBOX_TRY(keepReachable(*module, *entry));
  setTarget(*module, target);
  for (Function &function : *module)
    if (&function != entry && !function.isDeclaration()) {
      function.removeFnAttr(Attribute::NoInline);
      function.addFnAttr(Attribute::AlwaysInline);
    }
  return module;
}
