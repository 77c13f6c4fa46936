"""`python -m dlexp.sweeps.launchers.ray_node`: a Ray cluster of this machine alone, in a process of its own.

Parts of Ray keep running for a minute after the process that started them is killed. So the driver does not start them
itself, but this process under `dlexp.machine.parent_watch`, which ends them all at once. It prints the address of the
cluster and stays until it is ended.
"""

import logging
import os
import signal

ADDRESS = "address "
# Without it Ray listens on every interface on Linux. It is read when Ray is imported.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OBJECT_STORE_BYTES = 80_000_000  # about the least that Ray takes: only short messages go through it


def main() -> None:
    """Starts the cluster, and waits."""
    os.environ.update(LOOPBACK_ONLY)
    import ray

    context = ray.init(
        "local",
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    print(ADDRESS + context.address_info["address"], flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # nobody reads on
        os.dup2(nowhere, descriptor)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
