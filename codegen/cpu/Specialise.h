// One kernel's LLVM module with its shape made constant. Private to codegen/cpu.
#pragma once

#include "codegen/cpu/CpuCodegen.h"

#include "llvm/IR/Module.h"

#include <memory>

namespace fusebox::cpu {

/// The kernel of `request` as a module that defines one external function of type KernelFn, named
/// request.name. Shape constants are folded through the kernel's dispatch and code they exclude is gone;
/// nothing else is optimised yet.
Result<std::unique_ptr<llvm::Module>> specialisedModule(llvm::LLVMContext &context,
                                                        const KernelRequest &request, const CpuTarget &target,
                                                        Specialise specialise);

} // namespace fusebox::cpu
