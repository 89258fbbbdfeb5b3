#include "frontends/families/Family.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace fusebox;
namespace fs = std::filesystem;

namespace {

constexpr const char *commonName = "common";

Result<void> overrideFrom(const std::string &folder, std::map<std::string, std::string> &texts) {
  std::error_code error;
  fs::directory_iterator entries(folder, error), end;
  if (error)
    return modelError(folder + ": can't read the folder of families: " + error.message());
  for (; entries != end; entries.increment(error)) {
    if (entries->path().extension() != ".yaml")
      continue;
    std::ifstream file(entries->path());
    std::stringstream text;
    text << file.rdbuf();
    if (!file)
      return modelError(entries->path().string() + ": can't be read");
    texts[entries->path().stem().string()] = text.str();
  }
  return {};
}

bool contains(const std::vector<std::string> &list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

std::string join(const std::vector<std::string> &items) {
  std::string joined;
  for (const std::string &item : items)
    joined += (joined.empty() ? "" : ", ") + item;
  return joined;
}

} // namespace

Result<FamilyTable> FamilyTable::load(const std::string &folder) {
  std::map<std::string, std::string> texts = builtinFamilyTexts();
  if (!folder.empty())
    FUSEBOX_TRY(overrideFrom(folder, texts));
  FamilyTable table;
  for (const auto &[name, text] : texts) {
    if (name == commonName)
      continue;
    FUSEBOX_ASSIGN(Family family, parseFamily(name, texts[commonName], text));
    table.families.push_back(std::move(family));
  }
  return table;
}

const Family *FamilyTable::findByModelType(std::string_view modelType) const {
  for (const Family &family : families) {
    if (contains(family.modelTypes, modelType))
      return &family;
  }
  return nullptr;
}

const Family *FamilyTable::findByGgufArchitecture(std::string_view architecture) const {
  for (const Family &family : families) {
    if (contains(family.ggufArchitectures, architecture))
      return &family;
  }
  return nullptr;
}

std::string FamilyTable::modelTypeList() const {
  std::vector<std::string> names;
  for (const Family &family : families)
    names.insert(names.end(), family.modelTypes.begin(), family.modelTypes.end());
  return join(names);
}

std::string FamilyTable::ggufArchitectureList() const {
  std::vector<std::string> names;
  for (const Family &family : families)
    names.insert(names.end(), family.ggufArchitectures.begin(), family.ggufArchitectures.end());
  return join(names);
}
