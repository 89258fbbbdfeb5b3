// Elementwise kernels: generated bodies (sums, activations, scales), and the copies that begin and end a
// step. Each thread takes 8 neighbouring columns. Grid: ceil(rows * columns / 8 / 256) blocks of 256 threads.
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

template <int... T>
__device__ __forceinline__ void loadInputs8(Types<T...>, float (&in)[sizeof...(T)][8], const Args &args,
                                            u64 i, u64 end) {
  int k = 0;
  ((load8<T>(in[k], args.p[1 + k], i, end), ++k), ...);
}

/// A generated body for each element. S: columns, logitsRows, Body. args: out, the body's inputs; out may be
/// one of them.
template <class S> __device__ void pointwise(const Args &launch, const StepView &step) {
  using Body = typename S::Body;
  constexpr int inputs = Body::Inputs::count;
  letNextStart();
  const Args args = arranged<S>(launch);
  const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * 8, end = u64(rowsOf<S>(step)) * S::columns;
  waitForInputs();
  if (first >= end)
    return;
  float in[inputs][8], out[8];
  loadInputs8(typename Body::Inputs{}, in, args, first, end);
#pragma unroll
  for (int e = 0; e < 8; ++e) {
    float element[inputs];
#pragma unroll
    for (int k = 0; k < inputs; ++k)
      element[k] = in[k][e];
    out[e] = Body::apply(element);
  }
  store8<Body::result>(args.p[0], first, end, out);
}

/// S: columns, tableType, Body (of the table's value). args: out [tokens, columns], table [vocabulary,
/// columns], the body's other inputs.
template <class S> __device__ void embed(const Args &launch, const StepView &step) {
  using Body = typename S::Body;
  const Args args = arranged<S>(launch);
  forElements<S::columns>(step.tokens, [&](u64 i) {
    const int row = int(i / S::columns);
    const u64 source = u64(__ldcg(step.token + row)) * S::columns + i % S::columns;
    float in[Body::Inputs::count];
    in[0] = loadWeight<S::tableType>(args.p[1], source);
    loadInputs<1>(typename Body::Inputs{}, in, args, 2, i);
    store<Body::result>(args.p[0], i, Body::apply(in));
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
