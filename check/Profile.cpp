#include "check/Profile.h"

#include "support/ReadText.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

/// The settings that `limits:` may name.
const std::pair<const char *, double HeuristicLimits::*> settings[] = {
    {"extreme", &HeuristicLimits::extreme},
    {"ratio", &HeuristicLimits::ratio},
    {"amplification", &HeuristicLimits::amplification},
    {"variance", &HeuristicLimits::variance},
    {"error_unit", &HeuristicLimits::errorUnit},
    {"error", &HeuristicLimits::error},
    {"ratio_share", &HeuristicLimits::ratioShare},
    {"amplification_share", &HeuristicLimits::amplificationShare},
    {"extreme_share", &HeuristicLimits::extremeShare},
    {"variance_share", &HeuristicLimits::varianceShare},
    {"incompatible_below", &HeuristicLimits::incompatibleBelow},
    {"warning_below", &HeuristicLimits::warningBelow},
};

/// Reads one document; every error names its line.
class Parser {
public:
  Parser(std::string file) : file(std::move(file)) {}

  Result<Profile> parse(const YAML::Node &root, const std::string &name) {
    Profile profile;
    profile.name = name;
    profile.file = file;
    if (!root.IsMap())
      return at(root, "a profile is a map of description, match, policy, kl_budget and limits");
    for (const auto &entry : root) {
      std::string key = entry.first.Scalar();
      const YAML::Node &value = entry.second;
      Result<void> done;
      if (key == "description")
        done = text(value, key, profile.description);
      else if (key == "match")
        done = match(value, profile);
      else if (key == "policy")
        done = policy(value, profile);
      else if (key == "kl_budget")
        done = budget(value, profile);
      else if (key == "limits")
        done = limits(value, profile);
      else
        done = at(entry.first,
                  "unknown key '" + key + "'; known: description, match, policy, kl_budget, limits");
      FUSEBOX_TRY(done);
    }
    return profile;
  }

  Error at(const YAML::Node &node, const std::string &what) const {
    return modelError(fmt::format("{}:{}: {}", file, node.Mark().line + 1, what));
  }

private:
  Result<void> text(const YAML::Node &node, const std::string &key, std::string &to) {
    if (!node.IsScalar())
      return at(node, "'" + key + "' takes a text");
    to = node.Scalar();
    return {};
  }

  Result<double> positive(const YAML::Node &node, const std::string &key) {
    double value;
    if (!node.IsScalar() || !YAML::convert<double>::decode(node, value) || !(value >= 0))
      return at(node, "'" + key + "' takes a number that is not negative");
    return value;
  }

  Result<void> match(const YAML::Node &node, Profile &profile) {
    if (!node.IsMap())
      return at(node, "'match' takes a map of architecture and model");
    for (const auto &entry : node) {
      std::string key = entry.first.Scalar();
      if (key != "architecture" && key != "model")
        return at(entry.first, "unknown key '" + key + "' in match; known: architecture, model");
      FUSEBOX_TRY(text(entry.second, key, key == "model" ? profile.model : profile.architecture));
    }
    return {};
  }

  Result<void> policy(const YAML::Node &node, Profile &profile) {
    if (node.IsScalar() && node.Scalar() == "score")
      profile.policy = CheckPolicy::Score;
    else if (node.IsScalar() && node.Scalar() == "certified")
      profile.policy = CheckPolicy::Certified;
    else
      return at(node, "'policy' is score or certified");
    return {};
  }

  Result<void> budget(const YAML::Node &node, Profile &profile) {
    FUSEBOX_ASSIGN(profile.klBudget, positive(node, "kl_budget"));
    return {};
  }

  Result<void> limits(const YAML::Node &node, Profile &profile) {
    if (!node.IsMap())
      return at(node, "'limits' takes a map of numbers");
    for (const auto &entry : node) {
      std::string key = entry.first.Scalar();
      bool known =
          std::any_of(std::begin(settings), std::end(settings), [&](auto &s) { return key == s.first; });
      if (!known)
        return at(entry.first, "unknown limit '" + key +
                                   "'; known: extreme, ratio, amplification, variance, "
                                   "error_unit, error, *_share, incompatible_below, warning_below");
      FUSEBOX_ASSIGN(profile.limits[key], positive(entry.second, key));
    }
    return {};
  }

  std::string file;
};

} // namespace

bool fusebox::fitsPattern(const std::string &pattern, const std::string &text) {
  // Greedy matching with one way back: to the last star.
  size_t p = 0, t = 0, star = std::string::npos, mark = 0;
  auto same = [](char a, char b) { return std::tolower((unsigned char)a) == std::tolower((unsigned char)b); };
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && same(pattern[p], text[t])) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string::npos;
}

bool Profile::matches(const std::string &ofArchitecture, const std::string &ofModel) const {
  if (architecture.empty() && model.empty())
    return false;
  return (architecture.empty() || fitsPattern(architecture, ofArchitecture)) &&
         (model.empty() || fitsPattern(model, ofModel));
}

void Profile::apply(CheckLimits &to) const {
  for (const auto &[key, field] : settings)
    if (auto found = limits.find(key); found != limits.end())
      to.heuristic.*field = found->second;
  if (klBudget)
    to.klBudget = *klBudget;
  if (policy)
    to.policy = policy;
}

Result<Profile> fusebox::parseProfile(const std::string &text, const std::string &name,
                                      const std::string &file) {
  try {
    return Parser(file).parse(YAML::Load(text), name);
  } catch (const YAML::Exception &error) {
    return modelError(fmt::format("{}:{}: {}", file, error.mark.line + 1, error.msg));
  }
}

std::string fusebox::userProfileFolder() {
  if (const char *config = std::getenv("XDG_CONFIG_HOME"); config && *config)
    return std::string(config) + "/fusebox/profiles";
  if (const char *home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.config/fusebox/profiles";
  return {};
}

Result<std::vector<Profile>> fusebox::loadProfiles(const std::string &userFolder) {
  std::error_code ignored;
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(userFolder, ignored), end; !ignored && entry != end;
       entry.increment(ignored))
    if (entry->path().extension() == ".yaml")
      files.push_back(entry->path());
  std::sort(files.begin(), files.end());
  std::vector<Profile> profiles;
  for (const auto &[name, text] : builtinProfileTexts()) {
    bool replaced = std::any_of(files.begin(), files.end(), [&](auto &path) { return path.stem() == name; });
    if (replaced)
      continue;
    FUSEBOX_ASSIGN(Profile profile, parseProfile(text, name, "profiles/" + name + ".yaml"));
    profiles.push_back(std::move(profile));
  }
  for (const fs::path &path : files) {
    FUSEBOX_ASSIGN(std::string text, readText(path.string()));
    FUSEBOX_ASSIGN(Profile profile, parseProfile(text, path.stem().string(), path.string()));
    profiles.push_back(std::move(profile));
  }
  return profiles;
}

Result<Profile> fusebox::findProfile(const std::vector<Profile> &profiles, const std::string &nameOrFile) {
  for (const Profile &profile : profiles)
    if (profile.name == nameOrFile)
      return profile;
  std::error_code ignored;
  if (fs::is_regular_file(nameOrFile, ignored)) {
    FUSEBOX_ASSIGN(std::string text, readText(nameOrFile));
    return parseProfile(text, fs::path(nameOrFile).stem().string(), nameOrFile);
  }
  std::string names;
  for (const Profile &profile : profiles)
    names += (names.empty() ? "" : ", ") + profile.name;
  return usageError("--profile: '" + nameOrFile + "' is neither a file nor one of " + names);
}
