// A library with cuBLASLt's interface that computes nothing: it offers three algorithms, of which the last
// splits no sums and needs little memory, and notes the product it is asked for last. Each algorithm's words
// are its configuration by attribute; word 7 is its number.
#include "test/unit/runtime/fake/FakeCublasLt.h"

#include <cstring>

namespace {

struct Algorithm {
  uint64_t data[8];
};
struct Candidate {
  Algorithm algorithm;
  size_t workspaceBytes;
  int status;
  float waves;
  int reserved[4];
};
struct Matrix {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};
struct Description {
  int values[32];
  const void *bias;
};

FakeProduct last;
int handle, preference;

} // namespace

extern "C" {

const FakeProduct *fakeLastProduct() { return &last; }

size_t cublasLtGetVersion() { return 130102; }
int cublasLtCreate(void **out) { return *out = &handle, 0; }
int cublasLtDestroy(void *) { return 0; }
int cublasLtMatmulDescCreate(void **out, int, int) { return *out = new Description{}, 0; }
int cublasLtMatmulDescDestroy(void *description) {
  delete static_cast<Description *>(description);
  return 0;
}
int cublasLtMatmulDescSetAttribute(void *description, int attribute, const void *value, size_t bytes) {
  auto *to = static_cast<Description *>(description);
  std::memcpy(attribute == 8 ? static_cast<void *>(&to->bias) : &to->values[attribute], value, bytes);
  return 0;
}
int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  return *out = new Matrix{type, rows, columns, stride}, 0;
}
int cublasLtMatrixLayoutDestroy(void *matrix) {
  delete static_cast<Matrix *>(matrix);
  return 0;
}
int cublasLtMatrixLayoutSetAttribute(void *matrix, int attribute, const void *value, size_t bytes) {
  if (attribute != 3)
    return 7;
  std::memcpy(&static_cast<Matrix *>(matrix)->columns, value, bytes);
  return 0;
}
int cublasLtMatmulPreferenceCreate(void **out) { return *out = &preference, 0; }
int cublasLtMatmulPreferenceDestroy(void *) { return 0; }
int cublasLtMatmulPreferenceSetAttribute(void *, int, const void *, size_t) { return 0; }
int cublasLtMatmulAlgoGetHeuristic(void *, void *, void *weight, void *, void *, void *, void *, int,
                                   Candidate *candidates, int *found) {
  candidates[0] = {{{0, 0, 1, 0, 0, 0, 0, 1}}, size_t(1) << 30, 0, 1, {}};
  candidates[1] = {{{0, 0, 2, 0, 0, 0, 0, 2}}, 0, 0, 1, {}};
  candidates[2] = {{{0, 0, 1, 0, 0, 0, 0, 3}}, 0, 0, 1, {}};
  // Rows of 24 columns have split sums only.
  *found = static_cast<Matrix *>(weight)->rows == 24 ? 2 : 3;
  return 0;
}
int cublasLtMatmulAlgoCheck(void *, void *, void *, void *, void *, void *, const Algorithm *algorithm,
                            Candidate *checked) {
  *checked = {*algorithm, 4096, 0, 1, {}};
  return 0;
}
int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm *algorithm, int attribute, void *value, size_t bytes,
                                         size_t *written) {
  int number = int(algorithm->data[attribute]);
  std::memcpy(value, &number, bytes);
  *written = bytes;
  return 0;
}
int cublasLtMatmul(void *, void *description, const void *, const void *weight, void *weightMatrix,
                   const void *x, void *xMatrix, const void *, const void *, void *, void *y, void *yMatrix,
                   const Algorithm *algorithm, void *workspace, size_t workspaceBytes, void *) {
  auto *product = static_cast<Description *>(description);
  auto *w = static_cast<Matrix *>(weightMatrix), *in = static_cast<Matrix *>(xMatrix),
       *out = static_cast<Matrix *>(yMatrix);
  last = {algorithm->data[7],
          in->rows,
          out->rows,
          in->columns,
          out->type,
          product->values[3] == 1,
          product->values[7] == 4 ? product->bias : nullptr,
          weight,
          x,
          y};
  bool agrees = w->rows == in->rows && w->columns == out->rows && in->columns == out->columns;
  return agrees && workspace && workspaceBytes == 4096 ? 0 : 7;
}
}
