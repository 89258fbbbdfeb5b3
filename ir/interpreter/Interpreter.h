// The oracle: runs `layer` IR for one sequence, in f64 or with every rounding that the IR names. Every
// kernel, fused or not, on every target is tested against it.
#pragma once

#include "ir/interpreter/Evaluate.h"
#include "support/Result.h"

#include <span>
#include <string>

namespace fusebox::oracle {

enum class Mode {
  F64,     ///< no rounding: the real-number value of the model, but for angles, which are f32 products
  Rounded, ///< each value rounded to its element type, and inside operations where their attributes say
};

/// A node's value. `name` is `decoder.3.q` inside of layers (block, layer, node), else the node's own.
struct Observation {
  std::string name;
  mlir::Operation *op;
  int64_t layer; ///< −1 outside of layers
  const Tensor &value;
};
using Observer = std::function<void(const Observation &)>;

/// One sequence: tokens go in by steps, keys and values stay. `model` must be verified and outlive it.
class Interpreter {
public:
  /// Whether an operation rounds, at its end and inside.
  using Rounds = std::function<bool(mlir::Operation *)>;

  Interpreter(layer::ModelOp model, WeightRows weights, Mode mode)
      : Interpreter(model, std::move(weights), [mode](mlir::Operation *) { return mode == Mode::Rounded; }) {}
  /// Only some operations round.
  Interpreter(layer::ModelOp model, WeightRows weights, Rounds rounds)
      : model(model), weights(std::move(weights)), rounds(std::move(rounds)) {}

  /// Runs `tokens` at the next positions. Returns the logits of the step's rows that `logitsRows` names, or
  /// of all if it is empty: [rows, vocabulary]. Fails with ErrorKind::Usage on a token or row that doesn't
  /// exist.
  Result<Tensor> step(std::span<const int32_t> tokens, std::span<const int32_t> logitsRows = {},
                      const Observer &observer = nullptr);

private:
  layer::ModelOp model;
  WeightRows weights;
  Rounds rounds;
  KvState state;
  int64_t position = 0;
};

/// One sequence in one step.
Result<Tensor> interpret(layer::ModelOp model, const WeightRows &weights, std::span<const int32_t> tokens,
                         Mode mode, const Observer &observer = nullptr);

} // namespace fusebox::oracle
