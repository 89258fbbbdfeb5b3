// Errors, memory and versions of the C interface.
#include "api/Api.h"

#include <cstdlib>

using namespace fusebox;

static thread_local std::string lastError;

fusebox_status api::failure(const Error &error) {
  lastError = error.message;
  return fusebox_status(error.kind);
}

const char *fusebox_last_error(void) { return lastError.c_str(); }

void fusebox_free(void *memory) { std::free(memory); }

const char *fusebox_version(void) { return FUSEBOX_VERSION; }
