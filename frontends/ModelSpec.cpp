#include "frontends/ModelSpec.h"

using namespace fusebox;

std::string ParamSpec::nameAt(int64_t layer) const {
  size_t place = tensorName.find("{}");
  if (place == std::string::npos)
    return tensorName;
  return tensorName.substr(0, place) + std::to_string(layer) + tensorName.substr(place + 2);
}

const ParamSpec *ModelSpec::findParameter(std::string_view role) const {
  for (const ParamSpec &parameter : parameters) {
    if (parameter.role == role)
      return &parameter;
  }
  return nullptr;
}
