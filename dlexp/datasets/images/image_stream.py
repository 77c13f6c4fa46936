"""Batches of images from a stream of paths: each file is read once; files that cannot be read are left out."""

import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.datasets.images.decoding import decode_bytes, decode_image, jpeg_scales
from dlexp.datasets.images.image_header import DEEP_BITS, Decoder, ImageHeader, UnreadableImageError
from dlexp.datasets.images.imagefile import inspect_image
from dlexp.datasets.parallelism import BATCHES_AHEAD, count_workers, without_tuning
from dlexp.datasets.tracing import without_autograph

_FILES_AT_ONCE = 16  # read in one call from TensorFlow: a call costs as much as reading several small files
_READERS = 4  # such calls in parallel: Python reads no faster with more, and their results wait in memory
_SIGNATURES_WITH_GREY = (b"\xff\xd8\xff", b"\x89PNG")  # JPEG and PNG: TensorFlow decodes only these to grey


class ImageStream:
    """Batches of images in the order of their paths, decoded as in training; can be iterated over only once.

    Memory use does not grow with the number of paths. Elements are (paths, `uint8` images
    `(batch, height, width, channels)`). A batch has fewer images if some cannot be read, and is left out if all cannot.

    Args:
        paths: of the files; iterated over in a thread.
        image_shape: (height, width, channels) of the decoded images.
        batch_size: the largest number of images in a batch.
        num_workers: images decoded in parallel; 0 means the number of cores.
        bits: how many bits the values of 16-bit files use.
        on_unreadable: called during the iteration, with the path and the reason, for each file that is damaged, too
            large, not an image or not readable.

    Example:
        >>> for paths, images in ImageStream(["a.png"], image_shape=(32, 32, 3), batch_size=1, on_unreadable=print):
        ...     logits = model.predict_on_batch(images)
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        image_shape: tuple[int, int, int],
        batch_size: int,
        num_workers: int = 0,
        bits: int = DEEP_BITS,
        on_unreadable: Callable[[str, str], None],
    ) -> None:
        self._source = iter(paths)
        self._image_shape = image_shape
        self._batch_size = batch_size
        self._parallel = count_workers(num_workers)
        self._bits = bits
        self._on_unreadable = on_unreadable
        self._paths: dict[int, str] = {}  # by number: files that are being read and decoded
        self._reasons: dict[int, str] = {}  # by number: why a file cannot be read
        self._next_number = 0  # of the first file that is in no batch yet
        self._failure: Exception | None = None
        # Takes the place of a file that cannot be read; its pixel is discarded.
        self._placeholder = tf.io.encode_png(tf.zeros((1, 1, 1), tf.uint8)).numpy()

    def __iter__(self) -> Iterator[tuple[list[str], Any]]:
        for images, numbers in self._decoded():
            places, paths = self._arrive(numbers.numpy().tolist())
            if len(paths) == len(numbers):
                yield paths, images
            elif paths:
                yield paths, tf.gather(images, places)
        for number in sorted(self._paths):
            self._drop(number)
        if self._failure is not None:
            raise self._failure

    def _decoded(self) -> Any:
        """Returns a dataset of (images, numbers of their files), placeholders included."""
        chunks = tf.data.Dataset.from_generator(self._number_paths, output_signature=tf.TensorSpec((None,), tf.int64))
        types = tf.int64, tf.string, tf.int32
        contents = chunks.map(
            without_autograph(lambda numbers: _with_ranks(tf.numpy_function(self._read_files, [numbers], types))),
            num_parallel_calls=_READERS,
            deterministic=True,
        ).unbatch()
        images = contents.map(without_autograph(self._decode), num_parallel_calls=self._parallel, deterministic=True)
        # Files whose damage shows only when they are decoded are dropped here; their numbers are then missing.
        batches = images.ignore_errors(log_warning=False).batch(self._batch_size)
        return without_tuning(batches.prefetch(BATCHES_AHEAD))

    def _number_paths(self) -> Iterator[np.ndarray]:
        """Yields numbers of the next paths; `__iter__` raises their errors, which `ignore_errors` would hide."""
        first = 0
        try:
            while chunk := list(itertools.islice(self._source, _FILES_AT_ONCE)):
                self._paths.update(enumerate(chunk, first))
                yield np.arange(first, first + len(chunk))
                first += len(chunk)
        except Exception as err:  # noqa: BLE001 - raised again by __iter__
            self._failure = err

    def _read_files(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the numbers, the bytes of their files, and decoder, orientation, jpeg_scale and bits of each."""
        contents = np.full(len(numbers), self._placeholder, object)
        headers = [ImageHeader(1, 1, 1, "L")] * len(numbers)
        for place, number in enumerate(numbers.tolist()):
            try:
                data = _read_file(self._paths[number])
                headers[place] = inspect_image(data)
                contents[place] = data
            except Exception as err:  # noqa: BLE001 - Pillow may raise anything, and the other files must still be read
                self._reasons[number] = _reason(err)
        scales = jpeg_scales(np.array([(header.height, header.width) for header in headers]), self._image_shape[:2])
        channels = self._image_shape[2]
        how = [
            (
                choose_decoder(data, header, channels),
                header.orientation,
                scale,
                self._bits if header.peak else DEEP_BITS,
            )
            for data, header, scale in zip(contents, headers, scales, strict=True)
        ]
        return numbers, contents, np.array(how, np.int32)

    def _decode(self, number: Any, contents: Any, how: Any) -> tuple[Any, Any]:
        height, width, channels = self._image_shape
        image = decode_image(
            contents,
            channels=channels,
            image_size=(height, width),
            decoder=how[0],
            orientation=how[1],
            jpeg_scale=how[2],
            bits=DEEP_BITS if self._bits == DEEP_BITS else how[3],
        )
        return image, number

    def _arrive(self, numbers: list[int]) -> tuple[list[int], list[str]]:
        """Returns places in the batch, and paths, of the images that could be read; reports the others."""
        arrived = set(numbers) - self._reasons.keys()
        first, self._next_number = self._next_number, numbers[-1] + 1
        for number in range(first, self._next_number):
            if number not in arrived:
                self._drop(number)
        places = [place for place, number in enumerate(numbers) if number in arrived]
        return places, [self._paths.pop(numbers[place]) for place in places]

    def _drop(self, number: int) -> None:
        path = self._paths.pop(number)
        reason = self._reasons.pop(number, "") or _why_undecodable(path, self._image_shape[2])
        self._on_unreadable(path, reason)


def choose_decoder(data: bytes, header: ImageHeader, channels: int) -> Decoder:
    """Returns the decoder of the header; Pillow where colour becomes grey (luma, ITU-R BT.601), never in training."""
    if header.decoder == Decoder.PLAIN and channels < header.channels and not data.startswith(_SIGNATURES_WITH_GREY):
        return Decoder.PILLOW
    return header.decoder


def _with_ranks(tensors: Any) -> tuple[Any, Any, Any]:
    numbers, contents, how = tensors
    return tf.ensure_shape(numbers, (None,)), tf.ensure_shape(contents, (None,)), tf.ensure_shape(how, (None, 4))


def _read_file(path: str) -> bytes:
    """Reads all bytes of a regular file; a pipe could block, and a device may never end.

    Raises:
        OSError: it cannot be read.
        UnreadableImageError: its name is not valid UTF-8, so no table could hold it; or it is not a regular file.
    """
    try:
        path.encode()
    except UnicodeEncodeError as err:
        raise UnreadableImageError("its name is not valid UTF-8") from err
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnreadableImageError("it is not a regular file")
        return file.read()


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _why_undecodable(path: str, channels: int) -> str:
    """Decodes one file again, to get the reason that TensorFlow gives."""
    try:
        data = _read_file(path)
        header = inspect_image(data)
        decode_bytes(data, channels=channels, decoder=int(choose_decoder(data, header, channels)))
    except Exception as err:  # noqa: BLE001 - what it raises is the answer
        return _reason(err)
    return "it could not be decoded at first, but now it can: the file is being changed, or memory is short"


def _reason(err: Exception) -> str:
    return getattr(err, "strerror", None) or str(err) or type(err).__name__
