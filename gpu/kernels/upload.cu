// Uploaded numbers, widened to f32 for the kernels that compute with nothing else.
//
// | version       | threads           | H200, n = 32k |
// |---------------|-------------------|---------------|
// | upload_widen_ | one per number    | not measured  |

// grid (any), block 256: wide [count].
extern "C" __global__ void __launch_bounds__(256) upload_widen_bf16(const unsigned short* narrow, float* wide, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256)
        wide[i] = __uint_as_float((u32)narrow[i] << 16);
}

extern "C" __global__ void __launch_bounds__(256) upload_widen_f16(const unsigned short* narrow, float* wide, int count) {
    for (int i = blockIdx.x * 256 + threadIdx.x; i < count; i += gridDim.x * 256)
        asm("cvt.f32.f16 %0, %1;" : "=f"(wide[i]) : "h"(narrow[i]));
}
