// RUN: fusebox-opt %s --fuse=fusion=certified | FileCheck %s
// RUN: not fusebox-opt %s --fuse=fusion=maybe 2>&1 | FileCheck %s --check-prefix=UNKNOWN

// CHECK: module
// UNKNOWN: no fusion policy is named 'maybe': expected certified, score, none or force
module {}
