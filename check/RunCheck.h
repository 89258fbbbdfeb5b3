// `fusebox check` as a function: models in, reports out.
#pragma once

#include "check/CheckModel.h"

#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace fusebox {

enum class CheckFormat { Text, Json, Markdown, Csv };

struct CheckRun {
  std::vector<std::string> models;
  CheckOptions options;
  bool verbose = false, quiet = false;
  CheckFormat format = CheckFormat::Text;
  std::vector<std::string> exports;   ///< files; the suffix says the form: .json, .md, .csv, .txt
  std::vector<std::string> databases; ///< files or folders to merge
  std::function<Result<void>(CheckReport &)>
      measure;            ///< raises verdicts by a run on text (check/measure), or null
  std::string contribute; ///< database file to write entries to, or empty
};

/// Checks all models, writes reports to `out` and errors to `errors`. Returns the worst exit code: 0
/// compatible, 1 warning, 2 incompatible, ErrorKind's for errors.
int runCheck(const CheckRun &run, std::ostream &out, std::ostream &errors);

/// The C interface's fusebox_check: `options` is a JSON object, or empty, with any of policy, threshold,
/// ratio_limit, amplification_limit, profiles, rounding, activations, cache, verify_weights, threads, and
/// fusion, which adds the decision at load as `fusion` to the report. Fails with ErrorKind::Usage on an
/// unknown key.
struct CheckJson {
  std::string report;
  int exitCode = 0;
};
Result<CheckJson> checkToJson(const std::string &model, const std::string &options);

} // namespace fusebox
