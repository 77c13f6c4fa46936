"""`python -m dlexp.sweeps.launchers.ray_node`: runs a Ray cluster of this machine only, in a separate process.

Parts of Ray keep running for a minute after the process that started them is killed. The driver therefore starts this
process under `dlexp.machine.parent_watch`, which ends all of them at once. This process prints the address of the
cluster and then waits until it is ended.
"""

import logging
import os
import signal

ADDRESS = "address "
# Without this setting Ray on Linux listens on every network interface. Ray reads it when it is imported.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_OBJECT_STORE_BYTES = 80_000_000  # about the least that Ray accepts: it only holds short messages


def main() -> None:
    """Starts the cluster, and waits until this process is ended."""
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
    for descriptor in (1, 2):  # the driver reads no further output
        os.dup2(nowhere, descriptor)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
