"""A disk's write log, and the disk as a power cut at any entry of the log would have left it.

The log is that of QEMU's `blklogwrites` (the format of Linux' dm-log-writes): sector 0 holds the magic
number, a version, the number of entries and the sector size; then each entry is one sector with
{sector, sectors, flags, data length}, all little-endian, followed by the data unless it was a discard.

A power cut at entry p leaves: everything up to the last flush before p; of what came after it all that
was written through (FUA), and of the rest, by seed: nothing, everything, or a random half – of whose
other half a tenth is torn at 4 KiB, the unit that file systems take a disk to write whole.
"""

import ctypes
import dataclasses
import os
import random
import struct

MAGIC = 0x6A736677736872
FLUSH = 1
THROUGH = 2
DISCARD = 4
TEAR_BYTES = 4096
ZEROS_AT_ONCE = 1 << 20
PUNCH_AND_KEEP_SIZE = 0x02 | 0x01
LIBC = ctypes.CDLL(None, use_errno=True)


def entries_written(path):
    """How many entries the log's head counts; it is brought up to date by every flush."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24:
        return 0
    magic, _version, entries = struct.unpack("<QQQ", head)
    return entries if magic == MAGIC else 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One request: where it went on the disk and where its data stand in the log, in octets."""

    offset: int
    length: int
    flags: int
    data: int


class Log:
    """The entries of a log, and their data."""

    def __init__(self, path):
        self._file = open(path, "rb")
        magic, _version, count, sector = struct.unpack("<QQQI", self._file.read(28))
        if magic != MAGIC:
            raise ValueError(f"{path}: not a log of block writes")
        self.entries = []
        position = sector
        for _ in range(count):
            self._file.seek(position)
            start, sectors, flags, _length = struct.unpack("<QQQQ", self._file.read(32))
            position += sector
            self.entries.append(Entry(start * sector, sectors * sector, flags, position))
            if not flags & DISCARD:
                position += sectors * sector

    def close(self):
        """Lets go of the file."""
        self._file.close()

    def data(self, entry):
        """What a write wrote."""
        return os.pread(self._file.fileno(), entry.length, entry.data)

    def apply(self, image, entry, keep=None):
        """Does to `image` (a descriptor) what `entry` did to the disk; of a write only octets for which
        `keep(block)` is true, in blocks of 4 KiB."""
        if entry.length == 0:
            return
        if entry.flags & DISCARD:
            _zero(image, entry.offset, entry.length)
            return
        data = self.data(entry)
        if keep is not None:
            for begin in range(0, len(data), TEAR_BYTES):
                if keep(begin // TEAR_BYTES):
                    os.pwrite(image, data[begin : begin + TEAR_BYTES], entry.offset + begin)
            return
        aligned = entry.offset % TEAR_BYTES == 0 and entry.length % TEAR_BYTES == 0
        if aligned and not data.strip(b"\0"):
            _zero(image, entry.offset, entry.length)
        else:
            os.pwrite(image, data, entry.offset)


def _zero(image, offset, length):
    """Zeros, as a hole where the file system makes one."""
    arguments = (ctypes.c_int(image), ctypes.c_int(PUNCH_AND_KEEP_SIZE))
    if LIBC.fallocate64(*arguments, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0:
        return
    while length > 0:
        step = min(length, ZEROS_AT_ONCE)
        os.pwrite(image, bytes(step), offset)
        offset += step
        length -= step


def copy_sparse(source, target):
    """Copies a file and its holes."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        os.ftruncate(writer.fileno(), size)
        position = 0
        while position < size:
            try:
                position = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:  # nothing but a hole from here on
                break
            end = os.lseek(reader.fileno(), position, os.SEEK_HOLE)
            os.lseek(writer.fileno(), position, os.SEEK_SET)
            while position < end:
                position += os.sendfile(writer.fileno(), reader.fileno(), position, end - position)


class Cuts:
    """Images of the disk after power cuts, for ascending entries of the log."""

    def __init__(self, log, base, rolling):
        """`base` is the disk before the log, `rolling` a file to work with."""
        self._log = log
        copy_sparse(base, rolling)
        self._rolling = rolling
        self._image = os.open(rolling, os.O_RDWR)
        self._done = 0

    def close(self):
        """Lets go of the file."""
        os.close(self._image)

    def cut(self, point, seed, target):
        """Writes to `target` what the disk holds after a power cut behind the first `point` entries.
        Returns what was left of the entries since the last flush."""
        entries = self._log.entries
        flushed = point
        while flushed > 0 and not entries[flushed - 1].flags & FLUSH:
            flushed -= 1
        assert flushed >= self._done, "the points must ascend"
        while self._done < flushed:
            self._log.apply(self._image, entries[self._done])
            self._done += 1
        copy_sparse(self._rolling, target)
        chance = random.Random(f"{seed}/{point}")
        mode = chance.choice(["nothing", "everything", "half", "half"])
        with open(target, "r+b") as file:
            for entry in entries[flushed:point]:
                if entry.flags & THROUGH or mode == "everything":
                    self._log.apply(file.fileno(), entry)
                elif mode == "half" and chance.random() < 0.5:
                    self._log.apply(file.fileno(), entry)
                elif mode == "half" and chance.random() < 0.1:
                    torn = chance.randrange(1 << 30)
                    self._log.apply(
                        file.fileno(),
                        entry,
                        lambda block, torn=torn: random.Random(torn + block).random() < 0.5,
                    )
        return mode
