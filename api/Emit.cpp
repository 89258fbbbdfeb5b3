// What was generated for a plan's GPU kernels: source, PTX, cubin, SASS.
#include "api/Compile.h"

#include "codegen/cuda/Sass.h"
#include "runtime/cuda/Nvrtc.h"

#include <functional>
#include <set>

using namespace fusebox;

namespace {

using Code = std::vector<std::byte>;

Code bytesOf(const std::string &text) {
  auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Result<Code> codeOf(const plan::Module &module, const std::string &form, const std::string &chip) {
  if (form == "cuda")
    return bytesOf(module.source);
  if (form == "ptx") {
    FUSEBOX_ASSIGN(cuda::CompiledModule compiled, cuda::compileCuda(module.source, module.name + ".cu", chip,
                                                                    module.options, /*wantPtx=*/true));
    return bytesOf(compiled.ptx);
  }
  for (const plan::Cubin &cubin : module.cubins)
    if (cubin.chip == chip) {
      if (form == "cubin")
        return cubin.bytes;
      FUSEBOX_ASSIGN(std::string sass, cuda::disassembleCubin(cubin.bytes));
      return bytesOf(sass);
    }
  return modelError("the plan has no cubin of " + module.name + " for " + chip);
}

/// Gives out the modules of one program; false if `emitted` ended it.
Result<bool>
emitProgram(const plan::Program &program, const std::string &form, const char *kernelName,
            const std::function<bool(const std::string &, const std::string &, const Code &)> &emitted,
            bool &found) {
  std::set<uint32_t> done;
  for (const plan::Kernel &kernel : program.kernels) {
    const plan::Module &module = program.modules[kernel.module];
    bool wanted = !kernelName || kernel.name == kernelName || module.name == kernelName;
    if (!wanted || !done.insert(kernel.module).second)
      continue;
    found = true;
    const std::string &chip = program.targets[kernel.target].name;
    FUSEBOX_ASSIGN(Code code, codeOf(module, form, chip));
    if (!emitted("cuda:" + chip, kernel.name, code))
      return false;
  }
  return true;
}

} // namespace

fusebox_status fusebox_emit(const char *model, const char *form, const char *kernel,
                            const fusebox_compile_options *given, fusebox_emitted emitted, void *user) {
  return api::guarded([&]() -> Result<void> {
    const std::string what = form;
    if (what != "cuda" && what != "ptx" && what != "cubin" && what != "sass")
      return usageError("emit: '" + what + "' is not one of cuda, ptx, cubin, sass");
    FUSEBOX_ASSIGN(fusebox_compile_options options, api::complete(given, fusebox_compile_options_init));
    FUSEBOX_ASSIGN(std::string path, api::planPath(model, options));
    FUSEBOX_ASSIGN(plan::PlanReader reader, plan::PlanReader::open(path));
    bool anyGpu = false, found = false;
    for (const plan::Section &section : reader.sections()) {
      if (section.kind != plan::SectionKind::Program)
        continue;
      FUSEBOX_ASSIGN(plan::Program program, reader.readProgram(section));
      if (program.targets[0].kind != plan::TargetKind::Cuda)
        continue;
      anyGpu = true;
      FUSEBOX_ASSIGN(bool goOn,
                     emitProgram(
                         program, what, kernel,
                         [&](const std::string &target, const std::string &name, const Code &code) {
                           return emitted(user, target.c_str(), name.c_str(), code.data(), code.size()) == 0;
                         },
                         found));
      if (!goOn)
        return resourceError("emit was cancelled");
    }
    if (!anyGpu)
      return usageError(path +
                        ": has no code for a GPU; compile with --target cuda:sm_90a (inspect --asm shows a "
                        "CPU kernel's)");
    if (!found)
      return usageError(std::string("no GPU kernel '") + kernel + "'; `inspect --show kernels` lists them");
    return {};
  });
}
