#include "runtime/session/ChooseProgram.h"

#include <algorithm>

using namespace fusebox;

namespace {

class Chooser {
public:
  Chooser(const plan::PlanReader &plan, const SessionOptions &options) : plan(plan), options(options) {}

  Result<ProgramChoice> run() {
    for (const plan::Section &section : plan.sections())
      if (section.kind == plan::SectionKind::Program)
        read(section);
    for (plan::TargetKind kind : kinds)
      if (auto choice = choose(kind))
        return std::move(*choice);
    return error();
  }

private:
  struct Candidate {
    std::string name;
    std::shared_ptr<const plan::Program> program;
  };
  struct Reason {
    std::string name;
    Error error;
  };

  const plan::PlanReader &plan;
  const SessionOptions &options;
  std::vector<Candidate> candidates;
  std::vector<plan::TargetKind> kinds; ///< in the plan's order
  std::vector<Reason> reasons;

  void read(const plan::Section &section) {
    auto program = plan.readProgram(section);
    if (!program) {
      reasons.push_back({section.name, program.error()});
      return;
    }
    plan::TargetKind kind = program->targets[0].kind;
    if (options.kind && *options.kind != kind) {
      reasons.push_back({section.name, modelError("the plan holds code for " + section.name +
                                                  ", not for the device that was asked for")});
      return;
    }
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
      kinds.push_back(kind);
    candidates.push_back({section.name, std::make_shared<const plan::Program>(std::move(*program))});
  }

  /// The best program for a kind of device; why there is none is added to the reasons.
  std::optional<ProgramChoice> choose(plan::TargetKind kind) {
    auto device = openDevice({kind, options.deviceIndex, options.threads});
    std::optional<ProgramChoice> fromSource;
    for (const Candidate &candidate : candidates) {
      if (candidate.program->targets[0].kind != kind)
        continue;
      if (!device) {
        reasons.push_back({candidate.name, device.error()});
        continue;
      }
      for (uint32_t target = 0; target < candidate.program->targets.size(); ++target) {
        auto fit = supports(*device, candidate.program->targets[target]);
        if (!fit)
          reasons.push_back({candidate.name, fit.error()});
        else if (*fit == Fit::Exact)
          return ProgramChoice{candidate.program, target, *device};
        else if (!fromSource)
          fromSource = ProgramChoice{candidate.program, target, *device};
      }
    }
    return fromSource;
  }

  /// The reasons, each once, with the programs it holds for.
  Error error() const {
    if (reasons.empty())
      return modelError(plan.path() + ": the plan holds no program; compile it again");
    const Error &first = reasons.front().error;
    bool same = std::all_of(reasons.begin(), reasons.end(),
                            [&](const Reason &reason) { return reason.error.message == first.message; });
    if (same) {
      bool named = first.message.rfind(plan.path(), 0) == 0;
      return Error{first.kind, named ? first.message : plan.path() + ": " + first.message};
    }
    std::string text = plan.path() + ": no program of the plan can run here";
    for (const Reason &reason : reasons)
      text += "\n  " + reason.name + ": " + reason.error.message;
    return Error{first.kind, text};
  }
};

} // namespace

Result<ProgramChoice> fusebox::chooseProgram(const plan::PlanReader &plan, const SessionOptions &options) {
  return Chooser(plan, options).run();
}
