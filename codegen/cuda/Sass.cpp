#include "codegen/cuda/Sass.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char **environ;

namespace fusebox::cuda {

namespace {

/// A program in the folders where the CUDA toolkit lies; empty if it is in none.
std::string findTool(const char *name) {
  std::vector<std::string> folders;
  std::istringstream path(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(path, folder, ':');)
    folders.push_back(folder);
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *home = std::getenv(variable))
      folders.push_back(std::string(home) + "/bin");
  folders.push_back("/usr/local/cuda/bin");
  for (const std::string &folder : folders) {
    std::string file = folder + "/" + name;
    if (!folder.empty() && access(file.c_str(), X_OK) == 0)
      return file;
  }
  return {};
}

/// A file that goes with the object.
class TemporaryFile {
public:
  TemporaryFile() : descriptor(mkstemp(path)) {}
  ~TemporaryFile() {
    if (descriptor >= 0) {
      close(descriptor);
      unlink(path);
    }
  }
  char path[32] = "/tmp/fusebox-cubin-XXXXXX";
  int descriptor;
};

/// What a program prints; fails with its exit code.
Result<std::string> outputOf(const std::string &program, const std::vector<std::string> &arguments) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0)
    return resourceError(program + ": no pipe for its output: " + std::strerror(errno));
  std::vector<char *> words = {const_cast<char *>(program.c_str())};
  for (const std::string &argument : arguments)
    words.push_back(const_cast<char *>(argument.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  pid_t child = 0;
  int failed = posix_spawn(&child, program.c_str(), &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe[1]);
  std::string text;
  char part[65536];
  for (ssize_t count; (count = read(pipe[0], part, sizeof part)) > 0;)
    text.append(part, size_t(count));
  close(pipe[0]);
  int status = 0;
  if (failed || waitpid(child, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return resourceError(program + " can't disassemble the cubin; it may be older than the chip");
  return text;
}

} // namespace

Result<std::string> disassembleCubin(std::span<const std::byte> cubin) {
  std::string nvdisasm = findTool("nvdisasm"), cuobjdump = nvdisasm.empty() ? findTool("cuobjdump") : "";
  if (nvdisasm.empty() && cuobjdump.empty())
    return resourceError(
        "SASS needs nvdisasm or cuobjdump of the CUDA toolkit, and neither is on PATH nor in CUDA_HOME; "
        "install the toolkit, or take --emit=ptx");
  TemporaryFile file;
  if (file.descriptor < 0 || write(file.descriptor, cubin.data(), cubin.size()) != ssize_t(cubin.size()))
    return resourceError(std::string(file.path) + ": can't be written: " + std::strerror(errno));
  return nvdisasm.empty() ? outputOf(cuobjdump, {"-sass", file.path})
                          : outputOf(nvdisasm, {"--print-code", file.path});
}

} // namespace fusebox::cuda
