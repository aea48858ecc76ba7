// Stage score: from the statistics of each query head to one pooled score per slot, with the layer's sum.
//
// | version            | idea                                                                        | H200, n = 32k |
// |--------------------|-----------------------------------------------------------------------------|---------------|
// | score_group_naive, | one thread per slot, one per pooled score, then one thread that adds        | not measured  |
// | score_pool_naive,  |                                                                             |               |
// | score_sum_naive    |                                                                             |               |
// | score_fused,       | a block computes its slots and their neighbours into shared memory, pools   | 0.32 ms       |
// | score_sum          | them and adds up in a fixed tree; the blocks' sums likewise                 |               |
//
// Every sum has one order on any schedule: there are no floating-point atomics.

enum Rule {
    LAPROX_MEAN,       // mean over the group of norm2(a_h) * norm2(b_h)
    LAPROX_ATTENTION,  // norm2(mean over the group of a_h) * mean over the group of norm2(b_h)
    SNAPKV_MEAN,       // mean over the group of sum_t a_h[t] / w
    SNAPKV_MAX,        // max over the group of the same
};

// The statistics of one layer's scores. parts [row_tiles, H, n - w] are sums of squares for LAPROX_MEAN and sums for SNAPKV_*.
// For LAPROX_ATTENTION they are the squares of the group's mean column, [Hkv, n - w]. norms [H, n - w] is null for
// SNAPKV_*.
struct Statistics {
    const float *parts, *norms;
    int row_tiles, kv_heads, group_size, candidates, window_len;

    __device__ float total(int head, int i) const {
        float sum = 0.0f;
        for (int tile = 0; tile < row_tiles; ++tile)
            sum += parts[(tile * kv_heads * group_size + head) * candidates + i];
        return sum;
    }

    __device__ float score(int rule, int kv_head, int i) const {
        float sum = 0.0f, largest = 0.0f;
        for (int head = kv_head * group_size; head < (kv_head + 1) * group_size; ++head) {
            float own;
            if (rule == LAPROX_MEAN) own = sqrtf(total(head, i)) * norms[head * candidates + i];
            else if (rule == LAPROX_ATTENTION) own = norms[head * candidates + i];
            else own = total(head, i) / window_len;
            sum += own;
            largest = fmaxf(largest, own);
        }
        if (rule == SNAPKV_MAX) return largest;
        float mean = sum / group_size;
        return rule == LAPROX_ATTENTION ? sqrtf(parts[kv_head * candidates + i]) * mean : mean;
    }
};

// One pooled score of a KV head, over `kernel` positions around i, an odd number. Positions outside count as zero in an
// average and do not count in a maximum. `scores` holds positions from `first` on.
__device__ inline float pooled(const float* scores, int first, int i, int candidates, int kernel, bool average) {
    int begin = max(i - kernel / 2, 0), end = min(i + kernel / 2 + 1, candidates);
    float value = average ? 0.0f : MINUS_INFINITY;
    for (int j = begin; j < end; ++j) value = average ? value + scores[j - first] : fmaxf(value, scores[j - first]);
    return average ? value / kernel : value;
}

// ---- naive -----------------------------------------------------------------------------------------------------------

// grid (ceil((n - w) / 128), Hkv), block 128: raw [Hkv, n - w].
extern "C" __global__ void __launch_bounds__(128)
score_group_naive(const float* parts, const float* norms, float* raw, int rule, int row_tiles, int group_size,
                  int candidates, int window_len) {
    Statistics statistics{parts, norms, row_tiles, (int)gridDim.y, group_size, candidates, window_len};
    int i = blockIdx.x * blockDim.x + threadIdx.x, kv_head = blockIdx.y;
    if (i < candidates) raw[kv_head * candidates + i] = statistics.score(rule, kv_head, i);
}

// grid (n - w, Hkv), block 128: norm_F(sum over the group of a_{h,i} b_{h,i}^T), through a factor that keeps it:
// norm_F(sum_h a_h (v W_h)) = norm_F(sum_h a_h (v T_h)), factor [Hkv, G, d, rank]. Each thread has columns of v T_h.
// Shared memory: d + G * w + 128 * G + 4 floats.
extern "C" __global__ void __launch_bounds__(128)
score_exact_naive(const float* query, const float* key, const float* row_max, const float* row_sum, const float* value,
                  const float* factor, float* raw, int group_size, int window_len, int context_len, int cached_len,
                  float scale_log2, int head_dim, int rank) {
    extern __shared__ float shared[];
    int candidates = context_len - window_len;
    int i = blockIdx.x, kv_head = blockIdx.y;
    int first_row = kv_head * group_size * window_len;
    float* v = shared;
    float* weights = v + head_dim;
    float* y = weights + group_size * window_len;
    float* parts = y + 128 * group_size;

    int own = (kv_head * cached_len + i) * head_dim;
    for (int k = threadIdx.x; k < head_dim; k += blockDim.x) v[k] = value[own + k];
    for (int row = threadIdx.x; row < group_size * window_len; row += blockDim.x)
        weights[row] = weight(query + (first_row + row) * head_dim, key + own, row_max[first_row + row],
                              row_sum[first_row + row], head_dim, scale_log2);
    __syncthreads();

    float square = 0.0f;
    for (int column = threadIdx.x; column < rank; column += blockDim.x) {
        for (int h = 0; h < group_size; ++h) {
            const float* t = factor + (kv_head * group_size + h) * head_dim * rank + column;
            float sum = 0.0f;
            for (int k = 0; k < head_dim; ++k) sum = fmaf(v[k], t[k * rank], sum);
            y[128 * h + threadIdx.x] = sum;
        }
        for (int t = 0; t < window_len; ++t) {
            float sum = 0.0f;
            for (int h = 0; h < group_size; ++h)
                sum = fmaf(weights[h * window_len + t], y[128 * h + threadIdx.x], sum);
            square = fmaf(sum, sum, square);
        }
    }
    square = reduce_warp<Add>(square);
    if (lane() == 0) parts[warp()] = square;
    __syncthreads();
    if (threadIdx.x == 0) raw[kv_head * candidates + i] = sqrtf(parts[0] + parts[1] + parts[2] + parts[3]);
}

// grid (ceil((n - w) / 128), Hkv), block 128: pooled [Hkv, n - w].
extern "C" __global__ void __launch_bounds__(128)
score_pool_naive(const float* raw, float* scores, int candidates, int kernel, int average) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, kv_head = blockIdx.y;
    if (i < candidates)
        scores[kv_head * candidates + i] = pooled(raw + kv_head * candidates, 0, i, candidates, kernel, average);
}

// One thread: the sum of the magnitudes.
extern "C" __global__ void score_sum_naive(const float* scores, float* sum, int count) {
    float total = 0.0f;
    for (int i = 0; i < count; ++i) total += fabsf(scores[i]);
    sum[0] = total;
}

// ---- fused -----------------------------------------------------------------------------------------------------------

// Adds up over a block of 256 in a fixed tree. Thread 0 gets the result.
__device__ inline float reduce_block(float value) {
    __shared__ float parts[8];
    value = reduce_warp<Add>(value);
    if (lane() == 0) parts[warp()] = value;
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x == 0)
        for (int part = 0; part < 8; ++part) sum += parts[part];
    return sum;
}

// grid (ceil((n - w) / 256), Hkv), block 256, shared memory for 256 + kernel - 1 floats:
// scores [Hkv, n - w], block_sums [grid]. kernel = 1 pools nothing.
extern "C" __global__ void __launch_bounds__(256)
score_fused(const float* parts, const float* norms, float* scores, float* block_sums, int rule, int row_tiles,
            int group_size, int candidates, int window_len, int kernel, int average) {
    extern __shared__ float near[];
    Statistics statistics{parts, norms, row_tiles, (int)gridDim.y, group_size, candidates, window_len};
    int kv_head = blockIdx.y;
    int first = blockIdx.x * 256 - kernel / 2;
    for (int offset = threadIdx.x; offset < 256 + kernel - 1; offset += 256) {
        int i = first + offset;
        if (i >= 0 && i < candidates) near[offset] = statistics.score(rule, kv_head, i);
    }
    __syncthreads();

    int i = blockIdx.x * 256 + threadIdx.x;
    float score = 0.0f;
    if (i < candidates) {
        score = pooled(near, first, i, candidates, kernel, average);
        scores[kv_head * candidates + i] = score;
    }
    float sum = reduce_block(fabsf(score));
    if (threadIdx.x == 0) block_sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// One block of 256: sum [1] of `count` parts.
extern "C" __global__ void __launch_bounds__(256) score_sum(const float* block_sums, float* sum, int count) {
    float own = 0.0f;
    for (int i = threadIdx.x; i < count; i += 256) own += block_sums[i];
    float total = reduce_block(own);
    if (threadIdx.x == 0) sum[0] = total;
}
