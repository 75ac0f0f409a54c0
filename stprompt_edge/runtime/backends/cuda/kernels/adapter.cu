// Embeddings of a frame and of its selected windows -> what the heads read, in ONE launch of one block.
//
// THE RULE (motion.aggregate and temporal.StreamingKernel are the definition; all of it in float32)
//   SA2        eq. 2-3: x = x_clip + sum_k a_k w_k / sum_k a_k, with a_k = exp(motion_k - the largest motion).
//   adapter    eq. 4, without lookahead: context = sum_d g_d x(now - d) / sum_d g_d, with g_d = exp(-d / sigma) for
//              d = 0 .. slots - 1, made on the host; `slots` is where g falls under 1e-6.
//   start      frames before the first one do not exist: both sums end at the oldest frame that there is.
//   order      windows as they are given, frames from the newest to the oldest; a product may be fused with its sum.
//
// A thread owns columns of the embedding, from the windows to the context, so threads share nothing but the counters:
// weights are computed by each thread for itself, K exponentials, which costs less than a barrier. One block, because
// there is little to do: at the paper's sigma of 1 it reads (12 + 14) x 2 KB.
//
// Counters and ring live on the device, so every launch of a stream has the same arguments and may be captured in a
// CUDA graph. They do not overflow: `state` holds how many frames are in the ring, not how many there were.
//
// Compiled behind preprocess.cu (kernels.cu), whose EACH_THREAD and THREADS it uses.

struct AdapterJob {             // adapter.py has the same fields; a test compares size and offsets
    const float* frame;         // [width] x_clip
    const float* windows;       // [selected][width]
    const float* motion;        // [selected]
    const float* weights;       // [slots] g
    float* ring;                // [slots][width] x of the last frames
    float* features;            // [width] x of this one
    float* context;             // [width]
    word* state;                // frames in the ring (0..slots), slot of the newest
    int width, selected, slots;
};

// Column d of x.
static __device__ float aggregated(const AdapterJob& job, int d)
{
    float largest = job.motion[0], sum = 0, total = 0;
    for (int k = 1; k < job.selected; ++k) largest = max(largest, job.motion[k]);
    for (int k = 0; k < job.selected; ++k) {
        const float attention = expf(job.motion[k] - largest);
        sum += attention * job.windows[k * job.width + d];
        total += attention;
    }
    return job.frame[d] + sum / total;
}

// Column d of the context; `x` is in no slot yet.
static __device__ float smoothed(const AdapterJob& job, int d, float x)
{
    const int held = job.state[0], newest = job.state[1];
    float sum = job.weights[0] * x, total = job.weights[0];
    for (int distance = 1; distance <= min(held, job.slots - 1); ++distance) {
        const int slot = (newest + 1 - distance + job.slots) % job.slots;
        sum += job.weights[distance] * job.ring[slot * job.width + d];
        total += job.weights[distance];
    }
    return sum / total;
}

extern "C" __global__ void __launch_bounds__(THREADS) adapter(const AdapterJob job)
{
    EACH_THREAD {
        const int next = (job.state[1] + 1) % job.slots;
        for (int d = threadIdx.x; d < job.width; d += THREADS) {
            const float x = aggregated(job, d);
            job.features[d] = x;
            job.context[d] = smoothed(job, d, x);
            job.ring[next * job.width + d] = x;
        }
    }
    EACH_THREAD {
        if (threadIdx.x == 0) {
            job.state[0] = min(job.state[0] + 1, (word)job.slots);
            job.state[1] = (job.state[1] + 1) % job.slots;
        }
    }
}
