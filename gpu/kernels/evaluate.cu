// Stage evaluate: norm_F(O) of one layer's window output, O = sum_h (A_h V) W_h. The reference computes the objectives of a
// retained set.
//
// | version                              | idea                                                     | H200, n = 32k |
// |--------------------------------------|----------------------------------------------------------|---------------|
// | evaluate_{attended,output,norm}_naive| one block per row of A_h V, one warp per output channel; | not measured  |
// |                                      | f32, any shape                                           |               |

// grid (w, H), block 128: attended [H, w, d] = A_h V. Weights of 128 keys at a time.
extern "C" __global__ void __launch_bounds__(128)
evaluate_attended_naive(const float* query, const float* key, const float* value, const float* row_max,
                        const float* row_sum, float* attended, int group_size, int window_len, int context_len,
                        int cached_len, float scale_log2, int head_dim) {
    __shared__ float weights[128];
    int head = blockIdx.y;
    int row = head * window_len + blockIdx.x;
    int keys = context_len - window_len + blockIdx.x + 1;
    int first = head / group_size * cached_len * head_dim;
    float* out = attended + row * head_dim;
    for (int k = threadIdx.x; k < head_dim; k += 128) out[k] = 0.0f;

    for (int tile = 0; tile < keys; tile += 128) {
        int i = tile + threadIdx.x;
        if (i < keys)
            weights[threadIdx.x] = weight(query + row * head_dim, key + first + i * head_dim, row_max[row],
                                          row_sum[row], head_dim, scale_log2);
        __syncthreads();
        for (int k = threadIdx.x; k < head_dim; k += 128) {
            float sum = out[k];
            for (int j = 0; j < min(128, keys - tile); ++j)
                sum = fmaf(weights[j], value[first + (tile + j) * head_dim + k], sum);
            out[k] = sum;
        }
        __syncthreads();
    }
}

// grid (D), block 32: channel_squares [D], each the sum over the rows of O[t, c]^2; projection [D, H * d].
extern "C" __global__ void __launch_bounds__(32)
evaluate_output_naive(const float* attended, const float* projection, float* channel_squares, int query_heads,
                      int window_len, int head_dim) {
    int width = query_heads * head_dim;
    const float* channel = projection + blockIdx.x * width;
    float square = 0.0f;
    for (int t = 0; t < window_len; ++t) {
        float sum = 0.0f;
        for (int c = threadIdx.x; c < width; c += 32) {
            int head = c / head_dim, k = c % head_dim;
            sum = fmaf(attended[(head * window_len + t) * head_dim + k], channel[c], sum);
        }
        sum = reduce_warp<Add>(sum);
        square = fmaf(sum, sum, square);
    }
    if (threadIdx.x == 0) channel_squares[blockIdx.x] = square;
}
