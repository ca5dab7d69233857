"""Disks of a test: file systems on files, through daemons that log or spoil what is written.

Everything is a context manager and goes away at its end, also after a failure: unmounted, detached,
ended. Nothing outside the given folder is touched. Only root can mount.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import blocklog

PATIENCE_SECONDS = 30
MKFS = {
    # Nothing is left for the kernel to do in the background: it would stand in the log.
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
# A copy of an XFS has the UUID of the original, which the kernel would refuse to mount twice.
MOUNT_OPTIONS = {"ext4": [], "xfs": ["-o", "nouuid"]}


class Unmountable(Exception):
    """A file system that cannot be mounted, not even after a check."""


def run(command, seconds=PATIENCE_SECONDS):
    """A command that must succeed. Its output."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=seconds
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def eventually(condition, what, seconds=PATIENCE_SECONDS):
    """Polls until `condition()` is true; its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return value


def unwind_on_signals():
    """SIGTERM and SIGHUP end the program through its clean-up, like an interrupt."""

    def leave(number, _frame):
        # Once is enough: another would interrupt the clean-up.
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(one, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def make_file_system(kind, path, megabytes):
    """A file with a fresh file system."""
    with open(path, "wb") as file:
        file.truncate(megabytes << 20)
    run([*MKFS[kind], path])


def unmount(directory):
    """Unmounts, with some patience for those who are just leaving."""
    for _ in range(100):
        done = subprocess.run(["umount", str(directory)], capture_output=True, text=True)
        if done.returncode == 0 or "not mounted" in done.stderr:
            return
        time.sleep(0.05)
    subprocess.run(["umount", "-l", str(directory)], check=False)
    raise RuntimeError(f"{directory} is still busy: {done.stderr}")


@contextlib.contextmanager
def mounted(kind, device, directory, options=()):
    """A block device, or a file through a loop device, mounted. Raises `Unmountable`."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    words = [*MOUNT_OPTIONS[kind], *options]
    if not pathlib.Path(device).is_block_device():
        words += ["-o", "loop"]
    command = ["mount", *words, "-t", kind, str(device), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        raise Unmountable(done.stderr.strip())
    try:
        yield directory
    finally:
        unmount(directory)


@contextlib.contextmanager
def mounted_after_cut(kind, image, directory):
    """Mounts an image whose disk lost power. A torn superblock of ext4 is for e2fsck, as at any boot."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(kind, image, directory))
        except Unmountable:
            if kind != "ext4":
                raise
            subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)
            stack.enter_context(mounted(kind, image, directory))
        yield pathlib.Path(directory)


@contextlib.contextmanager
def loop_device(path):
    """A loop device over a file."""
    device = run(["losetup", "-f", "--show", path])
    try:
        yield pathlib.Path(device)
    finally:
        run(["losetup", "-d", device])


@contextlib.contextmanager
def daemon(command, ready, what):
    """A child process that serves until the end; `ready()` becomes true when it does."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )

        def started():
            if child.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"{what} ended with {child.returncode}: {said.read()[-2000:]}")
            return ready()

        try:
            eventually(started, what)
            yield child
        finally:
            child.terminate()
            try:
                child.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(line.split()[4] == str(path) for line in file)


class LoggedDisk:
    """A mounted file system whose every block write is logged."""

    def __init__(self, directory, kind):
        self.kind = kind
        self.base = directory / "base.img"
        self.log = directory / "log.img"
        self.mount = directory / "logged"

    def entries(self):
        """Entries logged up to the last flush."""
        return blocklog.entries_written(self.log)


@contextlib.contextmanager
def logged_disk(directory, kind, megabytes):
    """Makes a file system in `directory`, mounts it and logs from then on."""
    directory = pathlib.Path(directory)
    disk = LoggedDisk(directory, kind)
    live, fuse = directory / "live.img", directory / "fuse.img"
    make_file_system(kind, disk.base, megabytes)
    blocklog.copy_sparse(disk.base, live)
    with open(disk.log, "wb") as file:
        file.truncate(8 << 30)  # sparse
    fuse.touch()
    # What QEMU itself makes durable is of no interest: it is not QEMU that dies.
    lazy = "cache.no-flush=on"
    command = [
        "qemu-storage-daemon",
        *("--blockdev", f"driver=file,node-name=live,filename={live},{lazy}"),
        *("--blockdev", f"driver=file,node-name=log,filename={disk.log},{lazy}"),
        "--blockdev",
        "driver=blklogwrites,node-name=logged,file=live,log=log,log-sector-size=512",
        "--export",
        f"type=fuse,id=fuse,node-name=logged,mountpoint={fuse},writable=on,growable=off",
    ]
    with (
        daemon(command, lambda: _is_mounted(fuse), "qemu-storage-daemon"),
        loop_device(fuse) as device,
        mounted(kind, device, disk.mount),
    ):
        yield disk


class SpoiledDisk:
    """A mounted file system on a disk that can be made to fail, to hang or to be slow."""

    def __init__(self, directory, kind):
        self.kind = kind
        self.mount = directory / "mounted"
        self.image = directory / "disk.img"
        self.device = None
        self.trigger = directory / "errors-on"
        self.control = directory / "pause"

    def fail(self):
        """From now on every write ends in EIO."""
        self.trigger.touch()

    def heal(self):
        """No more errors."""
        self.trigger.unlink(missing_ok=True)

    def hang(self):
        """From now on nothing is answered."""
        self._say(b"p")

    def go_on(self):
        """Answers again."""
        self._say(b"r")

    def is_read_only(self):
        """Has the kernel given it up?"""
        return bool(os.statvfs(self.mount).f_flag & os.ST_RDONLY)

    def remount(self):
        """Unmounts and mounts again, as after a restart of the machine; checks the file system first."""
        unmount(self.mount)
        subprocess.run(["e2fsck", "-fy", str(self.device)], capture_output=True, check=False)
        run(["mount", *MOUNT_OPTIONS[self.kind], "-t", self.kind, self.device, self.mount])

    def _say(self, word):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_SECONDS)
            control.connect(str(self.control))
            control.sendall(word)
            answer = control.recv(1)
            if answer != word.upper():
                raise RuntimeError(f"the disk answered {answer!r}")


@contextlib.contextmanager
def spoiled_disk(directory, megabytes=192, filters=(), arguments=()):
    """An ext4 in `directory` over a disk that obeys `fail` and `hang`; more of nbdkit's filters, with
    their arguments, make it slow."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    disk = SpoiledDisk(directory, "ext4")
    make_file_system("ext4", disk.image, megabytes)
    server, fuse = directory / "nbd", directory / "nbd.img"
    fuse.touch()
    serve = ["nbdkit", "--exit-with-parent", "-f", "-U", server]
    serve += [f"--filter={name}" for name in ("pause", "error", *filters)]
    serve += ["file", disk.image, f"pause-control={disk.control}", f"error-file={disk.trigger}"]
    serve += ["error-pwrite=EIO", "error-pwrite-rate=100%", *arguments]
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon(serve, server.exists, "nbdkit"))
        attach = ["nbdfuse", fuse, "--unix", server]
        stack.enter_context(daemon(attach, lambda: _is_mounted(fuse), "nbdfuse"))
        disk.device = stack.enter_context(loop_device(fuse))
        stack.enter_context(mounted("ext4", disk.device, disk.mount))
        # First of all the disk must work again, or nothing of the above can end.
        stack.callback(disk.go_on)
        stack.callback(disk.heal)
        yield disk


@contextlib.contextmanager
def memory_disk(directory, megabytes):
    """A tmpfs."""
    directory.mkdir(parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", directory])
    try:
        yield directory
    finally:
        unmount(directory)


def needed(programs):
    """Why the disks cannot be made here, or None."""
    if os.geteuid() != 0:
        return "only root can mount a file system of its own"
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if shutil.which(program, path=search) is None]
    if missing:
        return "not installed: " + " ".join(missing)
    return None
