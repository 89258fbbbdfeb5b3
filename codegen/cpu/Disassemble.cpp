#include "codegen/cpu/Disassemble.h"

#include "llvm-c/Disassembler.h"
#include "llvm-c/Target.h"

#include <cstdio>
#include <memory>

using namespace fusebox;

Result<std::string> cpu::disassemble(std::span<const std::byte> code, const std::string &cpu,
                                     const std::string &features) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86Disassembler();
  std::unique_ptr<void, void (*)(LLVMDisasmContextRef)> context(
      LLVMCreateDisasmCPUFeatures("x86_64-unknown-linux-gnu", cpu.c_str(), features.c_str(), nullptr, 0,
                                  nullptr, nullptr),
      LLVMDisasmDispose);
  if (!context)
    return internalError("no disassembler for " + cpu + " with features " + features);
  LLVMSetDisasmOptions(context.get(),
                       LLVMDisassembler_Option_AsmPrinterVariant | LLVMDisassembler_Option_PrintImmHex);

  std::string text;
  auto *bytes = reinterpret_cast<uint8_t *>(const_cast<std::byte *>(code.data()));
  for (size_t at = 0; at < code.size();) {
    char instruction[256];
    size_t length = LLVMDisasmInstruction(context.get(), bytes + at, code.size() - at, at, instruction,
                                          sizeof instruction);
    char line[320];
    std::snprintf(line, sizeof line, "%6zx:%s\n", at, length ? instruction : "\t(not an instruction)");
    text += line;
    at += length ? length : 1;
  }
  return text;
}
