// RUN: fusebox-opt %s --import-model='model=%data/golden/llama31-rope' | FileCheck %s
// Llama 3.1's scaling: the first frequencies as they are, the last ones divided by 8.

// CHECK: %angles = layer.rope_angles %positions inv_freq [1.0, 0.44036663, 0.07940301, 0.010674638, 0.004700754, 0.002070055, 0.00091158313, 0.00040143076, 0.00017677668, 7.7846555e-05, 3.4281024e-05, 1.5096218e-05, 6.6478697e-06, 2.9274997e-06, 1.2891732e-06, 5.677088e-07] : tensor<?x32xbf16>
