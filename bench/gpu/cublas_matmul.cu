// The product of bench/programs/matmul.c by the vendor's library: sums in another order, so a sample of them is
// compared with the host's and how far they are apart at most is told, of what an absolute sum comes to. Usage:
// cublas_matmul [n]
#include <cublas_v2.h>

#include "bench/gpu/cuda_program.h"

#define CHECK_BLAS(call)                                                                  \
  do {                                                                                    \
    cublasStatus_t status_ = (call);                                                      \
    if (status_ != CUBLAS_STATUS_SUCCESS) {                                               \
      fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, #call, (int)status_); \
      exit(3);                                                                            \
    }                                                                                     \
  } while (0)

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 1300);
  const size_t elements = static_cast<size_t>(n) * n;
  double* a = AllocateOnHost<double>(elements);
  double* b = AllocateOnHost<double>(elements);
  double* c = AllocateOnHost<double>(elements);
  fill_random(a, elements, -1, 1, 1);
  fill_random(b, elements, -1, 1, 2);

  cublasHandle_t handle;
  CHECK_BLAS(cublasCreate(&handle));
  double* device_a = AllocateOnDevice<double>(elements);
  double* device_b = AllocateOnDevice<double>(elements);
  double* device_c = AllocateOnDevice<double>(elements);
  Parts parts;
  parts.Begin();
  Upload(device_a, a, elements);
  Upload(device_b, b, elements);
  parts.End("upload");
  // Its matrices are columns first, so these are transposed, and the product of them in turn is the transposed product.
  const double one = 1.0, zero = 0.0;
  CHECK_BLAS(
      cublasDgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, n, n, n, &one, device_b, n, device_a, n, &zero, device_c, n));
  parts.End("kernels");
  Download(c, device_c, elements);
  parts.End("download");
  print_checksum("c", c, elements * sizeof *c);

  double farthest = 0.0;
  const size_t between = elements > 300 ? elements / 300 : 1;
  for (size_t at = 0; at < elements; at += between) {
    const size_t i = at / n, j = at % n;
    double sum = 0.0, absolute = 0.0;
    for (int k = 0; k < n; ++k) {
      sum += a[i * n + k] * b[static_cast<size_t>(k) * n + j];
      absolute += fabs(a[i * n + k] * b[static_cast<size_t>(k) * n + j]);
    }
    const double apart = fabs(sum - c[at]) / absolute;
    if (!(apart <= farthest)) farthest = apart;  // also when it is no number
  }
  char more[64];
  snprintf(more, sizeof more, ", \"apart\": %.3g", isfinite(farthest) ? farthest : 1e300);
  parts.Tell(more);
  CHECK_BLAS(cublasDestroy(handle));
}
