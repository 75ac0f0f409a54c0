// CUDA for a CPU, as far as preprocess.cu needs it: include this before it and compile with g++.
// Blocks run one after the other and so do threads, step by step: EACH_THREAD is a loop over threadIdx.x, which makes
// its end a barrier. `backwards` turns the order of blocks and threads round: a race between them changes the result.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

using std::abs;
using std::max;
using std::min;

struct Index { unsigned x, y; };
static Index threadIdx, blockIdx, blockDim, gridDim;
static bool backwards;

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)
#define __threadfence()
#define __ldg(address) (*(address))
#define EACH_THREAD \
    for (unsigned step = 0; step < blockDim.x && (threadIdx.x = backwards ? blockDim.x - 1 - step : step, true); ++step)

static unsigned atomicAdd(unsigned* at, unsigned value) { return (*at += value) - value; }

static unsigned short to_half(float value)  // to nearest, ties to even; a NaN does not occur
{
    uint32_t bits, sign;
    std::memcpy(&bits, &value, 4);
    sign = bits >> 16 & 0x8000u, bits &= 0x7fffffffu;
    if (bits >= 0x477ff000u) return sign | 0x7c00u;                                    // too large: infinite
    if (bits < 0x38800000u) return sign | (unsigned)rintf(std::fabs(value) * 0x1p24f);  // subnormal
    return sign | (bits - 0x38000000u + 0xfffu + (bits >> 13 & 1)) >> 13;
}

template <typename Job> static void run_blocks(void (*kernel)(Job), const Job& job, Index grid, unsigned threads)
{
    gridDim = grid, blockDim = {threads, 1};
    for (unsigned i = 0; i < grid.x * grid.y; ++i) {
        const unsigned at = backwards ? grid.x * grid.y - 1 - i : i;
        blockIdx = {at % grid.x, at / grid.x};
        kernel(job);
    }
}
