"""Records the environment of a run in `environment/`: packages, commit, hardware, command and batch job.

Secrets are never written: only the environment variables named here are recorded, and texts pass through `scrub`.
"""

import functools
import json
import os
import pathlib
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Any

from dlexp.config.scrubbing import scrub

FOLDER = "environment"
_GIT_SECONDS = 10
# Variables that identify the job of a batch system or the pod.
_JOB_VARIABLES = (
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST", "PBS_JOBID", "PBS_ARRAY_INDEX",
    "LSB_JOBID", "LSB_JOBINDEX", "COBALT_JOBID", "AWS_BATCH_JOB_ID", "AWS_BATCH_JOB_ATTEMPT", "KUBERNETES_SERVICE_HOST",
    "CLOUD_ML_JOB_ID", "GITHUB_RUN_ID", "CI_JOB_ID",
)  # fmt: skip
# Variables that change how libraries compute.
_COMPUTING_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
    "TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "XLA_FLAGS", "PYTHONHASHSEED",
)  # fmt: skip
# Where a process finds the ID of its container: at the end of its cgroup (version 1), or in the mount of /etc/hostname.
_CONTAINER_IDS = {
    "/proc/self/cgroup": re.compile(r"([0-9a-f]{64})(?:\.scope)?$", re.MULTILINE),
    "/proc/self/mountinfo": re.compile(r"([0-9a-f]{64})/hostname /etc/hostname "),
}


def write_environment(run_folder: pathlib.Path) -> None:
    """Writes `packages.txt`, `machine.json` and, inside a git repository, `git.json` and `git.diff`."""
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "packages.txt").write_text("\n".join(installed_packages()) + "\n", encoding="utf-8")
    (folder / "machine.json").write_text(json.dumps(describe_machine(), indent=2) + "\n", encoding="utf-8")
    commit = _git("rev-parse", "HEAD")
    if commit:
        state = {"commit": commit.strip(), "branch": (_git("rev-parse", "--abbrev-ref", "HEAD") or "").strip()}
        (folder / "git.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        (folder / "git.diff").write_text(scrub(_git("diff", "HEAD") or ""), encoding="utf-8")


@functools.cache
def installed_packages() -> Sequence[str]:
    """Returns `name==version` of every package that was installed at the first call, sorted."""
    return sorted({f"{package.metadata['Name']}=={package.version}" for package in distributions()}, key=str.lower)


def describe_machine() -> dict[str, Any]:
    """Describes Python, operating system, host, processor, memory, GPUs, container, batch job and command."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
        "host": socket.gethostname(),
        "container": _container(),
        "job": _variables(_JOB_VARIABLES),
        "variables": _variables(_COMPUTING_VARIABLES),
        "command": scrub(shlex.join(sys.argv)),
        "working_directory": str(pathlib.Path.cwd()),
    }


def _variables(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _gpus() -> list[str]:
    """Returns the names of the GPUs, if TensorFlow is already imported; does not import it."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return []
    details = tensorflow.config.experimental.get_device_details
    return [str(details(gpu).get("device_name", gpu.name)) for gpu in tensorflow.config.list_physical_devices("GPU")]


def _container() -> str | None:
    """Returns the ID of the container of this process, or its kind if no ID is found; None outside a container."""
    for path, pattern in _CONTAINER_IDS.items():
        try:
            found = pattern.search(pathlib.Path(path).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if found:
            return found.group(1)
    kinds = {"/.dockerenv": "docker", "/run/.containerenv": "podman", "/singularity.d": "singularity"}
    return next((kind for path, kind in kinds.items() if pathlib.Path(path).exists()), None)


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _git(*arguments: str) -> str | None:
    """Returns the output of a git command in the working directory; None without git or a repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
