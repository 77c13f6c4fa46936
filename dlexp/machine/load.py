"""Measures the load of this process and its machine."""

import psutil
import tensorflow as tf

_MEGA = 1e6


class LoadMeter:
    """Measures load; processor and disk figures cover the time since the last read, or since construction."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._disk_bytes = (0, 0)
        self.read()

    def read(self) -> dict[str, float]:
        """Reads the load, by name.

        Returns:
            `load/process_cpu_percent` (100 per busy core), `load/process_memory_mb`,
            `load/machine_cpu_percent` (of all cores), `load/machine_memory_percent`, `load/disk_read_mb` and
            `load/disk_written_mb` of the machine's disks, if the system reports them, and `load/gpu_N_memory_mb` for
            each GPU. A megabyte is 10^6 bytes.
        """
        load = {
            "process_cpu_percent": self._process.cpu_percent(),
            "process_memory_mb": self._process.memory_info().rss / _MEGA,
            "machine_cpu_percent": psutil.cpu_percent(),
            "machine_memory_percent": psutil.virtual_memory().percent,
        }
        return {f"load/{name}": float(value) for name, value in (load | self._disk() | _gpus()).items()}

    def _disk(self) -> dict[str, float]:
        counters = psutil.disk_io_counters()
        if counters is None:
            return {}
        read, written = self._disk_bytes
        self._disk_bytes = counters.read_bytes, counters.write_bytes
        return {
            "disk_read_mb": (counters.read_bytes - read) / _MEGA,
            "disk_written_mb": (counters.write_bytes - written) / _MEGA,
        }


def _gpus() -> dict[str, float]:
    count = len(tf.config.list_logical_devices("GPU"))
    names = [f"GPU:{number}" for number in range(count)]
    return {
        f"gpu_{number}_memory_mb": tf.config.experimental.get_memory_info(name)["current"] / _MEGA
        for number, name in enumerate(names)
    }
