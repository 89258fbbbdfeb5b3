// A tokenizer.json, read and run by the `tokenizers` crate.

#include "runtime/text/RustText.h"
#include "runtime/text/TokenizerModel.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

using namespace fusebox;

namespace {

struct CloseTokenizer {
  void operator()(FuseboxTokenizer *tokenizer) const { fusebox_tokenizer_close(tokenizer); }
};

class HuggingFaceModel final : public TokenizerModel {
public:
  HuggingFaceModel(FuseboxTokenizer *tokenizer) : tokenizer(tokenizer) {}

  Result<void> readVocabulary();

  Result<std::vector<int32_t>> encode(std::string_view text, bool addSpecial) const override {
    FuseboxTextBytes out, error;
    if (!fusebox_tokenizer_encode(tokenizer.get(), text.data(), text.size(), addSpecial, &out, &error))
      return modelError("tokenizer: cannot encode the text: " + takeBytes(error));
    std::vector<int32_t> ids(out.size / sizeof(int32_t));
    if (!ids.empty())
      std::memcpy(ids.data(), out.data, out.size);
    fusebox_text_free(out);
    return ids;
  }

  Result<std::string> decode(std::span<const int32_t> ids, bool skipSpecial) const override {
    FuseboxTextBytes out, error;
    if (!fusebox_tokenizer_decode(tokenizer.get(), ids.data(), ids.size(), skipSpecial, &out, &error))
      return modelError("tokenizer: cannot decode the ids: " + takeBytes(error));
    return takeBytes(out);
  }

  int32_t vocabSize() const override { return size; }
  bool isSpecial(int32_t id) const override { return special.contains(id); }

  std::optional<int32_t> tokenId(std::string_view text) const override {
    int64_t id = -1;
    FuseboxTextBytes error;
    if (!fusebox_tokenizer_token_id(tokenizer.get(), text.data(), text.size(), &id, &error)) {
      fusebox_text_free(error);
      return std::nullopt;
    }
    return id < 0 || id > INT32_MAX ? std::nullopt : std::optional(int32_t(id));
  }

  std::optional<std::string> tokenText(int32_t id) const override {
    FuseboxTextBytes out, error;
    if (!fusebox_tokenizer_token_text(tokenizer.get(), uint32_t(id), &out, &error)) {
      fusebox_text_free(error);
      return std::nullopt;
    }
    return takeBytes(out);
  }

private:
  std::unique_ptr<FuseboxTokenizer, CloseTokenizer> tokenizer;
  int32_t size = 0;
  std::unordered_set<int32_t> special;
};

Result<void> HuggingFaceModel::readVocabulary() {
  FuseboxTextBytes out, error;
  if (!fusebox_tokenizer_describe(tokenizer.get(), &out, &error))
    return modelError("tokenizer.json: cannot read the vocabulary: " + takeBytes(error));
  nlohmann::json description = nlohmann::json::parse(takeBytes(out), nullptr, /*allow_exceptions=*/false);
  uint64_t count = description.value("size", uint64_t(0));
  if (count > INT32_MAX)
    return modelError("tokenizer.json: a token id is " + std::to_string(count - 1) +
                      "; expected less than 2^31, fetch the file again");
  size = int32_t(count);
  for (const auto &id : description["special"])
    special.insert(id.get<int32_t>());
  return {};
}

} // namespace

Result<std::unique_ptr<TokenizerModel>> fusebox::openHuggingFaceModel(std::string_view tokenizerJson) {
  FuseboxTokenizer *handle = nullptr;
  FuseboxTextBytes error;
  if (!fusebox_tokenizer_open(tokenizerJson.data(), tokenizerJson.size(), &handle, &error))
    return modelError("tokenizer.json: cannot be used: " + takeBytes(error));
  auto model = std::make_unique<HuggingFaceModel>(handle);
  FUSEBOX_TRY(model->readVocabulary());
  return std::unique_ptr<TokenizerModel>(std::move(model));
}
