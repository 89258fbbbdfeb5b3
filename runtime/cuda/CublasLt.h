// Matrix products of many rows by cuBLASLt, which is loaded when a plan with products is opened.
//
// For each product one algorithm is chosen then and kept for every number of rows, one that splits no sums.
// So a row's bits depend on the row alone, and no step, captured or not, chooses anything. Where the library
// is missing or has no such algorithm, the plan's own kernel computes the product.
#pragma once

#include "runtime/cuda/DriverApi.h"
#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <memory>
#include <string>

namespace fusebox::cuda {

/// "13.0.2" of the library that is used. Fails with ErrorKind::Resource and the reason: switched off
/// (FUSEBOX_CUBLASLT=off), not found (FUSEBOX_CUBLASLT_PATH names its folder), or older than version 12.
Result<std::string> cublasLtVersion();

class CublasLt;

/// y [rows, out] = x [rows, in] W^T + bias, all row-major.
class LibraryProduct {
public:
  LibraryProduct(LibraryProduct &&other) noexcept;
  ~LibraryProduct();

  /// Bytes of device memory that it works in.
  uint64_t workspaceBytes() const;

  /// Queues the product; `bias` is not read if there is none. Fails with ErrorKind::Internal if the library
  /// refuses.
  Result<void> launch(StreamHandle stream, DevicePtr y, DevicePtr x, DevicePtr weight, DevicePtr bias,
                      DevicePtr workspace, uint64_t rows) const;

private:
  friend class CublasLt;
  struct State;
  explicit LibraryProduct(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

/// The library for one context.
class CublasLt {
public:
  /// Needs the context to be current. Fails as cublasLtVersion() does.
  static Result<std::shared_ptr<CublasLt>> open();
  CublasLt(const CublasLt &) = delete;
  ~CublasLt();

  /// The product with its algorithm. Fails with ErrorKind::Resource if there is none whose rows don't depend
  /// on each other.
  Result<LibraryProduct> choose(const plan::Product &product) const;

private:
  explicit CublasLt(void *handle) : handle(handle) {}
  void *handle;
};

} // namespace fusebox::cuda
