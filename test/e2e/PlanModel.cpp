#include "PlanModel.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

using namespace fusebox;

std::string test::golden(const std::string &name) { return FUSEBOX_TEST_DATA "/golden/" + name; }

std::optional<CompiledPlan> test::compile(const std::string &model, const CompileOptions &options) {
  Result<CompiledPlan> plan = compileModel(model, options);
  if (plan)
    return std::move(*plan);
  ADD_FAILURE() << plan.error().message;
  return std::nullopt;
}

const CompiledPlan &test::compiledGolden(const std::string &name, DType dtype) {
  static std::map<std::pair<std::string, DType>, CompiledPlan> plans;
  auto found = plans.find({name, dtype});
  if (found != plans.end())
    return found->second;
  Result<CompiledPlan> plan = compileModel(golden(name), {.dtype = dtype});
  if (!plan) {
    fprintf(stderr, "%s\n", plan.error().message.c_str());
    abort();
  }
  return plans.emplace(std::pair(name, dtype), std::move(*plan)).first->second;
}

std::unique_ptr<Session> test::open(const CompiledPlan &plan, const SessionOptions &options) {
  Result<plan::PlanReader> reader = plan::PlanReader::fromBytes(plan.writer.encode(), "test.plan");
  if (!reader) {
    ADD_FAILURE() << reader.error().message;
    return nullptr;
  }
  Result<std::unique_ptr<Session>> session = Session::open(*reader, options);
  if (session)
    return std::move(*session);
  ADD_FAILURE() << session.error().message;
  return nullptr;
}

std::vector<float> test::step(Session &session, std::span<const int32_t> tokens, uint32_t slot) {
  int32_t starts[] = {0, int32_t(tokens.size())}, slots[] = {int32_t(slot)};
  std::vector<int32_t> rows(tokens.size());
  std::iota(rows.begin(), rows.end(), 0);
  Result<Logits> logits = session.step({tokens, starts, slots, rows});
  if (!logits) {
    ADD_FAILURE() << logits.error().message;
    return {};
  }
  return {logits->values, logits->values + size_t(logits->rows) * logits->vocabulary};
}
