// bench/programs/nbody.c, a thread for each body, the others by way of shared memory. Usage: nbody [bodies] [steps]
#include "bench/gpu/cuda_program.h"

struct Body {
  double x, y, z, vx, vy, vz, mass;
};

constexpr int kBlock = 128;

__global__ void Kick(int n, double dt, Body* bodies) {
  __shared__ double xs[kBlock], ys[kBlock], zs[kBlock], masses[kBlock];
  const int i = blockIdx.x * kBlock + threadIdx.x;
  const double x = i < n ? bodies[i].x : 0.0, y = i < n ? bodies[i].y : 0.0, z = i < n ? bodies[i].z : 0.0;
  double ax = 0.0, ay = 0.0, az = 0.0;
  for (int first = 0; first < n; first += kBlock) {
    const int mine = first + threadIdx.x;
    if (mine < n) {
      xs[threadIdx.x] = bodies[mine].x;
      ys[threadIdx.x] = bodies[mine].y;
      zs[threadIdx.x] = bodies[mine].z;
      masses[threadIdx.x] = bodies[mine].mass;
    }
    __syncthreads();
    const int count = n - first < kBlock ? n - first : kBlock;
    for (int j = 0; j < count; ++j) {
      const double dx = xs[j] - x, dy = ys[j] - y, dz = zs[j] - z;
      const double square = dx * dx + dy * dy + dz * dz + 1e-4;
      const double pull = masses[j] / (square * sqrt(square));
      ax += pull * dx;
      ay += pull * dy;
      az += pull * dz;
    }
    __syncthreads();
  }
  if (i >= n) return;
  bodies[i].vx += dt * ax;
  bodies[i].vy += dt * ay;
  bodies[i].vz += dt * az;
}

__global__ void Drift(int n, double dt, Body* bodies) {
  const int i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= n) return;
  bodies[i].x += dt * bodies[i].vx;
  bodies[i].y += dt * bodies[i].vy;
  bodies[i].z += dt * bodies[i].vz;
}

int main(int argc, char** argv) {
  const int n = size_argument(argc, argv, 1, 2000);
  const int steps = size_argument(argc, argv, 2, 190);
  Body* bodies = AllocateOnHost<Body>(n);
  uint64_t seed = 1;
  for (int i = 0; i < n; i++) {
    bodies[i] = Body{};
    bodies[i].mass = 1.0 / n;
    bodies[i].x = random_between(&seed, -1, 1);
    bodies[i].y = random_between(&seed, -1, 1);
    bodies[i].z = random_between(&seed, -1, 1);
  }

  Body* device = AllocateOnDevice<Body>(n);
  Parts parts;
  parts.Begin();
  Upload(device, bodies, n);
  parts.End("upload");
  const dim3 grid(BlocksFor(n, kBlock)), block(kBlock);
  for (int s = 0; s < steps; s++) {
    Kick<<<grid, block>>>(n, 0.001, device);
    CHECK(cudaGetLastError());
    Drift<<<grid, block>>>(n, 0.001, device);
    CHECK(cudaGetLastError());
  }
  parts.End("kernels");
  Download(bodies, device, n);
  parts.End("download");

  print_checksum("bodies", bodies, n * sizeof *bodies);
  parts.Tell();
}
