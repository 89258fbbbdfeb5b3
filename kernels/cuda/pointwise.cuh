// Elementwise kernels: activation times gate, sum, scale, soft cap; and the copies that begin and end a step.
// Each thread takes 8 neighbouring columns. Grid: ceil(rows * columns / 8 / 256) blocks of 256 threads.
#pragma once
#include "base.cuh"
#include "weights.cuh"

namespace fusebox {

/// Calls f(element index) for this thread's elements of a [rows, columns] value.
template <int Columns, class F> __device__ __forceinline__ void forElements(int rows, F f) {
  letNextStart();
  waitForInputs();
  const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 8, count = u64(rows) * Columns;
#pragma unroll
  for (int e = 0; e < 8; ++e)
    if (first + e < count)
      f(first + e);
}

/// Rows of a value: of the step's tokens, or of its logits.
template <class S> __device__ __forceinline__ int rowsOf(const StepView &step) {
  return S::logitsRows ? step.logitsRows : step.tokens;
}

/// S: columns, activation, type, roundActivation, logitsRows. args: out, gate, up.
template <class S> __device__ void glu(const Args &args, const StepView &step) {
  forElements<S::columns>(rowsOf<S>(step), [&](u64 i) {
    float a = activate<S::activation>(load<S::type>(args.p[1], i));
    if (S::roundActivation)
      a = roundTo<S::type>(a);
    store<S::type>(args.p[0], i, __fmul_rn(a, load<S::type>(args.p[2], i)));
  });
}

/// S: columns, type, logitsRows. args: out, a, b.
template <class S> __device__ void add(const Args &args, const StepView &step) {
  forElements<S::columns>(rowsOf<S>(step), [&](u64 i) {
    store<S::type>(args.p[0], i, __fadd_rn(load<S::type>(args.p[1], i), load<S::type>(args.p[2], i)));
  });
}

/// S: columns, type, factor, logitsRows. args: out, in.
template <class S> __device__ void scale(const Args &args, const StepView &step) {
  forElements<S::columns>(rowsOf<S>(step), [&](u64 i) {
    store<S::type>(args.p[0], i, __fmul_rn(load<S::type>(args.p[1], i), S::factor));
  });
}

/// cap * tanh(x / cap), rounded once. S: columns, type, cap, logitsRows. args: out, in.
template <class S> __device__ void softcap(const Args &args, const StepView &step) {
  forElements<S::columns>(rowsOf<S>(step), [&](u64 i) {
    store<S::type>(args.p[0], i, S::cap * tanhf(load<S::type>(args.p[1], i) / S::cap));
  });
}

/// S: columns, tableType, outType, scale. args: out [tokens, columns], table [vocabulary, columns].
template <class S> __device__ void embed(const Args &args, const StepView &step) {
  forElements<S::columns>(step.tokens, [&](u64 i) {
    const int row = int(i / S::columns);
    const u64 source = u64(__ldcg(step.token + row)) * S::columns + i % S::columns;
    const float v = loadWeight<S::tableType>(args.p[1], source);
    store<S::outType>(args.p[0], i, S::scale == 1.f ? v : __fmul_rn(v, S::scale));
  });
}

/// Rows whose logits are wanted. S: columns, type. args: out [logits rows, columns], in [tokens, columns].
template <class S> __device__ void select_rows(const Args &args, const StepView &step) {
  forElements<S::columns>(step.logitsRows, [&](u64 i) {
    const u64 row = u64(__ldcg(step.logitsRow + i / S::columns));
    store<S::type>(args.p[0], i, load<S::type>(args.p[1], row * S::columns + i % S::columns));
  });
}

} // namespace fusebox
