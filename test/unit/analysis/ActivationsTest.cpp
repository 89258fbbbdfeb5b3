// Moments of activations of normally distributed inputs.
#include "passes/analysis/Activations.h"

#include <gtest/gtest.h>

using namespace fusebox;

namespace {

TEST(ActivationMoments, OfLargeInputsAreThoseOfARamp) {
  for (Activation activation : {Activation::Silu, Activation::Gelu, Activation::GeluTanh})
    for (double sigma : {1e4, 1e17, 1e19, 1e31}) {
      ActivationMoments moments = activationMoments(activation, sigma);
      EXPECT_NEAR(moments.value / (sigma * sigma), 0.5, 0.01) << "of " << sigma;
      EXPECT_NEAR(moments.slope, 0.5, 0.01) << "of " << sigma;
      EXPECT_NEAR(moments.weightedSlope / (sigma * sigma), 0.5, 0.01) << "of " << sigma;
    }
}

TEST(ActivationMoments, OfSmallInputsAreThoseOfHalfTheInput) {
  for (Activation activation : {Activation::Silu, Activation::Gelu, Activation::GeluTanh}) {
    ActivationMoments moments = activationMoments(activation, 1e-3);
    EXPECT_NEAR(moments.value / 1e-6, 0.25, 1e-4);
    EXPECT_NEAR(moments.slope, 0.25, 1e-4);
    EXPECT_NEAR(moments.weightedSlope / 1e-6, 0.25, 1e-4);
  }
}

TEST(ActivationMoments, OfUnitInputsAreThoseOfFineSumsAndDifferences) {
  struct Case {
    Activation activation;
    double value, slope, weightedSlope;
  };
  // Sums over 400,000 steps between -10 and 10, the slope a central difference of 1e-5.
  for (auto [activation, value, slope, weightedSlope] :
       {Case{Activation::Silu, 0.3557755, 0.3794824, 0.5174773},
        Case{Activation::Gelu, 0.4252215, 0.4558509, 0.5783684},
        Case{Activation::GeluTanh, 0.4251937, 0.4558178, 0.5785896}}) {
    ActivationMoments moments = activationMoments(activation, 1);
    EXPECT_NEAR(moments.value, value, 1e-6);
    EXPECT_NEAR(moments.slope, slope, 1e-6);
    EXPECT_NEAR(moments.weightedSlope, weightedSlope, 1e-6);
  }
}

} // namespace
