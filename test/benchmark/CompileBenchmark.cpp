// How long each phase takes for a model: compile-benchmark MODEL [REPETITIONS]. The fastest repetition
// counts.
#include "compiler/Compile.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

using namespace fusebox;

int main(int argc, char **argv) {
  if (argc < 2)
    return std::fprintf(stderr, "usage: compile-benchmark MODEL [REPETITIONS]\n"), 10;
  int repetitions = argc > 2 ? std::atoi(argv[2]) : 5;
  std::map<Phase, double> best;
  for (int i = 0; i < repetitions; ++i) {
    Result<CompiledPlan> plan = compileModel(argv[1]);
    if (!plan)
      return std::fprintf(stderr, "%s\n", plan.error().message.c_str()), int(plan.error().kind);
    for (const PhaseTime &time : plan->times) {
      double &known = best.try_emplace(time.phase, time.milliseconds).first->second;
      known = std::min(known, time.milliseconds);
    }
  }
  double total = 0;
  for (auto [phase, milliseconds] : best) {
    std::printf("%-15.*s %8.1f ms\n", int(phaseName(phase).size()), phaseName(phase).data(), milliseconds);
    total += milliseconds;
  }
  std::printf("%-15s %8.1f ms\n", "all", total);
  return 0;
}
