// The C interface's compile options as the compiler takes them.
#pragma once

#include "api/Api.h"
#include "compiler/Compile.h"

namespace fusebox::api {

Result<CompileOptions> compileOptions(const fusebox_compile_options &options);

/// Checks the model's weights under the fusion policy and hands the warnings to the options' callback. The
/// result of a check is cached, so this takes milliseconds the second time.
Result<void> checkBeforeCompiling(const std::string &model, const fusebox_compile_options &options);

/// Path of a plan for `model`: itself if it is one, else the cached plan, compiled first if there is none.
Result<std::string> planPath(const std::string &model, const fusebox_compile_options &options);

} // namespace fusebox::api
