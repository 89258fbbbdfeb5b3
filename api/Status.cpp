// Errors, memory, versions and devices of the C interface.
#include "api/Api.h"
#include "runtime/device/ListDevices.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

using namespace fusebox;

static thread_local std::string lastError;

fusebox_status api::failure(const Error &error) {
  lastError = error.message;
  return fusebox_status(error.kind);
}

const char *fusebox_last_error(void) { return lastError.c_str(); }

void fusebox_free(void *memory) { std::free(memory); }

const char *fusebox_version(void) { return FUSEBOX_VERSION; }

fusebox_status fusebox_devices(char **json) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(std::vector<DeviceInfo> devices, listDevices());
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const DeviceInfo &device : devices)
      list.push_back({{"kind", device.kind == plan::TargetKind::Cpu ? "cpu" : "cuda"},
                      {"index", device.index},
                      {"name", device.name},
                      {"target", device.target},
                      {"memory_bytes", device.memoryBytes},
                      {"usable", device.usable},
                      {"reason", device.reason}});
    for (const LibraryInfo &library : listLibraries())
      list.push_back({{"kind", "library"},
                      {"name", library.name},
                      {"version", library.version},
                      {"purpose", library.purpose},
                      {"usable", library.reason.empty()},
                      {"reason", library.reason}});
    *json = api::copyString(list.dump(2));
    return {};
  });
}
