// The C interface of the Rust library in rust/: tokenizer.json files and chat templates. Used by this folder
// only.
//
// Functions that can fail return false and store an error text; otherwise they store their result.
#pragma once

#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

extern "C" {
struct FuseboxTextBytes {
  uint8_t *data;
  size_t size;
};
struct FuseboxTokenizer;

void fusebox_text_free(FuseboxTextBytes bytes);
bool fusebox_tokenizer_open(const char *json, size_t size, FuseboxTokenizer **out, FuseboxTextBytes *error);
void fusebox_tokenizer_close(FuseboxTokenizer *tokenizer);
bool fusebox_tokenizer_encode(const FuseboxTokenizer *tokenizer, const char *text, size_t size,
                              bool addSpecial, FuseboxTextBytes *out, FuseboxTextBytes *error);
bool fusebox_tokenizer_decode(const FuseboxTokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skipSpecial, FuseboxTextBytes *out, FuseboxTextBytes *error);
bool fusebox_tokenizer_describe(const FuseboxTokenizer *tokenizer, FuseboxTextBytes *out,
                                FuseboxTextBytes *error);
bool fusebox_tokenizer_token_id(const FuseboxTokenizer *tokenizer, const char *text, size_t size,
                                int64_t *out, FuseboxTextBytes *error);
bool fusebox_tokenizer_token_text(const FuseboxTokenizer *tokenizer, uint32_t id, FuseboxTextBytes *out,
                                  FuseboxTextBytes *error);
bool fusebox_template_render(const char *source, size_t sourceSize, const char *context, size_t contextSize,
                             FuseboxTextBytes *out, FuseboxTextBytes *error);
}

namespace fusebox {

/// Copies a buffer of the Rust side and frees it.
inline std::string takeBytes(FuseboxTextBytes bytes) {
  std::string copy(reinterpret_cast<const char *>(bytes.data), bytes.size);
  fusebox_text_free(bytes);
  return copy;
}

} // namespace fusebox
