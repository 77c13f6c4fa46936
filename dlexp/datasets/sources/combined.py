"""Several sources as one: classes joined by name, renamed or left out by a mapping, each example keeping its source."""

import inspect
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlexp.config.class_map import ClassMap, read_class_map
from dlexp.config.dataset_expression import parse_expression
from dlexp.config.sections import DataConfig
from dlexp.datasets.sources.deep_values import use_bits
from dlexp.datasets.sources.encoded import EncodedSource, with_decoding
from dlexp.datasets.sources.left_out import left_out_of
from dlexp.datasets.sources.source import Source, check_source, no_damage
from dlexp.errors import ConfigError
from dlexp.registry import SOURCES


class CombinedSource:
    """Sources joined into one.

    Classes of the same name are one class. If all sources have the same classes in the same order, this order is kept;
    else classes are sorted by name, numbers by their value, so that the order of the sources does not matter. If one
    source is in colour, the images of all sources get three channels.

    Args:
        parts: the sources. Sources with equal names get a number: `photos`, `photos-2`.
        weights: for each source, how often an epoch shows its training examples.
        class_map: new names of classes, by `source/class` or, if that is not a key, by `class`; None leaves the class
            out.

    Attributes:
        parts: as given.
        part: `int` `(n,)`, for each row the index of the part that it comes from.
        part_row: `int` `(n,)`, for each row the argument of this part's `read`.

    Raises:
        ConfigError: the mapping names a class that no source has.
    """

    def __init__(self, parts: Sequence[Source], weights: Sequence[float], class_map: ClassMap) -> None:
        self.parts = tuple(parts)
        names = _distinct([part.name for part in parts])
        renamed = [_rename_classes(part.class_names, name, class_map) for part, name in zip(parts, names, strict=True)]
        _check_class_map(class_map, parts, names)
        self.name = "+".join(names)
        self.class_names = _join_class_names(renamed)
        tables = [
            _part_table(number, parts[number], names[number], renamed[number], self.class_names, weight)
            for number, weight in enumerate(weights)
        ]
        table = pd.concat(tables, ignore_index=True)
        self.part, self.part_row = table.pop("part").to_numpy(), table["row"].to_numpy()
        if set(weights) == {1.0}:
            table = table.drop(columns="weight")
        # A column that only some parts have is empty for the others.
        text = {name: table[name].fillna("") for name in table.columns if pd.api.types.is_string_dtype(table[name])}
        table = with_decoding(table.assign(**text))
        self._channels = int(table["channels"].max())
        self.manifest = table.assign(row=np.arange(len(table)), channels=self._channels)
        damaged = [damage_of(part) for part in parts]
        damaged = [table.assign(key=f"{name}/" + table["key"]) for table, name in zip(damaged, names, strict=True)]
        self.damaged = pd.concat(damaged, ignore_index=True)
        left_out = [left_out_of(part) for part in parts]
        left_out = [table.assign(key=f"{name}/" + table["key"]) for table, name in zip(left_out, names, strict=True)]
        self.left_out = pd.concat(left_out, ignore_index=True)

    def read(self, row: int) -> np.ndarray:
        """Reads `uint8` pixels `(height, width, channels)` of one example; grey ones get the channels of the others."""
        pixels = self.parts[self.part[row]].read(int(self.part_row[row]))
        return pixels if pixels.shape[-1] == self._channels else np.repeat(pixels, self._channels, axis=-1)


def open_sources(data: DataConfig, *, reread: bool = False) -> Source:
    """Opens what `data.dataset` names: one source as it is, several as a `CombinedSource`.

    Args:
        data: what to open, and how.
        reread: read every byte, also in sources that have cached facts of their files.

    Raises:
        UnknownNameError: there is no such source.
        ConfigError: the expression or the mapping of classes is wrong.
        DataError: a source cannot be read.
    """
    terms = parse_expression(data.dataset, SOURCES.names())
    class_map = read_class_map(data.class_map, data.data_dir) if data.class_map else {}
    parts = [_open_source(term.kind, term.spec, data_dir=data.data_dir, reread=reread) for term in terms]
    use_bits(parts, data.bits)
    weights = [term.weight for term in terms]
    if weights == [1.0] and not class_map:
        return parts[0]
    return CombinedSource(parts, weights, class_map)


def _open_source(kind: str, spec: str, *, data_dir: str, reread: bool) -> Source:
    open_source = SOURCES.get(kind)
    takes_reread = "reread" in inspect.signature(open_source).parameters  # the others cache nothing
    source: Source = open_source(spec, data_dir=data_dir, **({"reread": reread} if takes_reread else {}))
    check_source(source)
    return source


def parts_of(source: Source) -> Sequence[Source]:
    """Returns the parts of a combined source; any other source is its only part."""
    return source.parts if isinstance(source, CombinedSource) else (source,)


def are_encoded(source: Source) -> np.ndarray:
    """Returns for each row of a source whether its bytes are an encoded image: `bool` `(n,)`."""
    if isinstance(source, CombinedSource):
        encoded = np.zeros(len(source.manifest), bool)
        for number, part in enumerate(source.parts):
            of_part = source.part == number
            encoded[of_part] = are_encoded(part)[source.part_row[of_part]]
        return encoded
    if isinstance(source, EncodedSource):
        return source.encoded
    return np.zeros(len(source.manifest), bool)


def read_encoded(source: Source, row: int) -> bytes:
    """Reads the bytes of one encoded image."""
    if isinstance(source, CombinedSource):
        return read_encoded(source.parts[source.part[row]], int(source.part_row[row]))
    if not isinstance(source, EncodedSource):
        raise TypeError(f"row {row} of source {source.name!r} is not an encoded image")
    return source.read_bytes(row)


def damage_of(source: Source) -> pd.DataFrame:
    """Returns the examples of a source that cannot be read: key, reason. A plug-in may leave the table out."""
    return getattr(source, "damaged", no_damage())


def _distinct(names: Sequence[str]) -> list[str]:
    """Makes names distinct: the second of two equal names gets a number."""
    distinct: list[str] = []
    for name in names:
        number, free = 1, name
        while free in distinct:
            number += 1
            free = f"{name}-{number}"
        distinct.append(free)
    return distinct


def _rename_classes(class_names: Sequence[str], source: str, class_map: ClassMap) -> list[str | None]:
    return [class_map.get(f"{source}/{name}", class_map.get(name, name)) for name in class_names]


def _check_class_map(class_map: ClassMap, parts: Sequence[Source], names: Sequence[str]) -> None:
    known = {name for part in parts for name in part.class_names}
    known |= {f"{source}/{name}" for part, source in zip(parts, names, strict=True) for name in part.class_names}
    unknown = [name for name in class_map if name not in known]
    if unknown:
        classes = ", ".join(sorted({name for part in parts for name in part.class_names})[:50])
        raise ConfigError(f"class_map names {unknown[0]!r}, which no source has: the classes are {classes}")


def _join_class_names(of_parts: Sequence[Sequence[str | None]]) -> tuple[str, ...]:
    distinct = [list(dict.fromkeys(name for name in names if name is not None)) for names in of_parts]
    if all(names == distinct[0] for names in distinct):
        return tuple(distinct[0])
    return tuple(sorted({name for names in distinct for name in names}, key=_natural))


def _natural(name: str) -> tuple[bool, int, str]:
    """Returns a sort key that puts 10 after 9, and both before words."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _part_table(
    number: int, part: Source, name: str, renamed: Sequence[str | None], class_names: Sequence[str], weight: float
) -> pd.DataFrame:
    """Returns the manifest of one part with the labels, keys and source names that it has in the combined source."""
    new_labels = np.array([-1 if class_name is None else class_names.index(class_name) for class_name in renamed])
    table = part.manifest.assign(label=new_labels[part.manifest["label"]], part=number, weight=weight)
    table = table[table["label"] >= 0]
    own = table["source"] == part.name
    return table.assign(key=name + "/" + table["key"], source=table["source"].mask(own, name))
