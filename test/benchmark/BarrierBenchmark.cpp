// What the CPU executor costs beside kernels: a barrier, a task, a run.
#include "runtime/cpu/ThreadPool.h"

#include <benchmark/benchmark.h>

using namespace fusebox::cpu;

/// Time of one barrier inside a run.
static void barrier(benchmark::State &state) {
  ThreadPool pool(unsigned(state.range(0)));
  constexpr int barriers = 10000;
  for (auto _ : state)
    pool.run([&](unsigned) {
      for (int i = 0; i < barriers; ++i)
        pool.barrier();
    });
  state.counters["per_barrier"] = benchmark::Counter(barriers, benchmark::Counter::kIsIterationInvariantRate |
                                                                   benchmark::Counter::kInvert);
}
BENCHMARK(barrier)->Arg(1)->Arg(2)->UseRealTime();

/// Time of starting and ending a run, threads awake.
static void emptyRun(benchmark::State &state) {
  ThreadPool pool(unsigned(state.range(0)));
  for (auto _ : state)
    pool.run([](unsigned) {});
}
BENCHMARK(emptyRun)->Arg(1)->Arg(2)->UseRealTime();

BENCHMARK_MAIN();
