# lit's view of the tests: every .mlir file below test/ is one, run through fusebox-opt and FileCheck.
# The build folder's lit.site.cfg.py sets the paths and loads this file.
import os

import lit.formats

config.name = "fusebox"
config.test_format = lit.formats.ShTest(True)
config.suffixes = [".mlir", ".test"]
config.excludes = ["data", "unit", "golden"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.fusebox_build, "test", "lit")

tools = os.path.join(config.fusebox_build, "bin")
config.environment["PATH"] = os.pathsep.join([tools, config.llvm_tools, os.environ["PATH"]])
config.substitutions.append(("%data", os.path.join(config.test_source_root, "data")))
config.substitutions.append(("%root", config.fusebox_source))
config.substitutions.append(("%build", config.fusebox_build))
