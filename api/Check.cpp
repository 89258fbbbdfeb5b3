// The weight analysis of the C interface.
#include "api/Api.h"
#include "check/CheckModel.h"

#include <nlohmann/json.hpp>

using namespace fusebox;

static Result<CheckOptions> checkOptions(const char *text) {
  CheckOptions options;
  if (!text)
    return options;
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return usageError("fusebox_check: the options are not a JSON object");
  for (const auto &[key, value] : json.items()) {
    if (key == "policy" && value == "score")
      options.policy = CheckPolicy::Score;
    else if (key == "policy" && value == "certified")
      options.policy = CheckPolicy::Certified;
    else if (key == "threshold" && value.is_number())
      options.threshold = value.get<double>();
    else if (key == "ratio_limit" && value.is_number())
      options.ratioLimit = value.get<double>();
    else if (key == "amplification_limit" && value.is_number())
      options.amplificationLimit = value.get<double>();
    else if (key == "profiles" && value.is_array())
      options.profiles = value.get<std::vector<std::string>>();
    else if (key == "use_cache" && value.is_boolean())
      options.useCache = value.get<bool>();
    else if (key == "verify_weights" && value.is_boolean())
      options.verifyWeights = value.get<bool>();
    else
      return usageError("fusebox_check: option '" + key + "': " + value.dump() +
                        " is not known (docs/check.md)");
  }
  return options;
}

fusebox_status fusebox_check(const char *model, const char *options, char **report) {
  Status status = Status::Compatible;
  fusebox_status done = api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(CheckOptions request, checkOptions(options));
    FUSEBOX_ASSIGN(CheckReport checked, checkModel(model, request));
    *report = api::copyString(reportJson(checked).dump(2));
    status = checked.status;
    return {};
  });
  return done == FUSEBOX_OK ? fusebox_status(exitCode(status)) : done;
}
