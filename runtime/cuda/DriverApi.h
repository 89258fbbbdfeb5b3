// The part of the CUDA driver API that Fusebox calls, declared here so that building needs no CUDA headers.
//
// Names, values and layouts are those of the driver's binary interface (CUDA 12 and 13), which NVIDIA keeps
// stable; functions that were revised carry the suffix of the revision.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusebox::cuda {

using Status = int; ///< CUresult; 0 is success
using DevicePtr = unsigned long long;
using DeviceHandle = int;
struct ContextTag;
struct ModuleTag;
struct FunctionTag;
struct StreamTag;
struct EventTag;
struct GraphTag;
struct GraphExecTag;
using Context = ContextTag *;
using ModuleHandle = ModuleTag *;
using Function = FunctionTag *;
using StreamHandle = StreamTag *;
using EventHandle = EventTag *;
using Graph = GraphTag *;
using GraphExec = GraphExecTag *;

inline constexpr Status success = 0, errorOutOfMemory = 2, errorNotFound = 500, errorNotReady = 600;

/// CUdevice_attribute
inline constexpr int attributeMultiprocessors = 16, attributeL2Bytes = 38, attributeMajor = 75,
                     attributeMinor = 76, attributeSharedMost = 97;
/// CUfunction_attribute
inline constexpr int functionSharedBytes = 1, functionLocalBytes = 3, functionRegisters = 4,
                     functionMaxDynamicShared = 8;
inline constexpr unsigned streamNonBlocking = 1, eventDefault = 0, eventNoTiming = 2;
inline constexpr int captureThreadLocal = 1;

/// CUlaunchAttribute: an id and a union of 64 bytes.
struct LaunchAttribute {
  int id;
  char pad[4];
  union {
    char bytes[64];
    int programmaticStreamSerialization;
  };
};
inline constexpr int launchProgrammaticSerialization = 6;

/// CUlaunchConfig
struct LaunchConfig {
  unsigned gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes;
  StreamHandle stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};

// X(member, exported symbol, parameters): every function of the table below.
#define FUSEBOX_CUDA_FUNCTIONS(X)                                                                            \
  X(init, cuInit, (unsigned))                                                                                \
  X(driverGetVersion, cuDriverGetVersion, (int *))                                                           \
  X(getErrorName, cuGetErrorName, (Status, const char **))                                                   \
  X(getErrorString, cuGetErrorString, (Status, const char **))                                               \
  X(deviceGetCount, cuDeviceGetCount, (int *))                                                               \
  X(deviceGet, cuDeviceGet, (DeviceHandle *, int))                                                           \
  X(deviceGetName, cuDeviceGetName, (char *, int, DeviceHandle))                                             \
  X(deviceGetAttribute, cuDeviceGetAttribute, (int *, int, DeviceHandle))                                    \
  X(deviceTotalMem, cuDeviceTotalMem_v2, (size_t *, DeviceHandle))                                           \
  X(primaryContextRetain, cuDevicePrimaryCtxRetain, (Context *, DeviceHandle))                               \
  X(primaryContextRelease, cuDevicePrimaryCtxRelease_v2, (DeviceHandle))                                     \
  X(contextSetCurrent, cuCtxSetCurrent, (Context))                                                           \
  X(memGetInfo, cuMemGetInfo_v2, (size_t *, size_t *))                                                       \
  X(memAlloc, cuMemAlloc_v2, (DevicePtr *, size_t))                                                          \
  X(memFree, cuMemFree_v2, (DevicePtr))                                                                      \
  X(memHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                                               \
  X(memFreeHost, cuMemFreeHost, (void *))                                                                    \
  X(memcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (DevicePtr, const void *, size_t, StreamHandle))                  \
  X(memcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, DevicePtr, size_t, StreamHandle))                        \
  X(memcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (DevicePtr, DevicePtr, size_t, StreamHandle))                     \
  X(memsetD8Async, cuMemsetD8Async, (DevicePtr, unsigned char, size_t, StreamHandle))                        \
  X(moduleLoadData, cuModuleLoadData, (ModuleHandle *, const void *))                                        \
  X(moduleUnload, cuModuleUnload, (ModuleHandle))                                                            \
  X(moduleGetFunction, cuModuleGetFunction, (Function *, ModuleHandle, const char *))                        \
  X(funcGetAttribute, cuFuncGetAttribute, (int *, int, Function))                                            \
  X(funcSetAttribute, cuFuncSetAttribute, (Function, int, int))                                              \
  X(streamCreate, cuStreamCreate, (StreamHandle *, unsigned))                                                \
  X(streamDestroy, cuStreamDestroy_v2, (StreamHandle))                                                       \
  X(streamSynchronize, cuStreamSynchronize, (StreamHandle))                                                  \
  X(streamQuery, cuStreamQuery, (StreamHandle))                                                              \
  X(streamWaitEvent, cuStreamWaitEvent, (StreamHandle, EventHandle, unsigned))                               \
  X(streamBeginCapture, cuStreamBeginCapture_v2, (StreamHandle, int))                                        \
  X(streamEndCapture, cuStreamEndCapture, (StreamHandle, Graph *))                                           \
  X(eventCreate, cuEventCreate, (EventHandle *, unsigned))                                                   \
  X(eventDestroy, cuEventDestroy_v2, (EventHandle))                                                          \
  X(eventRecord, cuEventRecord, (EventHandle, StreamHandle))                                                 \
  X(eventQuery, cuEventQuery, (EventHandle))                                                                 \
  X(eventSynchronize, cuEventSynchronize, (EventHandle))                                                     \
  X(eventElapsedTime, cuEventElapsedTime, (float *, EventHandle, EventHandle))                               \
  X(launchKernelEx, cuLaunchKernelEx, (const LaunchConfig *, Function, void **, void **))                    \
  X(graphInstantiate, cuGraphInstantiateWithFlags, (GraphExec *, Graph, unsigned long long))                 \
  X(graphLaunch, cuGraphLaunch, (GraphExec, StreamHandle))                                                   \
  X(graphExecDestroy, cuGraphExecDestroy, (GraphExec))                                                       \
  X(graphDestroy, cuGraphDestroy, (Graph))

/// The driver's functions, as loaded from libcuda.
struct DriverApi {
#define FUSEBOX_CUDA_MEMBER(member, symbol, parameters) Status(*member) parameters = nullptr;
  FUSEBOX_CUDA_FUNCTIONS(FUSEBOX_CUDA_MEMBER)
#undef FUSEBOX_CUDA_MEMBER
};

} // namespace fusebox::cuda
