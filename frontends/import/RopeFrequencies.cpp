#include "frontends/import/RopeFrequencies.h"

#include <cmath>
#include <numbers>

using namespace fusebox;

/// Llama 3.1: low frequencies are divided by `factor`, high ones kept, those between blended.
static float scaleLlama3(float frequency, const RopeSpec &rope) {
  float context = float(rope.originalMaxPosition), factor = float(rope.factor);
  float low = float(rope.lowFreqFactor), high = float(rope.highFreqFactor);
  float wavelength = float(2 * std::numbers::pi) / frequency;
  if (wavelength > context / low)
    return frequency / factor;
  if (wavelength < context / high)
    return frequency;
  float smooth = (context / wavelength - low) / (high - low);
  return (1 - smooth) * frequency / factor + smooth * frequency;
}

std::vector<float> fusebox::ropeFrequencies(const RopeSpec &rope) {
  std::vector<float> frequencies(size_t(rope.rotaryDim / 2));
  for (size_t j = 0; j < frequencies.size(); ++j) {
    float exponent = float(2 * j) / float(rope.rotaryDim);
    float frequency = 1.0f / std::pow(float(rope.theta), exponent);
    switch (rope.scaling) {
    case RopeScaling::None:
      break;
    case RopeScaling::Linear:
      frequency /= float(rope.factor);
      break;
    case RopeScaling::Llama3:
      frequency = scaleLlama3(frequency, rope);
      break;
    }
    if (!rope.frequencyFactors.empty())
      frequency /= rope.frequencyFactors[j];
    frequencies[j] = frequency;
  }
  return frequencies;
}
