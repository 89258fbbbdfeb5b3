// Sessions of the C interface: steps, logits, generation.
#include "api/Api.h"

#include "runtime/cpu/ReadBandwidth.h"
#include "runtime/generate/Generate.h"
#include "support/Float.h"

#include <algorithm>

using namespace fusebox;

void fusebox_close(fusebox_session *session) { delete session; }

fusebox_status fusebox_info(fusebox_session *session, fusebox_model_info *info) {
  const plan::Program &program = session->session->program();
  *info = {};
  std::strncpy(info->name, program.model.name.c_str(), sizeof info->name - 1);
  std::strncpy(info->family, program.model.family.c_str(), sizeof info->family - 1);
  info->vocabulary = int32_t(program.model.vocabulary);
  info->layers = int32_t(program.model.layers);
  info->max_position = int32_t(program.model.maxPosition);
  info->context = int32_t(session->session->contextTokens());
  info->threads = int32_t(session->session->device().threads);
  info->weight_bytes = plan::bytesReadPerToken(program);
  for (const plan::KvCache &cache : program.kvCaches)
    info->kv_bytes_per_token += cache.layers * cache.pageBytes / cache.pageTokens;
  info->has_tokenizer = session->text.assets.kind != TokenizerKind::None;
  info->has_chat_template = info->has_tokenizer && !session->text.assets.chatTemplate.empty();
  return FUSEBOX_OK;
}

fusebox_status fusebox_read_bandwidth(fusebox_session *session, double *bytes_per_second) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(*bytes_per_second, measureReadBandwidth(session->session->device().threads));
    return {};
  });
}

fusebox_status fusebox_step(fusebox_session *session, const fusebox_batch *batch, const float **logits) {
  return api::guarded([&]() -> Result<void> {
    if (batch->token_count < 0 || batch->sequence_count < 0 || batch->logits_count < 0)
      return usageError("fusebox_step: a count is negative");
    Batch step;
    step.tokens = {batch->tokens, size_t(batch->token_count)};
    step.starts = {batch->starts, size_t(batch->sequence_count) + 1};
    step.slots = {batch->slots, size_t(batch->sequence_count)};
    step.logitsRows = {batch->logits_rows, size_t(batch->logits_count)};
    FUSEBOX_ASSIGN(Logits result, session->session->step(step));
    *logits = result.values;
    return {};
  });
}

int32_t fusebox_slot_length(fusebox_session *session, int32_t slot) {
  return session->hasSlot(slot) ? int32_t(session->session->length(uint32_t(slot))) : -1;
}

fusebox_status fusebox_slot_truncate(fusebox_session *session, int32_t slot, int32_t length) {
  return api::guarded([&]() -> Result<void> {
    if (!session->hasSlot(slot) || length < 0)
      return usageError("slot " + std::to_string(slot) + " can't be cut to " + std::to_string(length) +
                        " tokens");
    return session->session->truncate(uint32_t(slot), uint32_t(length));
  });
}

/// A node's rows as f32.
static Result<std::vector<float>> widened(const NodeReport &report) {
  std::vector<float> values(report.rows * report.value->columns);
  for (uint64_t row = 0; row < report.rows; ++row) {
    const std::byte *data = report.data + row * report.rowStride;
    float *out = values.data() + row * report.value->columns;
    for (uint64_t column = 0; column < report.value->columns; ++column)
      switch (report.value->dtype) {
      case DType::F32: {
        std::memcpy(&out[column], data + column * 4, 4);
        break;
      }
      case DType::BF16: {
        uint16_t bits;
        std::memcpy(&bits, data + column * 2, 2);
        out[column] = bf16ToF32(bits);
        break;
      }
      default:
        return internalError(report.name() + ": values of type " +
                             std::string(dtypeName(report.value->dtype)) + " can't be shown");
      }
  }
  return values;
}

fusebox_status fusebox_logits(fusebox_session *session, const int32_t *tokens, int32_t count, float *logits,
                              fusebox_activation activation, void *user) {
  return api::guarded([&]() -> Result<void> {
    if (activation)
      session->session->observe([&](const NodeReport &report) -> Result<void> {
        FUSEBOX_ASSIGN(std::vector<float> values, widened(report));
        activation(user, report.name().c_str(), values.data(), int64_t(report.rows),
                   int64_t(report.value->columns));
        return {};
      });
    FUSEBOX_ASSIGN(Sequence * sequence, session->sequence(0));
    Result<void> done = sequence->truncate(0);
    if (done)
      done =
          sequence->appendAll({tokens, size_t(count)}, [&](size_t first, const Logits &rows) -> Result<void> {
            std::copy_n(rows.values, size_t(rows.rows) * rows.vocabulary, logits + first * rows.vocabulary);
            if (!session->report("logits", double(first + rows.rows) / count))
              return resourceError("logits: cancelled");
            return {};
          });
    session->session->observe({});
    return done;
  });
}

fusebox_status fusebox_session_tokenizer(fusebox_session *session, fusebox_tokenizer **tokenizer) {
  return api::guarded([&]() -> Result<void> {
    if (session->text.assets.kind == TokenizerKind::None)
      return modelError(session->name + ": came without a tokenizer; give token ids with --ids");
    if (!session->text.get())
      return session->text.get().error();
    *tokenizer = &session->text;
    return {};
  });
}

void fusebox_generate_options_init(fusebox_generate_options *options) {
  SamplingOptions sampling;
  *options = {};
  options->size = sizeof *options;
  options->max_tokens = -1;
  options->temperature = sampling.temperature;
  options->top_k = sampling.topK;
  options->top_p = sampling.topP;
  options->min_p = sampling.minP;
  options->repeat_penalty = sampling.repeatPenalty;
  options->repeat_last = sampling.repeatLast;
  options->certified_lead = -1;
}

fusebox_status fusebox_generate(fusebox_session *session, const int32_t *ids, int32_t count,
                                const fusebox_generate_options *given, fusebox_on_token on_token, void *user,
                                fusebox_generation *generation) {
  return api::guarded([&]() -> Result<void> {
    FUSEBOX_ASSIGN(fusebox_generate_options options, api::complete(given, fusebox_generate_options_init));
    FUSEBOX_ASSIGN(Sequence * sequence, session->sequence(options.slot));
    GenerateOptions request;
    request.sampling = {options.temperature,    options.top_k,       options.top_p, options.min_p,
                        options.repeat_penalty, options.repeat_last, options.seed};
    request.maxTokens = options.max_tokens;
    request.certifiedLead = options.certified_lead;
    request.ignoreEos = options.ignore_eos != 0;
    request.stops.assign(options.stops, options.stops + options.stop_count);
    request.promptProgress = [&](size_t done) { return session->report("prompt", double(done) / count); };
    const Tokenizer *tokenizer = nullptr;
    std::vector<int32_t> eosIds;
    if (session->text.assets.kind != TokenizerKind::None) {
      const Result<Tokenizer> &opened = session->text.get();
      if (!opened)
        return opened.error();
      tokenizer = &*opened;
      FUSEBOX_ASSIGN(eosIds, endOfTextIds(session->text.assets, *tokenizer));
    } else {
      FUSEBOX_ASSIGN(GenerationDefaults defaults, readGenerationDefaults(session->text.assets));
      eosIds = defaults.eosIds;
    }
    auto callback = [&](int32_t id, const std::string &text) {
      return on_token(user, id, tokenizer ? text.c_str() : nullptr) == 0;
    };
    FUSEBOX_ASSIGN(Generation made,
                   fusebox::generate(*sequence, tokenizer, eosIds, {ids, size_t(count)}, request, callback));
    *generation = {int32_t(made.promptTokens),
                   int32_t(made.generatedTokens),
                   finishReasonName(made.reason),
                   made.prefillSeconds,
                   made.decodeSeconds,
                   int32_t(made.certifiedTokens),
                   made.leastLead};
    return {};
  });
}
