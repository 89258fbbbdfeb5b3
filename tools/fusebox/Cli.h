// What the subcommands of `fusebox` share: options, progress, errors, interruption.
#pragma once

#include "include/fusebox.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace fusebox::cli {

/// Thrown by a subcommand to end the program with this exit code; the message has been printed.
struct Exit {
  int code;
};

/// Prints `fusebox: MESSAGE` on standard error and ends with `status`.
[[noreturn]] void fail(fusebox_status status, const std::string &message);

/// Ends with the library's last error unless `status` is FUSEBOX_OK; what failed because it was interrupted
/// ends as endInterrupted() does.
void check(fusebox_status status);

/// What shells report of a program that Ctrl-C ended.
constexpr int interruptedExitCode = 130;
/// Ends the program after Ctrl-C.
[[noreturn]] void endInterrupted();

/// True once Ctrl-C (or SIGTERM) has been seen. The first one asks the running step to stop; a second one
/// kills.
bool interrupted();
void installInterruptHandler();

/// Draws one line of progress on a terminal's standard error; nothing elsewhere.
int showProgress(void *user, const char *stage, double fraction);
/// Wipes the line of progress.
void endProgress();

/// Options that say how a model is compiled; the same for every subcommand.
struct CompileFlags {
  std::string target = "cpu", dtype = "bf16", weights = "native", rounding = "sdpa", fusion = "certified";
  std::string startFrom;
  bool activationsInt8 = false, embedWeights = false, verifyWeights = false, forceFused = false;

  void add(CLI::App &command);
  /// The options as the C interface takes them; they point into this object.
  fusebox_compile_options options() const;
};

/// Options that say how a plan is run.
struct OpenFlags {
  CompileFlags compile;
  int threads = 0, context = 0, chunk = 0;
  std::string memory, weightsDir, device;

  void add(CLI::App &command);
  /// The options as the C interface takes them; they point into this object and to `compileOptions`.
  fusebox_open_options options(const fusebox_compile_options &compileOptions) const;
};

struct SessionCloser {
  void operator()(fusebox_session *session) const { fusebox_close(session); }
};
using Session = std::unique_ptr<fusebox_session, SessionCloser>;
struct TokenizerCloser {
  void operator()(fusebox_tokenizer *tokenizer) const { fusebox_close_tokenizer(tokenizer); }
};
using Tokenizer = std::unique_ptr<fusebox_tokenizer, TokenizerCloser>;

/// Opens MODEL or ends the program.
Session openSession(const std::string &model, const OpenFlags &flags);

/// Takes over a string the library gave out.
std::string takeString(char *text);

/// JSON on one line; bytes that are no UTF-8 become replacement characters.
std::string dumpJson(const nlohmann::ordered_json &value);

/// Token ids from `1,504,…` or from a file that holds such a list (commas or white space between).
std::vector<int32_t> parseIds(const std::string &listOrFile);

std::vector<int32_t> tokenize(fusebox_tokenizer *tokenizer, const std::string &text, bool addSpecial);

/// A file's whole content, or standard input's for "-"; ends the program if it can't be read.
std::string readFile(const std::string &path);

/// Bytes from "8G", "512M", "1.5GiB" or a plain number.
uint64_t parseBytes(const std::string &text);

void addCheckCommand(CLI::App &app);
void addRebalanceCommand(CLI::App &app);
void addCompileCommand(CLI::App &app);
void addRunCommand(CLI::App &app);
void addChatCommand(CLI::App &app);
void addDevicesCommand(CLI::App &app);
void addInspectCommand(CLI::App &app);
void addBenchCommand(CLI::App &app);
void addTokenizeCommand(CLI::App &app);
void addLogitsCommand(CLI::App &app);

} // namespace fusebox::cli
