// Camera frame -> network image, window motions and the K windows with most motion, in ONE launch.
//
// THE RULE (preprocess.py and motion.py are the definition; everything up to the rounded byte is integer arithmetic)
//   sampling   the frame is resized to size x size without keeping its aspect ratio. An axis that shrinks is
//              area-averaged: pixel i covers [i N/n, (i+1) N/n) of the N source pixels, and a source pixel counts with
//              its overlap, an integer in units of 1/n. An axis that grows is interpolated afterwards: half-pixel
//              centres, two taps, weights in units of 1/(2n).
//   border     source pixels outside the frame do not exist: no area reaches them, taps are clamped to the edge.
//   rounding   to the nearest uint8, after the area average and again after the interpolation; float32 decides, and
//              ties go to even.
//   NV12       becomes BGR uint8 first, pixel by pixel: chroma of its 2 x 2 block, rule of reference.py.
//   image      RGB, planes, (value / 255 - mean) / std, in float32, stored as float32 or (to nearest even) float16.
//   luma       114 B + 587 G + 299 R: an integer, 255000 times the definition's.
//   motion     mean over a window of |next - 2 middle + previous| of luma: integer sums, so no order of summation
//              changes them. Before frame 0 there is frame 0.
//   selection  the K largest motions, ties to the lower index.
//
// WHO DOES WHAT. A block of THREADS owns one tile: the pixels of one ViT patch, of which windows are made. It resizes
// them, puts them into the ring of three, compares them with their own past there, normalises the frame that the
// motion is of, and leaves one sum. The block that finishes last (a ticket counts; its sums do not depend on who that
// is) adds tiles to windows and selects: a second launch of one block would cost more than the ticket. The frame count
// lives on the device, so every launch of a stream has the same arguments and may be captured in a CUDA graph.
//
// The ring keeps resized pixels, not luma: with `centered` timing the image is of the frame before, at one address.
//
// EACH_THREAD { } is a step of all threads of a block, with a barrier at its end. What one step leaves to the next is
// in shared or global memory, never in a local variable: shim.h runs the same source on a CPU, step by step.

#ifdef __CUDACC__
#define EACH_THREAD for (bool once = true; once; once = false, __syncthreads())

static __device__ unsigned short to_half(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

#define THREADS 256
#define TILE_PIXELS 1024   // of the fast kernel
#define GROUP 4            // source pixels that a thread of the fast kernel loads at once

typedef unsigned char byte;
typedef unsigned int word;
typedef unsigned long long wide;

struct Job {                    // job.py has the same fields; a test compares size and offsets
    const byte* source;         // BGR, or the luma of NV12; null: the newest frame once more
    const byte* chroma;         // U V of NV12; null for BGR
    word* ring;                 // [3][size][size] B | G << 8 | R << 16
    void* image;                // [3][size][size] RGB
    word* tile_sums;            // [tiles]
    float* motion;              // [windows]
    long long* fine;            // [selected], most motion first
    float* fine_motion;         // [selected]
    word* state;                // tickets taken, frames in the ring (0..3), slot of the newest
    int width, height, pitch, chroma_pitch;
    int size, tile, window_size, window_stride, windows_per_side, selected;
    int causal, half_image;
    int luma_offset, luma_gain, red_v, green_u, green_v, blue_u;
    float inverse_area, motion_scale;
    float scale[3], offset[3];  // RGB
};

// ---- weights ---------------------------------------------------------------------------------------------------------

struct Span { int begin, end; };

// Source pixels that output pixel i of n covers.
static __device__ Span span_of(int i, int source, int n)
{
    Span span = {i * source / n, ((i + 1) * source + n - 1) / n};
    return span;
}

// Overlap of source pixel p with output pixel i of n, in units of 1/n source pixels; over p they add up to `source`.
static __device__ word overlap(int p, int i, int source, int n)
{
    return min((p + 1) * n, (i + 1) * source) - max(p * n, i * source);
}

struct Taps { int left, right; word left_weight, right_weight; };  // weights add up to 2n

static __device__ Taps taps_of(int i, int source, int n)
{
    Taps taps = {i, i, 2u * n, 0};
    if (source < n) {
        const int position = (2 * i + 1) * source - n;  // of the left tap, in units of 1/(2n); negative at the edge
        const int left = position < 0 ? -1 : position / (2 * n);
        taps.left = max(left, 0);
        taps.right = min(left + 1, source - 1);
        taps.right_weight = position - left * 2 * n;
        taps.left_weight = 2 * n - taps.right_weight;
    }
    return taps;
}

// ---- source pixels -----------------------------------------------------------------------------------------------------

static __device__ word clip(int value) { return min(max(value >> 16, 0), 255); }

static __device__ word bgr_of(const Job& job, int luma, int u, int v)
{
    const int scaled = job.luma_gain * (luma - job.luma_offset) + (1 << 15);
    const word blue = clip(scaled + job.blue_u * (u - 128));
    const word green = clip(scaled + job.green_u * (u - 128) + job.green_v * (v - 128));
    const word red = clip(scaled + job.red_v * (v - 128));
    return blue | green << 8 | red << 16;
}

static __device__ word source_pixel(const Job& job, int x, int y)
{
    const byte* row = job.source + (wide)y * job.pitch;
    if (!job.chroma) return row[3 * x] | row[3 * x + 1] << 8 | row[3 * x + 2] << 16;
    const byte* pair = job.chroma + (wide)(y / 2) * job.chroma_pitch + (x & ~1);
    return bgr_of(job, row[x], pair[0], pair[1]);
}

// ---- plain: one thread, one output pixel ---------------------------------------------------------------------------------

static __device__ word rounded_area(const Job& job, wide sum) { return (word)rintf((float)sum * job.inverse_area); }

// Pixel (x, y) of the frame area-averaged to width x height.
static __device__ word area_pixel(const Job& job, int x, int y, int width, int height)
{
    const Span columns = span_of(x, job.width, width), rows = span_of(y, job.height, height);
    wide sums[3] = {0, 0, 0};
    for (int sy = rows.begin; sy < rows.end; ++sy)
        for (int sx = columns.begin; sx < columns.end; ++sx) {
            const wide weight = (wide)overlap(sy, y, job.height, height) * overlap(sx, x, job.width, width);
            const word pixel = source_pixel(job, sx, sy);
            for (int c = 0; c < 3; ++c) sums[c] += weight * (pixel >> 8 * c & 255);
        }
    return rounded_area(job, sums[0]) | rounded_area(job, sums[1]) << 8 | rounded_area(job, sums[2]) << 16;
}

static __device__ word plain_pixel(const Job& job, int x, int y)
{
    const int width = min(job.width, job.size), height = min(job.height, job.size);
    if (width == job.size && height == job.size) return area_pixel(job, x, y, width, height);
    const Taps columns = taps_of(x, width, job.size), rows = taps_of(y, height, job.size);
    word sums[3] = {0, 0, 0};
    for (int corner = 0; corner < 4; ++corner) {
        const bool right = corner & 1, lower = corner & 2;
        const word weight = (right ? columns.right_weight : columns.left_weight) *
                            (lower ? rows.right_weight : rows.left_weight);
        if (!weight) continue;
        const word pixel = area_pixel(job, right ? columns.right : columns.left, lower ? rows.right : rows.left,
                                      width, height);
        for (int c = 0; c < 3; ++c) sums[c] += weight * (pixel >> 8 * c & 255);
    }
    const float total = 4.0f * job.size * job.size;
    word pixel = 0;
    for (int c = 0; c < 3; ++c) pixel |= (word)rintf(sums[c] / total) << 8 * c;
    return pixel;
}

// ---- the ring, the image and the tile's motion -----------------------------------------------------------------------------

struct Slots { int next, middle, previous; };  // of the ring; `next` is this frame's

static __device__ Slots slots_of(const word* state)
{
    const int frames = state[1], newest = state[2];
    Slots slots = {(newest + 1) % 3, newest, (newest + 2) % 3};
    if (frames < 1) slots.middle = slots.next;
    if (frames < 2) slots.previous = slots.middle;
    return slots;
}

static __device__ int luma_of(word pixel)
{
    return 114 * (pixel & 255) + 587 * (pixel >> 8 & 255) + 299 * (pixel >> 16 & 255);
}

static __device__ void write_image(const Job& job, int at, word pixel)
{
    for (int c = 0; c < 3; ++c) {
        const float value = (float)(pixel >> 8 * (2 - c) & 255) * job.scale[c] + job.offset[c];
        const int index = c * job.size * job.size + at;
        if (job.half_image) ((unsigned short*)job.image)[index] = to_half(value);
        else ((float*)job.image)[index] = value;
    }
}

// One pixel of this frame is known: keep it, write the image's, give |next - 2 middle + previous| of luma.
static __device__ word finish_pixel(const Job& job, const Slots& slots, int x, int y, word pixel)
{
    const int area = job.size * job.size, at = y * job.size + x;
    job.ring[slots.next * area + at] = pixel;
    const word middle = slots.middle == slots.next ? pixel : job.ring[slots.middle * area + at];
    const word previous = slots.previous == slots.next ? pixel : job.ring[slots.previous * area + at];
    write_image(job, at, job.causal ? pixel : middle);
    return abs(luma_of(pixel) - 2 * luma_of(middle) + luma_of(previous));
}

// ---- windows, by the last block ----------------------------------------------------------------------------------------------

static __device__ float window_motion(const Job& job, int window)
{
    const int tiles = job.window_size / job.tile, step = job.window_stride / job.tile, per_row = job.size / job.tile;
    const int first_y = window / job.windows_per_side * step, first_x = window % job.windows_per_side * step;
    const volatile word* sums = job.tile_sums;  // written by other blocks of this launch
    wide sum = 0;
    for (int y = first_y; y < first_y + tiles; ++y)
        for (int x = first_x; x < first_x + tiles; ++x) sum += sums[y * per_row + x];
    return (float)sum * job.motion_scale;
}

static __device__ int rank_of(const float* motion, int window, int windows)
{
    int rank = 0;
    for (int other = 0; other < windows; ++other)
        rank += motion[other] > motion[window] || (motion[other] == motion[window] && other < window);
    return rank;
}

// `sums` holds one number for each thread. The block's sum goes to its tile; the last block goes on to the windows.
static __device__ void finish_block(const Job& job, const Slots& slots, word* sums)
{
    __shared__ bool last;
    const int windows = job.windows_per_side * job.windows_per_side;
    EACH_THREAD {
        if (threadIdx.x < 16)
            for (int i = threadIdx.x + 16; i < THREADS; i += 16) sums[threadIdx.x] += sums[i];
    }
    EACH_THREAD {
        if (threadIdx.x == 0) {
            word sum = 0;
            for (int i = 0; i < 16; ++i) sum += sums[i];
            job.tile_sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
            __threadfence();  // the sum is seen before the ticket
            last = atomicAdd(&job.state[0], 1u) == gridDim.x * gridDim.y - 1;
            __threadfence();
        }
    }
    if (!last) return;
    EACH_THREAD {
        for (int w = threadIdx.x; w < windows; w += THREADS) job.motion[w] = window_motion(job, w);
    }
    EACH_THREAD {
        for (int w = threadIdx.x; w < windows; w += THREADS) {
            const int rank = rank_of(job.motion, w, windows);
            if (rank < job.selected) {
                job.fine[rank] = w;
                job.fine_motion[rank] = job.motion[w];
            }
        }
        if (threadIdx.x == 0) {
            job.state[0] = 0;
            job.state[1] = min(job.state[1] + 1, 3u);
            job.state[2] = slots.next;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) preprocess_plain(const Job job)
{
    __shared__ word sums[THREADS];
    const Slots slots = slots_of(job.state);
    const int x0 = blockIdx.x * job.tile, y0 = blockIdx.y * job.tile;
    EACH_THREAD {
        word sum = 0;
        for (int i = threadIdx.x; i < job.tile * job.tile; i += THREADS) {
            const int x = x0 + i % job.tile, y = y0 + i / job.tile;
            const word pixel = job.source ? plain_pixel(job, x, y)
                                          : job.ring[(slots.next + 2) % 3 * job.size * job.size + y * job.size + x];
            sum += finish_pixel(job, slots, x, y, pixel);
        }
        sums[threadIdx.x] = sum;
    }
    finish_block(job, slots, sums);
}

// ---- fast: where both axes shrink ----------------------------------------------------------------------------------------------
//
// Area weights are separable and a row's weight is the same for all its pixels, so columns come first: a thread owns a
// GROUP of four neighbouring source pixels (twelve bytes, three words; threads side by side read words side by side) and
// adds them up over the rows of one output row, twelve sums in registers. What is left is a tenth of the frame; it goes
// through shared memory, and there each output value is the weighted sum of its columns. A byte of the frame is read
// once (again where output rows or tiles share it), by whole words where rows begin on a word.

static __device__ void load_bytes(const byte* from, int count, word* into)
{
    for (int i = 0; i < 3 * GROUP; ++i) into[i] = i < count ? from[i] : 0;
}

static __device__ void load_words(const byte* from, word* into)
{
    for (int i = 0; i < 3; ++i) {
        const word four = __ldg((const word*)from + i);
        for (int k = 0; k < 4; ++k) into[4 * i + k] = four >> 8 * k & 255;
    }
}

// B, G, R of the pixels x .. x + 3 of row y; zero to the right of the frame.
static __device__ void load_group(const Job& job, bool words, int x, int y, word* into)
{
    const byte* row = job.source + (wide)y * job.pitch;
    const bool inside = x + GROUP <= job.width;
    if (!job.chroma) {
        if (words && inside) load_words(row + 3 * x, into);
        else load_bytes(row + 3 * x, 3 * (job.width - x), into);
        return;
    }
    const byte* pairs = job.chroma + (wide)(y / 2) * job.chroma_pitch + x;
    word luma, chroma;
    if (words && inside) {
        luma = __ldg((const word*)(row + x));
        chroma = __ldg((const word*)pairs);
    } else {
        luma = chroma = 0;
        for (int p = 0; p < GROUP; ++p)
            if (x + p < job.width) {
                luma |= (word)row[x + p] << 8 * p;
                chroma |= (word)pairs[p & ~1] << 8 * (p & ~1) | (word)pairs[p | 1] << 8 * (p | 1);
            }
    }
    for (int p = 0; p < GROUP; ++p) {
        const word pair = chroma >> 16 * (p / 2);
        const word pixel = bgr_of(job, luma >> 8 * p & 255, pair & 255, pair >> 8 & 255);
        for (int c = 0; c < 3; ++c) into[3 * p + c] = pixel >> 8 * c & 255;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) preprocess_fast(const Job job)
{
    __shared__ word columns[3][THREADS * GROUP];   // sums over the rows of each output row of this pass
    __shared__ byte resized[3][TILE_PIXELS];
    __shared__ word sums[THREADS];
    const Slots slots = slots_of(job.state);
    const int size = job.size, tile = job.tile, x0 = blockIdx.x * tile, y0 = blockIdx.y * tile;
    const int first = span_of(x0, job.width, size).begin & ~(GROUP - 1);
    const int groups = (span_of(x0 + tile - 1, job.width, size).end - first + GROUP - 1) / GROUP;
    const int per_pass = min(THREADS / groups, tile);  // output rows
    const bool words = (((wide)job.source | (wide)job.chroma | job.pitch | job.chroma_pitch) & 3) == 0;

    for (int done = 0; done < tile; done += per_pass) {
        EACH_THREAD {
            const int row = threadIdx.x / groups, y = y0 + done + row;
            if (row < per_pass && done + row < tile) {
                const Span rows = span_of(y, job.height, size);
                word total[3 * GROUP] = {0}, pixels[3 * GROUP];
                for (int sy = rows.begin; sy < rows.end; ++sy) {
                    const word weight = overlap(sy, y, job.height, size);
                    load_group(job, words, first + threadIdx.x % groups * GROUP, sy, pixels);
                    for (int i = 0; i < 3 * GROUP; ++i) total[i] += weight * pixels[i];
                }
                for (int i = 0; i < 3 * GROUP; ++i) columns[i % 3][threadIdx.x * GROUP + i / 3] = total[i];
            }
        }
        EACH_THREAD {
            const int rows = min(per_pass, tile - done);
            for (int i = threadIdx.x; i < 3 * rows * tile; i += THREADS) {
                const int x = i % tile, row = i / tile % rows, c = i / tile / rows;
                const Span span = span_of(x0 + x, job.width, size);
                const word* at = columns[c] + row * groups * GROUP - first;
                wide sum = 0;
                for (int sx = span.begin; sx < span.end; ++sx)
                    sum += (wide)overlap(sx, x0 + x, job.width, size) * at[sx];
                resized[c][(done + row) * tile + x] = (byte)rounded_area(job, sum);
            }
        }
    }
    EACH_THREAD {
        word sum = 0;
        for (int i = threadIdx.x; i < tile * tile; i += THREADS) {
            const word pixel = resized[0][i] | resized[1][i] << 8 | resized[2][i] << 16;
            sum += finish_pixel(job, slots, x0 + i % tile, y0 + i / tile, pixel);
        }
        sums[threadIdx.x] = sum;
    }
    finish_block(job, slots, sums);
}
