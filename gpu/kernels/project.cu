// Stage project: norm2(b_{h,i}) = norm2(v_i W_h) = norm2(v_i T_h), with W_h W_h^T = T_h T_h^T and T_h lower triangular.
//
// | version               | idea                                                                     | H200, n = 32k |
// |-----------------------|--------------------------------------------------------------------------|---------------|
// | project_norms_naive   | one thread per norm; f32, any shape                                      | not measured  |
// | project_norms_TYPE_dD | 32 positions per warp in registers; T as high and low parts in shared    | 3.37 ms       |
// |                       | memory, in the order in which fragments read it; T's zero triangle left  |               |
// |                       | out by blocks of 32 x 8; squares added up as they appear                 |               |

// ---- naive -----------------------------------------------------------------------------------------------------------

// grid (ceil((n - w) / 128), H), block 128: factor [H, d, rank], norms [H, n - w].
extern "C" __global__ void __launch_bounds__(128)
project_norms_naive(const float* value, const float* factor, float* norms, int group_size, int head_dim, int rank,
                    int context_len, int window_len, int cached_len) {
    int candidates = context_len - window_len;
    int i = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
    if (i >= candidates) return;
    const float* v = value + (head / group_size * cached_len + i) * head_dim;
    const float* t = factor + head * head_dim * rank;

    float square = 0.0f;
    for (int column = 0; column < rank; ++column) {
        float y = 0.0f;
        for (int k = column; k < head_dim; ++k) y = fmaf(v[k], t[k * rank + column], y);
        square = fmaf(y, y, square);
    }
    norms[head * candidates + i] = sqrtf(square);
}

// ---- tensor cores ----------------------------------------------------------------------------------------------------
//
// T_h arrives scaled by a power of two, as the sum of a high and a low part in the values' own format, so that the
// product loses 2^-16 (bf16) or 2^-22 (f16) of T and no more. In column tile j (8 columns) only the inner chunks
// c >= j / 4 (32 indices) are not zero. Block (j, c) is 32 lanes of 16 bytes for the high part, and the same for the low
// part. A warp reads each in one conflict-free access, for all of its positions, two column tiles at a time. The values are
// operands straight from memory order. 16 warps share the factors of a block.

enum { COLUMNS = 2, PROJECT_THREADS = 512 };

// grid (any, Hkv, ceil(G / heads)), block 32 * warps, shared memory for `heads` factors:
// factor [H, blocks of T, 2, 32] x 16 bytes, unscale [H], norms [H, n - w].
template <typename E, int D>
__device__ inline void project_norms(const uint4* value, const uint4* factor, const float* unscale, float* norms,
                                     int group_size, int heads, int context_len, int window_len, int cached_len) {
    constexpr int CHUNKS = D / 32;
    constexpr int FACTOR = D / 8 * (CHUNKS + 1) / 2 * 2 * 32;
    extern __shared__ uint4 factors[];
    int candidates = context_len - window_len;
    int kv_head = blockIdx.y, first_member = blockIdx.z * heads;
    int first_head = kv_head * group_size + first_member;
    int members = min(heads, group_size - first_member);
    for (int c = threadIdx.x; c < members * FACTOR; c += blockDim.x) factors[c] = factor[first_head * FACTOR + c];
    __syncthreads();

    int stride = gridDim.x * blockDim.x / 32 * ROWS;
    for (int first = (blockIdx.x * (blockDim.x / 32) + warp()) * ROWS; first < candidates; first += stride) {
        Rows<D> rows;
        rows.load(value + kv_head * cached_len * (D / 8), first, candidates);
        for (int member = 0; member < members; ++member) {
            const uint4* block = factors + member * FACTOR + lane();
            float square[2][2] = {};
#pragma unroll
            for (int group = 0; group < CHUNKS; ++group)
#pragma unroll 1
                for (int j = 0; j < 4; j += COLUMNS) {
                    float y[COLUMNS][2][4] = {};
#pragma unroll
                    for (int c = group; c < CHUNKS; ++c)
#pragma unroll
                        for (int part = 0; part < 2; ++part) {
                            uint4 t[COLUMNS];
#pragma unroll
                            for (int b = 0; b < COLUMNS; ++b)
                                t[b] = block[64 * (b * (CHUNKS - group) + c - group) + 32 * part];
#pragma unroll
                            for (int step = 0; step < 2; ++step)
#pragma unroll
                                for (int b = 0; b < COLUMNS; ++b)
#pragma unroll
                                    for (int tile = 0; tile < 2; ++tile)
                                        mma_step<E>(y[b][tile], rows.words[tile][c][step], t[b], step);
                        }
                    block += 64 * COLUMNS * (CHUNKS - group);
#pragma unroll
                    for (int b = 0; b < COLUMNS; ++b)
#pragma unroll
                        for (int tile = 0; tile < 2; ++tile)
#pragma unroll
                            for (int e = 0; e < 4; ++e)
                                square[tile][e / 2] = fmaf(y[b][tile][e], y[b][tile][e], square[tile][e / 2]);
                }
#pragma unroll
            for (int tile = 0; tile < 2; ++tile)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    float sum = square[tile][half];
                    sum += __shfl_xor_sync(~0u, sum, 1);
                    sum += __shfl_xor_sync(~0u, sum, 2);
                    int i = first + 16 * tile + 8 * half + lane() / 4;
                    int head = first_head + member;
                    if (lane() % 4 == 0 && i < candidates) norms[head * candidates + i] = sqrtf(sum) * unscale[head];
                }
        }
    }
}

#define PROJECT(NAME, E, D)                                                                                            \
    extern "C" __global__ void __launch_bounds__(PROJECT_THREADS, 1) project_norms_##NAME(                                            \
        const uint4* value, const uint4* factor, const float* unscale, float* norms, int group_size, int heads,        \
        int context_len, int window_len, int cached_len) {                                                             \
        project_norms<E, D>(value, factor, unscale, norms, group_size, heads, context_len, window_len, cached_len);    \
    }

PROJECT(bf16_d64, Bf16, 64)
PROJECT(bf16_d128, Bf16, 128)
PROJECT(f16_d64, F16, 64)
PROJECT(f16_d128, F16, 128)
