// The oracle's operator M x of one layer, in f64 because a proof subtracts every bit that may have been lost.
//
//     U_h = (A_h diag x) V                                        gram_attend, gram_join
//     E   = sum_h U_h W_h, or head-wise one E per head            gram_multiply
//     P_h = E W_h^T                                               gram_multiply
//     (M x)_i = sum over the group of a_{h,i}^T P_h v_i           gram_pull
//
// Two attention-shaped products, 4 H rows n d floating-point operations, and two small ones. A is [H, n - w, rows], as
// nalgebra stores it. V is [Hkv, n - w, d], U and P are [rows, H * d].
//
// | version                 | idea                                                                   | H200, n = 32k |
// |-------------------------|------------------------------------------------------------------------|---------------|
// | gram_*_naive            | one thread per output                                                  | not measured  |
// | gram_attend, gram_pull, | tiles of 32 in shared memory, several outputs per thread in registers; | not measured  |
// | gram_multiply           | gram_attend in splits of the positions, which gram_join adds in order  |               |

// ---- naive -----------------------------------------------------------------------------------------------------------

// grid (ceil(d / 32), rows, H), block 32.
extern "C" __global__ void __launch_bounds__(32)
gram_attend_naive(const double* attention, const double* x, const double* value, double* attended, int group_size,
                  int candidates, int head_dim) {
    int k = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y, head = blockIdx.z, kv_head = head / group_size;
    int rows = gridDim.y, width = gridDim.z * head_dim;
    if (k >= head_dim) return;
    double sum = 0.0;
    for (int i = 0; i < candidates; ++i) {
        double a = attention[(head * candidates + i) * rows + row] * x[kv_head * candidates + i];
        sum = fma(a, value[(kv_head * candidates + i) * head_dim + k], sum);
    }
    attended[row * width + head * head_dim + k] = sum;
}

// A matrix in memory: entry (i, j) of matrix `batch` is at i * row + j * column + batch * next.
struct Strides {
    int row, column, next;

    __device__ int at(int i, int j, int batch) const { return i * row + j * column + batch * next; }
};

// grid (ceil(columns / 32), rows, batch), block 32: c = a b.
extern "C" __global__ void __launch_bounds__(32)
gram_multiply_naive(const double* a, const double* b, double* c, int rows, int columns, int inner, int a_row,
                    int a_column, int a_next, int b_row, int b_column, int b_next, int c_row, int c_next) {
    Strides at_a{a_row, a_column, a_next}, at_b{b_row, b_column, b_next}, at_c{c_row, 1, c_next};
    int column = blockIdx.x * 32 + threadIdx.x, row = blockIdx.y, batch = blockIdx.z;
    if (column >= columns) return;
    double sum = 0.0;
    for (int k = 0; k < inner; ++k) sum = fma(a[at_a.at(row, k, batch)], b[at_b.at(k, column, batch)], sum);
    c[at_c.at(row, column, batch)] = sum;
}

// grid (ceil((n - w) / 32), Hkv), block 32: product [Hkv, n - w].
extern "C" __global__ void __launch_bounds__(32)
gram_pull_naive(const double* attention, const double* pulled, const double* value, double* product, int group_size,
                int rows, int candidates, int head_dim) {
    int i = blockIdx.x * 32 + threadIdx.x, kv_head = blockIdx.y;
    int width = gridDim.y * group_size * head_dim;
    if (i >= candidates) return;
    const double* v = value + (kv_head * candidates + i) * head_dim;
    double sum = 0.0;
    for (int head = kv_head * group_size; head < (kv_head + 1) * group_size; ++head)
        for (int row = 0; row < rows; ++row) {
            double reach = 0.0;
            for (int k = 0; k < head_dim; ++k) reach = fma(pulled[row * width + head * head_dim + k], v[k], reach);
            sum = fma(attention[(head * candidates + i) * rows + row], reach, sum);
        }
    product[kv_head * candidates + i] = sum;
}

// ---- tiled -----------------------------------------------------------------------------------------------------------

enum { TILE = 32 };

// grid (splits, ceil(rows / 32) * ceil(d / 32), H), block 256: parts [splits, rows, H * d]. A thread has column
// `threadIdx.x % 32` of four rows.
extern "C" __global__ void __launch_bounds__(256)
gram_attend(const double* attention, const double* x, const double* value, double* parts, int group_size, int rows,
            int candidates, int head_dim, int positions_per_split) {
    __shared__ double weights[TILE][TILE], values[TILE][TILE];
    int head = blockIdx.z, kv_head = head / group_size, width = gridDim.z * head_dim;
    int row_tiles = (rows + TILE - 1) / TILE;
    int first_row = blockIdx.y % row_tiles * TILE, first_column = blockIdx.y / row_tiles * TILE;
    int begin = blockIdx.x * positions_per_split, end = min(begin + positions_per_split, candidates);
    int column = threadIdx.x % 32, quarter = threadIdx.x / 32;

    double sums[4] = {};
    for (int tile = begin; tile < end; tile += TILE) {
        __syncthreads();
        for (int j = quarter; j < TILE; j += 8) {
            int i = tile + j, row = first_row + column, k = first_column + column;
            bool weighs = i < end && row < rows, has_value = i < end && k < head_dim;
            weights[j][column] =
                weighs ? attention[(head * candidates + i) * rows + row] * x[kv_head * candidates + i] : 0.0;
            values[j][column] = has_value ? value[(kv_head * candidates + i) * head_dim + k] : 0.0;
        }
        __syncthreads();
        for (int j = 0; j < TILE; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[e] = fma(weights[j][quarter + 8 * e], values[j][column], sums[e]);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        int row = first_row + quarter + 8 * e, k = first_column + column;
        if (row < rows && k < head_dim) parts[(blockIdx.x * rows + row) * width + head * head_dim + k] = sums[e];
    }
}

// grid (ceil(count / 256)), block 256: sum [count] of parts [splits, count].
extern "C" __global__ void __launch_bounds__(256)
gram_join(const double* parts, double* sum, int splits, int count) {
    int own = blockIdx.x * 256 + threadIdx.x;
    if (own >= count) return;
    double total = 0.0;
    for (int split = 0; split < splits; ++split) total += parts[split * count + own];
    sum[own] = total;
}

// grid (ceil(columns / 32), ceil(rows / 32), batch), block 256: c = a b. Tiles are read along the index that is
// contiguous.
extern "C" __global__ void __launch_bounds__(256)
gram_multiply(const double* a, const double* b, double* c, int rows, int columns, int inner, int a_row, int a_column,
              int a_next, int b_row, int b_column, int b_next, int c_row, int c_next) {
    __shared__ double tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
    Strides at_a{a_row, a_column, a_next}, at_b{b_row, b_column, b_next}, at_c{c_row, 1, c_next};
    int first_row = blockIdx.y * TILE, first_column = blockIdx.x * TILE, batch = blockIdx.z;
    int fast = threadIdx.x % 32, slow = threadIdx.x / 32;

    double sums[4] = {};
    for (int first = 0; first < inner; first += TILE) {
        __syncthreads();
        for (int j = slow; j < TILE; j += 8) {
            int row = first_row + j, k = first + fast;
            tile_a[j][fast] = row < rows && k < inner ? a[at_a.at(row, k, batch)] : 0.0;
            int b_i = b_row == 1 ? fast : j, b_j = b_row == 1 ? j : fast;
            bool inside = first + b_i < inner && first_column + b_j < columns;
            tile_b[b_i][b_j] = inside ? b[at_b.at(first + b_i, first_column + b_j, batch)] : 0.0;
        }
        __syncthreads();
        for (int k = 0; k < TILE; ++k)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[e] = fma(tile_a[slow + 8 * e][k], tile_b[k][fast], sums[e]);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        int row = first_row + slow + 8 * e, column = first_column + fast;
        if (row < rows && column < columns) c[at_c.at(row, column, batch)] = sums[e];
    }
}

// grid (ceil((n - w) / 32), Hkv), block 256, shared memory for 32 * (d + 1) doubles: product [Hkv, n - w]. Eight
// threads share a position, and each takes every eighth row.
extern "C" __global__ void __launch_bounds__(256)
gram_pull(const double* attention, const double* pulled, const double* value, double* product, int group_size, int rows,
          int candidates, int head_dim) {
    extern __shared__ double values[];
    __shared__ double parts[8][TILE];
    int kv_head = blockIdx.y, width = gridDim.y * group_size * head_dim;
    int first = blockIdx.x * TILE, count = min(TILE, candidates - first);
    for (int c = threadIdx.x; c < count * head_dim; c += 256)
        values[c / head_dim * (head_dim + 1) + c % head_dim] = value[(kv_head * candidates + first) * head_dim + c];
    __syncthreads();

    int own = threadIdx.x % 32, eighth = threadIdx.x / 32;
    const double* v = values + own * (head_dim + 1);
    double sum = 0.0;
    if (own < count)
        for (int head = kv_head * group_size; head < (kv_head + 1) * group_size; ++head)
            for (int row = eighth; row < rows; row += 8) {
                const double* p = pulled + row * width + head * head_dim;
                double reach = 0.0;
                for (int k = 0; k < head_dim; ++k) reach = fma(p[k], v[k], reach);
                sum = fma(attention[(head * candidates + first + own) * rows + row], reach, sum);
            }
    parts[eighth][own] = sum;
    __syncthreads();
    if (eighth == 0 && own < count) {
        for (int part = 1; part < 8; ++part) sum += parts[part][own];
        product[kv_head * candidates + first + own] = sum;
    }
}
