// The weight analysis of the C interface.
#include "api/Api.h"
#include "check/RunCheck.h"

using namespace fusebox;

fusebox_status fusebox_check(const char *model, const char *options, char **report) {
  int verdict = FUSEBOX_OK;
  fusebox_status done = api::guarded([&]() -> Result<void> {
    FUSEBOX_TRY(api::refusePlan(model, "check"));
    FUSEBOX_ASSIGN(CheckJson checked, checkToJson(model, options ? options : ""));
    *report = api::copyString(checked.report);
    verdict = checked.exitCode;
    return {};
  });
  return done == FUSEBOX_OK ? fusebox_status(verdict) : done;
}
