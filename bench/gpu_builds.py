"""Which GPU this machine has, and how the programs of bench/gpu are built: plainly by gcc -O2, by nvcc for that GPU, and,
where there is none, as C++ on gpu/cuda_on_cpu.h, to see what they print."""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

from gpu_cases import FOLDER
from measure import harness

STRICT = ("-O2", "-fmad=false")


class Absent(Exception):
    """What this machine has not, and nothing is wrong with that."""


def tool(name, *folders):
    candidates = (f"{folder}/{name}" for folder in folders)
    return shutil.which(name) or next((path for path in candidates if os.access(path, os.X_OK)), None)


def nvcc():
    found = tool("nvcc", "/usr/local/cuda/bin")
    if not found:
        raise Absent("there is no nvcc")
    return found


def device():
    """Of the first GPU: name, driver and architecture."""
    smi = tool("nvidia-smi", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib")
    if not smi:
        raise Absent("there is no nvidia-smi, so no driver of an NVIDIA GPU")
    fields = ("name", "driver_version", "compute_cap", "memory.total")
    done = subprocess.run([smi, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"], capture_output=True, text=True)
    if done.returncode != 0 or not done.stdout.strip():
        raise Absent(f"nvidia-smi finds no GPU: {(done.stdout + done.stderr).strip()}")
    return parse_device(done.stdout)


def parse_device(text):
    """From a line such as "NVIDIA H200, 580.65.06, 9.0, 143771 MiB"."""
    name, driver, capability, memory = [word.strip() for word in text.splitlines()[0].split(",")]
    return {"name": name, "driver": driver, "architecture": f"sm_{capability.replace('.', '')}", "memory": memory}


def built(source, command, changed=None):
    """What `command` makes of `source`, or of its text `changed`; made once per content. Raises RuntimeError with the
    compiler's words."""
    source = pathlib.Path(source)
    headers = (FOLDER / "programs" / "program.h", *sorted((FOLDER / "gpu").glob("*.h")))
    contents = b"".join(path.read_bytes() for path in (source, *headers))
    key = hashlib.sha256("\0".join([*command, str(source), changed or ""]).encode() + contents).hexdigest()[:16]
    folder = harness.cache_dir() / f"gpu-{key}"
    target = folder / source.stem
    if target.exists():
        return str(target)
    folder.mkdir(exist_ok=True)
    if changed:
        source = folder / f"{source.stem}.cc"
        source.write_text(changed)
    temporary = folder / f"{source.stem}.{os.getpid()}"
    libraries = [word for word in command if word.startswith("-l")]
    words = [word for word in command if word not in libraries]
    done = subprocess.run([*words, f"-I{FOLDER.parent}", "-o", str(temporary), str(source), *libraries],
                          capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise RuntimeError(f"{source.name}: {pathlib.Path(command[0]).name} failed: {said}")
    os.replace(temporary, target)
    return str(target)


def build_c(file, *flags):
    return built(FOLDER / file, ["gcc", "-O2", *flags, "-lm"])


def build_cuda(file, architecture):
    command = [nvcc(), *STRICT, f"-arch={architecture}"]
    if "cublas" not in file:
        return built(FOLDER / "gpu" / file, command)
    try:
        libraries = pathlib.Path(command[0]).resolve().parents[1] / "lib64"
        return built(FOLDER / "gpu" / file, [*command, f"-Xlinker=-rpath={libraries}", "-lcublas"])
    except RuntimeError as failure:
        if "cublas_v2.h" in str(failure) or "-lcublas" in str(failure):
            raise Absent("there is no cuBLAS") from failure
        raise


def build_cuda_on_cpu(file):
    source = FOLDER / "gpu" / file
    return built(source, ["g++", "-O2", "-std=c++17", "-DCUDA_ON_CPU"], on_cpu(source.read_text()))


def on_cpu(text):
    """CUDA's launches as calls of gpu/cuda_on_cpu.h."""
    changed = re.sub(r"(\w+)<<<(\w+), (\w+)>>>\((.*?)\);", r"Launch(\2, \3, [&] { \1(\4); });", text)
    if "<<<" in changed:
        raise RuntimeError("a launch that is not Kernel<<<grid, block>>>(arguments);")
    return changed
