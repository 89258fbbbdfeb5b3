// Errors as values, for code that runs without MLIR: readers, runtime, tokenizers.
//
// Every failure carries its exit code's class, the file or key it concerns, and what to do about it.
// Nothing here throws; exceptions of third-party libraries are caught where they are called.
#pragma once

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace fusebox {

/// What went wrong, by who can mend it. Values are the tool's exit codes (docs/cli.md).
enum class ErrorKind {
  Usage = 10,    ///< the command line or an API argument is wrong
  Model = 11,    ///< a file or model can't be used: damaged, unsupported, inconsistent
  Resource = 12, ///< something is missing: memory, disk, a GPU, a library
  Internal = 13, ///< a defect of Fusebox
};

/// A failure: one line that names the file, the tensor or key, what was expected, and the remedy.
struct Error {
  ErrorKind kind = ErrorKind::Internal;
  std::string message;
};

inline Error usageError(std::string message) { return {ErrorKind::Usage, std::move(message)}; }
inline Error modelError(std::string message) { return {ErrorKind::Model, std::move(message)}; }
inline Error resourceError(std::string message) { return {ErrorKind::Resource, std::move(message)}; }
inline Error internalError(std::string message) { return {ErrorKind::Internal, std::move(message)}; }

/// A value or the Error that prevented it.
template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::move(value)) {}
  Result(Error error) : state(std::move(error)) {}

  explicit operator bool() const { return std::holds_alternative<T>(state); }
  bool ok() const { return bool(*this); }

  T &operator*() & {
    assert(ok() && "value of a failed Result");
    return std::get<T>(state);
  }
  const T &operator*() const & {
    assert(ok() && "value of a failed Result");
    return std::get<T>(state);
  }
  T &&operator*() && {
    assert(ok() && "value of a failed Result");
    return std::get<T>(std::move(state));
  }
  T *operator->() { return &**this; }
  const T *operator->() const { return &**this; }

  const Error &error() const {
    assert(!ok() && "error of a successful Result");
    return std::get<Error>(state);
  }

private:
  std::variant<T, Error> state;
};

/// Success or an Error.
template <> class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Error error) : failure(std::move(error)) {}

  explicit operator bool() const { return !failure; }
  bool ok() const { return !failure; }
  const Error &error() const {
    assert(failure && "error of a successful Result");
    return *failure;
  }

private:
  std::optional<Error> failure;
};

} // namespace fusebox

/// Evaluates EXPR, a Result<void> or Result<T>; returns its Error from the enclosing function if it failed.
#define FUSEBOX_TRY(EXPR)                                                                                    \
  do {                                                                                                       \
    if (auto tried_ = (EXPR); !tried_)                                                                       \
      return tried_.error();                                                                                 \
  } while (false)

#define FUSEBOX_CONCAT_(A, B) A##B
#define FUSEBOX_CONCAT(A, B) FUSEBOX_CONCAT_(A, B)
/// `FUSEBOX_ASSIGN(auto file, MappedFile::open(path));` declares `file` or returns the Error.
#define FUSEBOX_ASSIGN(DECL, EXPR)                                                                           \
  auto FUSEBOX_CONCAT(result_, __LINE__) = (EXPR);                                                           \
  if (!FUSEBOX_CONCAT(result_, __LINE__))                                                                    \
    return FUSEBOX_CONCAT(result_, __LINE__).error();                                                        \
  DECL = std::move(*FUSEBOX_CONCAT(result_, __LINE__))
