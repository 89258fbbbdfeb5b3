#include "runtime/cuda/CublasLt.h"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <mutex>
#include <vector>

namespace fusebox::cuda {

namespace {

//===-- The library's binary interface, version 12 and 13
//----------------------------------------------------===//

using LtStatus = int; ///< cublasStatus_t
using Handle = void *;
using Descriptor = void *; ///< of a product, a matrix or a preference

/// cublasLtMatmulAlgo_t
struct Algorithm {
  uint64_t data[8];
};
/// cublasLtMatmulHeuristicResult_t
struct Candidate {
  Algorithm algorithm;
  size_t workspaceBytes;
  LtStatus status;
  float waves;
  int reserved[4];
};

constexpr int computeF32 = 68, typeF32 = 0, typeBF16 = 14, transposed = 1, epilogueBias = 4;
constexpr int productTransA = 3, productEpilogue = 7, productBiasPointer = 8, productBiasType = 26;
constexpr int matrixColumns = 3;
constexpr int preferWorkspace = 1, preferReductions = 3;
constexpr int configSplit = 2, configReduction = 3;

// X(member, exported symbol, result, parameters)
#define FUSEBOX_LT_FUNCTIONS(X)                                                                              \
  X(getVersion, cublasLtGetVersion, size_t, ())                                                              \
  X(create, cublasLtCreate, LtStatus, (Handle *))                                                            \
  X(destroy, cublasLtDestroy, LtStatus, (Handle))                                                            \
  X(productCreate, cublasLtMatmulDescCreate, LtStatus, (Descriptor *, int, int))                             \
  X(productDestroy, cublasLtMatmulDescDestroy, LtStatus, (Descriptor))                                       \
  X(productSet, cublasLtMatmulDescSetAttribute, LtStatus, (Descriptor, int, const void *, size_t))           \
  X(matrixCreate, cublasLtMatrixLayoutCreate, LtStatus, (Descriptor *, int, uint64_t, uint64_t, int64_t))    \
  X(matrixDestroy, cublasLtMatrixLayoutDestroy, LtStatus, (Descriptor))                                      \
  X(matrixSet, cublasLtMatrixLayoutSetAttribute, LtStatus, (Descriptor, int, const void *, size_t))          \
  X(preferenceCreate, cublasLtMatmulPreferenceCreate, LtStatus, (Descriptor *))                              \
  X(preferenceDestroy, cublasLtMatmulPreferenceDestroy, LtStatus, (Descriptor))                              \
  X(preferenceSet, cublasLtMatmulPreferenceSetAttribute, LtStatus, (Descriptor, int, const void *, size_t))  \
  X(heuristic, cublasLtMatmulAlgoGetHeuristic, LtStatus,                                                     \
    (Handle, Descriptor, Descriptor, Descriptor, Descriptor, Descriptor, Descriptor, int, Candidate *,       \
     int *))                                                                                                 \
  X(check, cublasLtMatmulAlgoCheck, LtStatus,                                                                \
    (Handle, Descriptor, Descriptor, Descriptor, Descriptor, Descriptor, const Algorithm *, Candidate *))    \
  X(configGet, cublasLtMatmulAlgoConfigGetAttribute, LtStatus,                                               \
    (const Algorithm *, int, void *, size_t, size_t *))                                                      \
  X(multiply, cublasLtMatmul, LtStatus,                                                                      \
    (Handle, Descriptor, const void *, const void *, Descriptor, const void *, Descriptor, const void *,     \
     const void *, Descriptor, void *, Descriptor, const Algorithm *, void *, size_t, StreamHandle))

struct LtApi {
#define FUSEBOX_LT_MEMBER(member, symbol, result, parameters) result(*member) parameters = nullptr;
  FUSEBOX_LT_FUNCTIONS(FUSEBOX_LT_MEMBER)
#undef FUSEBOX_LT_MEMBER
  std::string problem; ///< empty if the library can be used
};

/// Folders that may hold it, in the order they are tried; the empty one leaves the search to the loader.
std::vector<std::string> searchFolders() {
  if (const char *path = std::getenv("FUSEBOX_CUBLASLT_PATH"))
    return {std::string(path) + "/"};
  std::vector<std::string> folders = {""};
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *path = std::getenv(name))
      folders.push_back(std::string(path) + "/lib64/");
  folders.push_back("/usr/local/cuda/lib64/");
  return folders;
}

LtApi loadLibrary() {
  LtApi api;
  const char *choice = std::getenv("FUSEBOX_CUBLASLT");
  if (choice && std::string_view(choice) == "off") {
    api.problem = "cuBLASLt is switched off (FUSEBOX_CUBLASLT=off)";
    return api;
  }
  void *library = nullptr;
  for (const std::string &folder : searchFolders())
    for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12"})
      if (!library)
        library = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    api.problem =
        "cuBLASLt was not found: neither libcublasLt.so.13 nor .12; install the CUDA toolkit or the "
        "Python package nvidia-cublas, and name the library's folder in FUSEBOX_CUBLASLT_PATH";
    return api;
  }
#define FUSEBOX_LT_LOAD(member, symbol, result, parameters)                                                  \
  api.member = reinterpret_cast<result(*) parameters>(dlsym(library, #symbol));                              \
  if (!api.member && api.problem.empty())                                                                    \
    api.problem = "this cuBLASLt is too old: it lacks " #symbol "; version 12 or newer is needed";
  FUSEBOX_LT_FUNCTIONS(FUSEBOX_LT_LOAD)
#undef FUSEBOX_LT_LOAD
  return api;
}

const LtApi &library() {
  static const LtApi api = loadLibrary();
  return api;
}

Result<const LtApi *> usableLibrary() {
  const LtApi &api = library();
  if (!api.problem.empty())
    return resourceError(api.problem);
  return &api;
}

std::string textOf(const plan::Product &product) {
  return "the product of " + std::to_string(product.in) + " to " + std::to_string(product.out) + " columns";
}

int numberOf(const Algorithm &algorithm, int attribute) {
  int value = 0;
  size_t written = 0;
  library().configGet(&algorithm, attribute, &value, sizeof value, &written);
  return value;
}

/// What an algorithm is chosen for: larger steps are cut, smaller ones take less time anyway.
constexpr uint64_t typicalRows = 2048;
constexpr int mostCandidates = 16;
constexpr size_t mostWorkspace = size_t(4) << 20;

} // namespace

Result<std::string> cublasLtVersion() {
  FUSEBOX_ASSIGN(const LtApi *api, usableLibrary());
  size_t version = api->getVersion();
  // 130002 is 13.0.2; versions before 12.something are 5 digits of the same form.
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

//===-- Products
//---------------------------------------------------------------------------------------------===//

struct LibraryProduct::State {
  Handle handle = nullptr;
  /// In the library's column-major terms: D [out, rows] = W^T [out, in] X [in, rows].
  Descriptor product = nullptr, weight = nullptr, x = nullptr, y = nullptr;
  Algorithm algorithm{};
  size_t workspaceBytes = 0;
  bool hasBias = false;
  std::string text;
  /// The descriptors' rows and bias are set for a launch.
  std::mutex launching;

  ~State() {
    const LtApi &api = library();
    for (Descriptor matrix : {weight, x, y})
      if (matrix)
        api.matrixDestroy(matrix);
    if (product)
      api.productDestroy(product);
  }

  bool describe(const plan::Product &of) {
    const LtApi &api = library();
    const int out = of.outType == DType::F32 ? typeF32 : typeBF16, biasType = typeBF16;
    bool made = !api.productCreate(&product, computeF32, typeF32) &&
                !api.productSet(product, productTransA, &transposed, sizeof transposed) &&
                !api.matrixCreate(&weight, typeBF16, of.in, of.out, of.in) &&
                !api.matrixCreate(&x, typeBF16, of.in, typicalRows, of.in) &&
                !api.matrixCreate(&y, out, of.out, typicalRows, of.out);
    hasBias = of.hasBias;
    if (hasBias)
      made = made && !api.productSet(product, productEpilogue, &epilogueBias, sizeof epilogueBias) &&
             !api.productSet(product, productBiasType, &biasType, sizeof biasType);
    return made;
  }

  bool setRows(uint64_t rows) {
    return !library().matrixSet(x, matrixColumns, &rows, sizeof rows) &&
           !library().matrixSet(y, matrixColumns, &rows, sizeof rows);
  }

  /// Takes an algorithm if it sums in one block and computes any number of rows.
  bool take(const Candidate &candidate) {
    if (candidate.status != 0 || numberOf(candidate.algorithm, configSplit) > 1 ||
        numberOf(candidate.algorithm, configReduction) != 0)
      return false;
    workspaceBytes = candidate.workspaceBytes;
    for (uint64_t rows : {uint64_t(17), uint64_t(128), uint64_t(512), typicalRows}) {
      Candidate checked{};
      if (!setRows(rows) ||
          library().check(handle, product, weight, x, y, y, &candidate.algorithm, &checked) != 0)
        return false;
      workspaceBytes = std::max(workspaceBytes, checked.workspaceBytes);
    }
    algorithm = candidate.algorithm;
    return workspaceBytes <= mostWorkspace;
  }
};

LibraryProduct::LibraryProduct(std::unique_ptr<State> state) : state(std::move(state)) {}
LibraryProduct::LibraryProduct(LibraryProduct &&other) noexcept = default;
LibraryProduct::~LibraryProduct() = default;

uint64_t LibraryProduct::workspaceBytes() const { return state->workspaceBytes; }

Result<void> LibraryProduct::launch(StreamHandle stream, DevicePtr y, DevicePtr x, DevicePtr weight,
                                    DevicePtr bias, DevicePtr workspace, uint64_t rows) const {
  const LtApi &api = library();
  auto pointer = [](DevicePtr address) { return reinterpret_cast<void *>(uintptr_t(address)); };
  const float one = 1, zero = 0;
  const void *biasPointer = pointer(bias);
  std::scoped_lock lock(state->launching);
  bool set = state->setRows(rows) && (!state->hasBias || !api.productSet(state->product, productBiasPointer,
                                                                         &biasPointer, sizeof biasPointer));
  LtStatus status =
      !set ? -1
           : api.multiply(state->handle, state->product, &one, pointer(weight), state->weight, pointer(x),
                          state->x, &zero, pointer(y), state->y, pointer(y), state->y, &state->algorithm,
                          pointer(workspace), state->workspaceBytes, stream);
  if (status != 0)
    return internalError("cuBLASLt can't compute " + state->text + " for " + std::to_string(rows) +
                         " rows: status " + std::to_string(status) +
                         "; FUSEBOX_CUBLASLT=off runs without it");
  return {};
}

Result<std::shared_ptr<CublasLt>> CublasLt::open() {
  FUSEBOX_ASSIGN(const LtApi *api, usableLibrary());
  Handle handle = nullptr;
  if (LtStatus status = api->create(&handle))
    return resourceError("cuBLASLt can't be used: status " + std::to_string(status));
  return std::shared_ptr<CublasLt>(new CublasLt(handle));
}

CublasLt::~CublasLt() { library().destroy(handle); }

Result<LibraryProduct> CublasLt::choose(const plan::Product &product) const {
  const LtApi &api = library();
  auto state = std::make_unique<LibraryProduct::State>();
  state->handle = handle;
  state->text = textOf(product);
  Descriptor preference = nullptr;
  Candidate candidates[mostCandidates];
  int found = 0;
  const size_t noBytes = 0;
  const int noReductions = 0;
  bool asked = state->describe(product) && !api.preferenceCreate(&preference) &&
               !api.preferenceSet(preference, preferWorkspace, &noBytes, sizeof noBytes) &&
               !api.preferenceSet(preference, preferReductions, &noReductions, sizeof noReductions) &&
               !api.heuristic(handle, state->product, state->weight, state->x, state->y, state->y, preference,
                              mostCandidates, candidates, &found);
  if (preference)
    api.preferenceDestroy(preference);
  if (asked)
    for (const Candidate &candidate : std::span(candidates, size_t(found)))
      if (state->take(candidate))
        return LibraryProduct(std::move(state));
  return resourceError("cuBLASLt has no algorithm for " + textOf(product) +
                       " whose rows don't depend on each other");
}

} // namespace fusebox::cuda
