// What the kernels share. It is put in front of each source before that is compiled.
//
// No header is included, here or there: NVRTC ships without CUDA's, and bf16 is read as its bits.
// Everything is fp32 without contraction (--fmad=false) and without fast mathematics, so that each
// operation rounds as IEEE 754 says and the results are those of worker/model/gate_reference.py to
// the last bit. Sums fold halves onto each other: a butterfly gives every lane that same sum.

#define LANES 32
#define ALL_LANES 0xffffffffu
#define EXP_FLOOR -86.0f

__device__ const float POWERS_OF_2[LANES] = {
    1.00000000e+00f, 1.02189720e+00f, 1.04427373e+00f, 1.06714046e+00f, 1.09050775e+00f,
    1.11438680e+00f, 1.13878858e+00f, 1.16372490e+00f, 1.18920708e+00f, 1.21524739e+00f,
    1.24185777e+00f, 1.26905096e+00f, 1.29683959e+00f, 1.32523668e+00f, 1.35425556e+00f,
    1.38390994e+00f, 1.41421354e+00f, 1.44518077e+00f, 1.47682619e+00f, 1.50916445e+00f,
    1.54221082e+00f, 1.57598090e+00f, 1.61049032e+00f, 1.64575553e+00f, 1.68179286e+00f,
    1.71861935e+00f, 1.75625217e+00f, 1.79470909e+00f, 1.83400810e+00f, 1.87416768e+00f,
    1.91520655e+00f, 1.95714414e+00f};

// Copies 2^(j/32) to where 32 lanes can read any 32 of them at once. Ends with a barrier.
__device__ void load_powers(float* powers) {
    if (threadIdx.x < LANES) powers[threadIdx.x] = POWERS_OF_2[threadIdx.x];
    __syncthreads();
}

__device__ float infinity() { return __int_as_float(0x7f800000); }
__device__ float not_a_number() { return __int_as_float(0x7fc00000); }
__device__ bool is_finite(float x) { return (__float_as_int(x) & 0x7f800000) != 0x7f800000; }

__device__ float floored(float x) { return x < EXP_FLOOR ? EXP_FLOOR : x; }

// exp of a floored number that is not positive; 0 at the floor, NaN of NaN.
__device__ float exp_of(float x, const float* powers) {
    const float rounder = 12582912.0f;  // 1.5 x 2^23: what is added to it is rounded to an integer
    float scaled = x * 46.166241f;
    float whole = scaled + rounder;
    float rest = scaled - (whole - rounder);
    unsigned n = __float_as_int(whole);  // the integer, modulo 2^22, in its low bits
    float power = powers[n & 31u] * __int_as_float(((n & ~31u) << 18) + 0x3f800000u);
    float value = power + power * (rest * (0.021661167f + rest * 2.3459620e-4f));
    return x <= EXP_FLOOR ? 0.0f : value;
}

// Natural logarithm of a normal positive number.
__device__ float log_of(float x) {
    int bits = __float_as_int(x);
    int k = (bits - 0x3f3504f3) >> 23;
    float f = __int_as_float(bits - (k << 23));
    float s = (f - 1.0f) / (f + 1.0f);
    float square = s * s;
    float series = 0.22222222f;
    series = series * square + 0.28571429f;
    series = series * square + 0.4f;
    series = series * square + 0.66666667f;
    return (float)k * 0.69314718f + (s * 2.0f + s * (square * series));
}

// An unsigned number that rises with x, -0 as 0; 0 stands for "nothing" and for NaN.
__device__ unsigned key_of(float x) {
    unsigned bits = __float_as_int(x + 0.0f);
    unsigned key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return x == x ? key : 0u;
}

__device__ float number_of(unsigned key) {
    return __int_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ float warp_sum(float x) {
    for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ float warp_max(float x) {
    return number_of(__reduce_max_sync(ALL_LANES, key_of(x)));
}
