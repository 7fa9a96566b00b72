// Argmax, its probability, entropy and margin of rows of logits, each logit read once.
//
// A row is cut into tiles of 4,096. A block takes one tile: its logits stay in registers while it
// finds their maximum m and then sums e = exp(x - m) and e (x - m). The block that finishes a row
// last moves its tiles to the row's maximum and adds them, in the order of tiles whoever comes last.
// The cut depends on the length of a row alone, so a row's result does not depend on its batch.
// Rows of at most 256 logits, as the heads on a hidden state have, are a warp's.

#define BLOCK 256
#define WARPS (BLOCK / LANES)
#define VECTOR 8  // as many as warps: one fold serves both
#define TILE 4096
#define NOWHERE 0x7fffffffu

// What is known of a tile, and with a row's tiles together of the row.
struct Part {
    float maximum, second, sum, moment;
    unsigned at;
};

__device__ float widened(float x) { return x; }
__device__ float widened(unsigned short bits) { return __int_as_float((int)bits << 16); }

__device__ void load_vector(const float* from, float* x) {
    float4 low = *(const float4*)from, high = *(const float4*)(from + 4);
    x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
    x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

__device__ void load_vector(const unsigned short* from, float* x) {
    uint4 pairs = *(const uint4*)from;
    unsigned four[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
    for (int k = 0; k < 4; k++) {
        x[2 * k] = __int_as_float(four[k] << 16);
        x[2 * k + 1] = __int_as_float(four[k] & 0xffff0000u);
    }
}

// Eight logits from `start` on, -infinity behind the row's end.
template <typename Logit>
__device__ void load_logits(const Logit* row, int start, int classes, float* x) {
    const Logit* from = row + start;
    if (start + VECTOR <= classes && (unsigned long long)from % 16 == 0) {
        load_vector(from, x);
        return;
    }
    for (int k = 0; k < VECTOR; k++)
        x[k] = start + k < classes ? widened(from[k]) : -infinity();
}

// The two largest so far. A NaN leaves them wrong, but then the sum is NaN and they are not used.
__device__ void rank(const float* x, float* first, float* second) {
    for (int k = 0; k < VECTOR; k++) {
        *second = fmaxf(*second, fminf(*first, x[k]));
        *first = fmaxf(*first, x[k]);
    }
}

__device__ void find(const float* x, float maximum, unsigned start, unsigned* at) {
    for (int k = VECTOR - 1; k >= 0; k--)
        if (x[k] == maximum && start + k < *at) *at = start + k;
}

__device__ float folded(float* x) {
    for (int half = VECTOR / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++) x[k] += x[k + half];
    return x[0];
}

__device__ void finish(const Part& row, int* tokens, float* probabilities, float* entropies,
                       float* margins, const float* powers) {
    bool defined = is_finite(row.maximum) && row.sum == row.sum;
    float second = exp_of(floored(row.second - row.maximum), powers);
    *tokens = defined ? (int)row.at : -1;
    *probabilities = defined ? 1.0f / row.sum : not_a_number();
    *entropies = defined ? log_of(row.sum) - row.moment / row.sum : not_a_number();
    *margins = defined ? (1.0f - second) / row.sum : not_a_number();
}

template <typename Logit>
__device__ void narrow(const Logit* logits, int rows, int classes, int* tokens,
                       float* probabilities, float* entropies, float* margins, float* powers) {
    load_powers(powers);
    int lane = threadIdx.x % LANES;
    long long row = (long long)blockIdx.x * WARPS + threadIdx.x / LANES;
    if (row >= rows) return;

    float x[VECTOR], moments[VECTOR];
    float first = -infinity(), second = -infinity();
    unsigned at = NOWHERE, start = lane * VECTOR;
    load_logits(logits + row * classes, start, classes, x);
    rank(x, &first, &second);
    Part whole;
    whole.maximum = warp_max(first);
    if (first == whole.maximum) find(x, whole.maximum, start, &at);
    whole.at = __reduce_min_sync(ALL_LANES, at);
    whole.second = warp_max(at == whole.at ? second : first);
    for (int k = 0; k < VECTOR; k++) {
        float shifted = floored(x[k] - whole.maximum);
        x[k] = exp_of(shifted, powers);
        moments[k] = x[k] * shifted;
    }
    whole.sum = warp_sum(folded(x));
    whole.moment = warp_sum(folded(moments));
    if (lane == 0)
        finish(whole, tokens + row, probabilities + row, entropies + row, margins + row, powers);
}

// A warp adds up to 64 tiles of a row: lane l holds the tiles l and l + 32.
__device__ Part combined(const Part* tiles, int n, const float* powers) {
    int lane = threadIdx.x % LANES;
    Part two[2], row;
    for (int half = 0; half < 2; half++) {
        int tile = lane + half * LANES;
        two[half] = Part{-infinity(), -infinity(), 0.0f, 0.0f, NOWHERE};
        if (tile < n) {
            // Written by other blocks: not to be read from this multiprocessor's cache.
            const volatile Part* from = tiles + tile;
            two[half].maximum = from->maximum, two[half].second = from->second;
            two[half].sum = from->sum, two[half].moment = from->moment, two[half].at = from->at;
        }
    }
    row.maximum = warp_max(fmaxf(two[0].maximum, two[1].maximum));
    unsigned at = NOWHERE;
    for (int half = 0; half < 2; half++)
        if (two[half].maximum == row.maximum) at = min(at, two[half].at);
    row.at = __reduce_min_sync(ALL_LANES, at);
    float second = -infinity(), sums[2], moments[2];
    for (int half = 0; half < 2; half++) {
        bool holds = two[half].at == row.at;
        second = fmaxf(second, holds ? two[half].second : two[half].maximum);
        float moved = floored(two[half].maximum - row.maximum);
        float scale = exp_of(moved, powers);
        sums[half] = two[half].sum * scale;
        moments[half] = (two[half].moment + two[half].sum * moved) * scale;
    }
    row.second = warp_max(second);
    row.sum = warp_sum(sums[0] + sums[1]);
    row.moment = warp_sum(moments[0] + moments[1]);
    return row;
}

struct Shared {
    float powers[LANES], firsts[WARPS], seconds[WARPS], sums[WARPS], moments[WARPS];
    unsigned ats[WARPS];
    unsigned arrived;
};

// One tile by one block; every thread gets the result.
template <typename Logit>
__device__ Part measured(const Logit* row, int tile, int classes, Shared& shared) {
    int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    float x[2][VECTOR], moments[VECTOR];
    float first = -infinity(), second = -infinity();
    unsigned at = NOWHERE, starts[2];
    for (int half = 0; half < 2; half++) {
        starts[half] = tile * TILE + half * (TILE / 2) + threadIdx.x * VECTOR;
        load_logits(row, starts[half], classes, x[half]);
        rank(x[half], &first, &second);
    }
    float of_warp = warp_max(first);
    if (lane == 0) shared.firsts[warp] = of_warp;
    __syncthreads();
    Part part;
    part.maximum = shared.firsts[0];
    for (int k = 1; k < WARPS; k++) part.maximum = fmaxf(part.maximum, shared.firsts[k]);
    // A tile of -infinity alone: any finite number may stand for its maximum, its terms are 0.
    float start = part.maximum == -infinity() ? 0.0f : part.maximum;
    if (first == part.maximum)  // few threads look where they have it
        for (int half = 0; half < 2; half++) find(x[half], part.maximum, starts[half], &at);
    for (int k = 0; k < VECTOR; k++) {
        float low = floored(x[0][k] - start), high = floored(x[1][k] - start);
        float low_part = exp_of(low, shared.powers), high_part = exp_of(high, shared.powers);
        x[0][k] = low_part + high_part;
        moments[k] = low_part * low + high_part * high;
    }
    float sum = warp_sum(folded(x[0])), moment = warp_sum(folded(moments));
    unsigned lowest = __reduce_min_sync(ALL_LANES, at);
    if (lane == 0) shared.sums[warp] = sum, shared.moments[warp] = moment, shared.ats[warp] = lowest;
    __syncthreads();
    part.at = shared.ats[0];
    for (int k = 1; k < WARPS; k++) part.at = min(part.at, shared.ats[k]);
    second = warp_max(at == part.at ? second : first);
    if (lane == 0) shared.seconds[warp] = second;
    __syncthreads();
    part.second = shared.seconds[0];
    for (int k = 1; k < WARPS; k++) part.second = fmaxf(part.second, shared.seconds[k]);
    float sums[WARPS], warp_moments[WARPS];
    for (int k = 0; k < WARPS; k++) sums[k] = shared.sums[k], warp_moments[k] = shared.moments[k];
    part.sum = folded(sums), part.moment = folded(warp_moments);
    return part;
}

template <typename Logit>
__device__ void wide(const Logit* logits, int classes, int tiles, int* tokens,
                     float* probabilities, float* entropies, float* margins, Part* parts,
                     unsigned* arrivals, Shared& shared) {
    load_powers(shared.powers);
    int row = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    Part part = measured(logits + (long long)row * classes, tile, classes, shared);
    if (tiles > 1) {
        if (threadIdx.x == 0) {
            parts[(long long)row * tiles + tile] = part;
            __threadfence();
            shared.arrived = atomicAdd(arrivals + row, 1u);
        }
        __syncthreads();
        if (shared.arrived != (unsigned)tiles - 1u || threadIdx.x >= LANES) return;
        __threadfence();
        part = combined(parts + (long long)row * tiles, tiles, shared.powers);
        if (threadIdx.x == 0) arrivals[row] = 0u;  // as the next launch expects it
    }
    if (threadIdx.x == 0)
        finish(part, tokens + row, probabilities + row, entropies + row, margins + row,
               shared.powers);
}

extern "C" __global__ void __launch_bounds__(BLOCK) exit_confidence_narrow_fp32(
    const float* logits, int rows, int classes, int* tokens, float* probabilities,
    float* entropies, float* margins) {
    __shared__ float powers[LANES];
    narrow(logits, rows, classes, tokens, probabilities, entropies, margins, powers);
}

extern "C" __global__ void __launch_bounds__(BLOCK) exit_confidence_narrow_bf16(
    const unsigned short* logits, int rows, int classes, int* tokens, float* probabilities,
    float* entropies, float* margins) {
    __shared__ float powers[LANES];
    narrow(logits, rows, classes, tokens, probabilities, entropies, margins, powers);
}

extern "C" __global__ void __launch_bounds__(BLOCK) exit_confidence_wide_fp32(
    const float* logits, int classes, int tiles, int* tokens, float* probabilities,
    float* entropies, float* margins, Part* parts, unsigned* arrivals) {
    __shared__ Shared shared;
    wide(logits, classes, tiles, tokens, probabilities, entropies, margins, parts, arrivals, shared);
}

extern "C" __global__ void __launch_bounds__(BLOCK) exit_confidence_wide_bf16(
    const unsigned short* logits, int classes, int tiles, int* tokens, float* probabilities,
    float* entropies, float* margins, Part* parts, unsigned* arrivals) {
    __shared__ Shared shared;
    wide(logits, classes, tiles, tokens, probabilities, entropies, margins, parts, arrivals, shared);
}
