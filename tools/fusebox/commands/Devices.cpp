// fusebox devices: what plans can run on here, and why something else can't be used.
#include "tools/fusebox/Cli.h"

#include <cstdio>
#include <nlohmann/json.hpp>

using namespace fusebox;

static void printDevices(bool asJson) {
  char *text = nullptr;
  cli::check(fusebox_devices(&text));
  std::string content = cli::takeString(text);
  if (asJson) {
    std::printf("%s\n", content.c_str());
    return;
  }
  for (const auto &device : nlohmann::json::parse(content)) {
    std::string name = device["name"], target = device.value("target", ""), reason = device["reason"];
    if (device["usable"] && device["kind"] == "library")
      std::printf("%-24s %s\n", (name + " " + device["version"].get<std::string>()).c_str(),
                  device["purpose"].get<std::string>().c_str());
    else if (device["usable"])
      std::printf("%-24s --target %s, %.1f GB\n", name.c_str(), target.c_str(),
                  device["memory_bytes"].get<double>() / 1e9);
    else
      std::printf("%-24s not usable: %s\n", name.c_str(), reason.c_str());
  }
}

void cli::addDevicesCommand(CLI::App &app) {
  auto json = std::make_shared<bool>(false);
  CLI::App &sub = *app.add_subcommand("devices", "List the devices that plans can run on here");
  sub.add_flag("--json", *json, "as JSON");
  sub.footer("Example:\n  fusebox devices --json");
  sub.callback([json] { printDevices(*json); });
}
