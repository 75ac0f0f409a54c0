// The kernels on the host, for ctypes.
#include "shim.h"
#include "kernels.cu"
#include <cstddef>

extern "C" void launch(void (*kernel)(Job), const Job* job, unsigned grid_x, unsigned grid_y, bool in_reverse)
{
    backwards = in_reverse;
    run_blocks<Job>(kernel, *job, {grid_x, grid_y}, THREADS);
}

extern "C" void launch_adapter(const AdapterJob* job, bool in_reverse)
{
    backwards = in_reverse;
    run_blocks<AdapterJob>(adapter, *job, {1, 1}, THREADS);
}

extern "C" int adapter_layout(int* offsets)
{
    const int found[] = {offsetof(AdapterJob, frame), offsetof(AdapterJob, weights), offsetof(AdapterJob, state),
                         offsetof(AdapterJob, width), offsetof(AdapterJob, slots)};
    std::memcpy(offsets, found, sizeof found);
    return sizeof(AdapterJob);
}

extern "C" int job_layout(int* offsets)  // offsets of the first and last fields of each kind; gives the size
{
    const int found[] = {offsetof(Job, source), offsetof(Job, state), offsetof(Job, width), offsetof(Job, causal),
                         offsetof(Job, blue_u), offsetof(Job, inverse_area), offsetof(Job, scale), offsetof(Job, offset)};
    std::memcpy(offsets, found, sizeof found);
    return sizeof(Job);
}

extern "C" unsigned short half_of(float value) { return to_half(value); }
