// Profiles: thresholds of the check per architecture or model, as YAML files.
//
//   description: …
//   match: {architecture: qwen3, model: "Qwen3-*"}   # optional; applied by themselves where both fit
//   policy: score | certified
//   kl_budget: 1.0e-3
//   limits: {extreme: 10, ratio: 20, amplification: 10, variance: 10, error_unit: 0.001, error: 1,
//            incompatible_below: 0.5, warning_below: 0.8}
#pragma once

#include "passes/analysis/Heuristic.h"
#include "support/Result.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fusebox {

enum class CheckPolicy { Score, Certified };

/// What a check is judged by.
struct CheckLimits {
  HeuristicLimits heuristic;
  double klBudget = 1e-3;
  std::optional<CheckPolicy> policy; ///< not set: score where the model has q and k norms, else certified
};

/// A profile that was read: only what it states replaces anything.
struct Profile {
  std::string name, file, description;
  std::string architecture, model; ///< patterns with *; empty: match nothing by themselves
  std::map<std::string, double> limits;
  std::optional<double> klBudget;
  std::optional<CheckPolicy> policy;

  bool matches(const std::string &architecture, const std::string &model) const;
  void apply(CheckLimits &to) const;
};

/// Parses a profile. Fails with ErrorKind::Model; the message starts with `file:line`.
Result<Profile> parseProfile(const std::string &text, const std::string &name, const std::string &file);

/// Texts of the shipped profiles, by name.
const std::map<std::string, std::string> &builtinProfileTexts();

/// Folder of the user's profiles: $XDG_CONFIG_HOME/fusebox/profiles, else $HOME/.config/fusebox/profiles.
std::string userProfileFolder();

/// Shipped profiles, then the user's, each in order of name; a user's of the same name replaces a shipped
/// one. Later ones override earlier ones where several apply.
Result<std::vector<Profile>> loadProfiles(const std::string &userFolder);

/// One of `profiles` by name, or the file of that path. Fails with ErrorKind::Usage and lists the names.
Result<Profile> findProfile(const std::vector<Profile> &profiles, const std::string &nameOrFile);

/// Whether `text` fits `pattern`, in which * stands for any run of characters; case is ignored.
bool fitsPattern(const std::string &pattern, const std::string &text);

} // namespace fusebox
