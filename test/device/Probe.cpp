#include "runtime/session/Session.h"
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>
using namespace fusebox;
static std::vector<float> logitsOf(Session &s, std::span<const int32_t> ids, size_t chunk, bool alone) {
  (void)s.truncate(0, 0);
  if (alone) s.observe([](const NodeReport &) { return Result<void>(); });
  std::vector<float> all;
  for (size_t first = 0; first < ids.size(); first += chunk) {
    auto part = ids.subspan(first, std::min(chunk, ids.size() - first));
    int32_t starts[] = {0, int32_t(part.size())}, slots[] = {0};
    std::vector<int32_t> rows(part.size());
    std::iota(rows.begin(), rows.end(), 0);
    auto l = s.step({part, starts, slots, rows});
    if (!l) { std::printf("step: %s\n", l.error().message.c_str()); std::exit(1); }
    all.insert(all.end(), l->values, l->values + size_t(l->rows) * l->vocabulary);
  }
  s.observe({});
  return all;
}
static double err(const std::vector<float> &a, const std::vector<float> &b) {
  double d = 0, n = 0;
  for (size_t i = 0; i < b.size(); ++i) d += (double(a[i]) - b[i]) * (double(a[i]) - b[i]), n += double(b[i]) * b[i];
  return std::sqrt(d / n);
}
int main(int argc, char **argv) {
  // PLAN WEIGHTS cpu|cuda REF
  SessionOptions o;
  bool cuda = !std::strcmp(argv[3], "cuda");
  o.kind = cuda ? plan::TargetKind::Cuda : plan::TargetKind::Cpu;
  o.weights.weightsDir = argv[2];
  o.contextTokens = 256;
  auto session = Session::open(argv[1], o);
  if (!session) { std::printf("open %s: %s\n", argv[1], session.error().message.c_str()); return 1; }
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) ids.push_back((i * 37 + 11) % 384);
  auto pre = logitsOf(**session, ids, 40, false);
  if (!cuda) {
    std::ofstream(argv[4], std::ios::binary).write(reinterpret_cast<char *>(pre.data()), std::streamsize(pre.size() * 4));
    std::printf("%zu logits\n", pre.size());
    return 0;
  }
  std::vector<float> ref(pre.size());
  std::ifstream(argv[4], std::ios::binary).read(reinterpret_cast<char *>(ref.data()), std::streamsize(ref.size() * 4));
  auto preAlone = logitsOf(**session, ids, 40, true), dec = logitsOf(**session, ids, 1, false), decAlone = logitsOf(**session, ids, 1, true),
       four = logitsOf(**session, ids, 4, false), fourAlone = logitsOf(**session, ids, 4, true), nine = logitsOf(**session, ids, 9, false);
  std::printf("%-34s to CPU: prefill %.4f decode %.4f; merged = separate: prefill %s decode %s four %s; batch bits %s %s\n", argv[1], err(pre, ref),
              err(dec, ref), pre == preAlone ? "yes" : "NO", dec == decAlone ? "yes" : "NO", four == fourAlone ? "yes" : "NO", dec == four ? "same" : "DIFFER", dec == nine ? "same" : "DIFFER");
}
