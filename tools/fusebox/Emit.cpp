#include "tools/fusebox/Emit.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

using namespace fusebox;

namespace {
/// Where emitted code goes.
struct Sink {
  std::string folder, suffix; ///< folder empty: standard output
  size_t count = 0;

  /// A file for a kernel: FOLDER/sm_90a/NAME.ptx.
  void take(std::string target, const std::string &kernel, const void *code, size_t size) {
    ++count;
    cli::endProgress();
    if (folder.empty()) {
      std::printf("// %s, %s\n%.*s\n", target.c_str(), kernel.c_str(), int(size),
                  static_cast<const char *>(code));
      return;
    }
    std::filesystem::path place = std::filesystem::path(folder) / target.substr(target.find(':') + 1);
    std::error_code failed;
    std::filesystem::create_directories(place, failed);
    place /= kernel + suffix;
    FILE *file = std::fopen(place.c_str(), "wb");
    if (!file || std::fwrite(code, 1, size, file) != size || std::fclose(file) != 0)
      cli::fail(FUSEBOX_RESOURCE, place.string() + ": cannot be written");
  }
};
} // namespace

CLI::Option *cli::EmitFlags::add(CLI::App &command) {
  auto *emit =
      command
          .add_option("--emit", form,
                      "print what was generated for GPU kernels: cuda (source), ptx, cubin, sass; with -o "
                      "into a folder, a file for each kernel")
          ->check(CLI::IsMember({"cuda", "ptx", "cubin", "sass"}));
  command.add_option("--kernel", kernel, "only this kernel (a name from inspect --show kernels)")
      ->needs(emit);
  return emit;
}

void cli::EmitFlags::run(const std::string &model, const CompileFlags &flags,
                         const std::string &output) const {
  Sink sink{output == "-" ? "" : output, form == "cuda" ? ".cu" : "." + form};
  if (form == "cubin" && sink.folder.empty())
    fail(FUSEBOX_USAGE, "--emit=cubin writes binary files: name a folder with -o");
  fusebox_compile_options options = flags.options();
  auto take = [](void *user, const char *target, const char *kernel, const void *code, size_t size) {
    static_cast<Sink *>(user)->take(target, kernel, code, size);
    return int(interrupted());
  };
  check(fusebox_emit(model.c_str(), form.c_str(), kernel.empty() ? nullptr : kernel.c_str(), &options, take,
                     &sink));
  endProgress();
  if (!sink.folder.empty())
    std::printf("%s: %zu files\n", sink.folder.c_str(), sink.count);
}
