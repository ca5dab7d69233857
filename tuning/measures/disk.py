"""Disk and memory measurements of tuning/measure. What they change of the machine they put back."""

import contextlib
import mmap
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

BLOCK = 4096
MIB = 1 << 20


@contextlib.contextmanager
def setting(values):
    """Files of /proc and /sys with other contents, until the block ends."""
    before = []
    try:
        for path, value in values:
            before.append((path, pathlib.Path(path).read_text(encoding="utf-8")))
            pathlib.Path(path).write_text(str(value), encoding="utf-8")
        yield
    finally:
        for path, value in reversed(before):
            chosen = value[value.index("[") + 1 : value.index("]")] if "[" in value else value.strip()
            pathlib.Path(path).write_text(chosen, encoding="utf-8")


def percentile(times, percent):
    times = sorted(times)
    return times[min(len(times) - 1, len(times) * percent // 100)] * 1000


def durable_writes(folder, stop, times, pause=0.002):
    """4 KiB over zeros that are there, past the page cache, durable before the next: what a commit of mail does."""
    block = mmap.mmap(-1, BLOCK)
    path = pathlib.Path(folder, "spool")
    with open(path, "wb") as file:
        file.write(bytes(16 * MIB))
        os.fsync(file.fileno())
    file = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
    at = 0
    while not stop.is_set():
        begun = time.monotonic()
        os.pwrite(file, block, at)
        times.append(time.monotonic() - begun)
        at = (at + BLOCK) % (16 * MIB)
        time.sleep(pause)
    os.close(file)


def durable_files(folder, stop, times):
    """Small files, each synced: what 226 after an upload waits for."""
    number = 0
    while not stop.is_set():
        begun = time.monotonic()
        with open(pathlib.Path(folder, f"upload-{number % 50}"), "wb") as file:
            file.write(bytes(16 << 10))
            file.flush()
            os.fsync(file.fileno())
        times.append(time.monotonic() - begun)
        number += 1
        time.sleep(0.01)


def bulk_writes(folder, stop, written, direct, rate):
    """One large upload after the other, not synced; as fast as it goes, or at a rate."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if direct else 0)
    block, begun = mmap.mmap(-1, MIB), time.monotonic()
    while not stop.is_set():
        file = os.open(pathlib.Path(folder, "bulk"), flags)
        for _ in range(4096):
            if stop.is_set():
                break
            written.append(os.write(file, block))
            ahead = rate and sum_of(written) / rate - (time.monotonic() - begun)
            if ahead and ahead > 0:
                time.sleep(ahead)
        os.close(file)


def sum_of(written):
    return len(written) * MIB


def beside_bulk(folder, seconds, direct=False, rate=None):
    """p50, p99, worst of durable writes and of durable files while bulk is written; MB/s of that."""
    stop, writes, files, written = threading.Event(), [], [], []
    threads = [
        threading.Thread(target=durable_writes, args=(folder, stop, writes)),
        threading.Thread(target=durable_files, args=(folder, stop, files)),
        threading.Thread(target=bulk_writes, args=(folder, stop, written, direct, rate)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    os.sync()
    of = [f"{percentile(times, 50):.2f} / {percentile(times, 99):.1f} / {max(times) * 1000:.0f} ms" for times in (writes, files)]
    return f"durable write {of[0]}, durable file {of[1]} (p50 / p99 / worst), bulk {sum(written) / seconds / 1e6:.0f} MB/s"


def dirty(asked):
    """Commits and uploads while bulk goes to the same disk through the page cache."""
    ratio = [("/proc/sys/vm/dirty_background_ratio", 10), ("/proc/sys/vm/dirty_ratio", 20)]
    tuned = [("/proc/sys/vm/dirty_background_bytes", 268435456), ("/proc/sys/vm/dirty_bytes", 1073741824)]
    # Of each pair the kernel sets the other one to 0, so the ratios are what is put back last.
    kept = {path: pathlib.Path(path).read_text().strip() for path, _ in ratio + tuned}
    try:
        for what, values in (("ratios of 10 % and 20 %", ratio), ("256 MiB and 1 GiB", tuned)):
            for path, value in values:
                pathlib.Path(path).write_text(str(value))
            with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
                yield f"{what}: {beside_bulk(folder, 15, rate=400e6)}"
                yield f"{what}: {last_sync(folder):.2f} s for the sync after 2 GiB written through the page cache"
    finally:
        for path, value in kept.items():
            if value != "0":
                pathlib.Path(path).write_text(value)


def last_sync(folder):
    block = bytes(MIB)
    with open(pathlib.Path(folder, "large"), "wb", buffering=0) as file:
        for _ in range(2048):
            file.write(block)
        begun = time.monotonic()
        os.fsync(file.fileno())
        return time.monotonic() - begun


def disk_of(folder):
    device = os.stat(folder).st_dev
    base = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    return next(path for path in (base, base.parent) if (path / "queue/scheduler").exists())


def scheduler(asked):
    """Commits and uploads while bulk goes to the same disk past the page cache, by scheduler."""
    path = disk_of(asked.dir) / "queue/scheduler"
    for name in path.read_text().replace("[", "").replace("]", "").split():
        with setting([(path, name)]), tempfile.TemporaryDirectory(dir=asked.dir) as folder:
            yield f"{name}: {beside_bulk(folder, 6, direct=True)}"


@contextlib.contextmanager
def loop(folder, mebibytes):
    """A journalled ext4 of its own."""
    image = pathlib.Path(folder, "image")
    with open(image, "wb") as file:
        file.truncate(mebibytes * MIB)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=60)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=20)


def atime(asked):
    """2000 files that were read last two days ago are read once: what that writes."""
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder, loop(folder, 256) as device:
        point = pathlib.Path(folder, "mounted")
        point.mkdir()
        for option in ("relatime", "noatime"):
            subprocess.run(["mount", "-o", option, device, point], check=True, timeout=20)
            try:
                long_ago = time.time() - 2 * 86400
                for number in range(2000):
                    path = point / f"file-{number}"
                    path.write_bytes(b"x" * 100)
                    os.utime(path, (long_ago, long_ago))
                os.sync()
                before = sectors(device)
                for number in range(2000):
                    (point / f"file-{number}").read_bytes()
                subprocess.run(["sync", "-f", point], check=True, timeout=60)
                yield f"{option}: {(sectors(device) - before) / 2:.0f} KiB written"
            finally:
                subprocess.run(["umount", point], check=True, timeout=60)


def sectors(device):
    return int(pathlib.Path("/sys/block", pathlib.Path(device).name, "stat").read_text().split()[6])


@contextlib.contextmanager
def server(asked, folder, **more):
    """sluicegate with free ports; its process and the address of FTP."""
    config = pathlib.Path(folder, "server.toml")
    config.write_text(
        f'[server]\ndata_dir = "{folder}/data"\nmetrics_listen = ""\n[ftp]\nlisten = ["127.0.0.1:0"]\nanonymous = "read"\n'
    )
    process = subprocess.Popen(
        [asked.binary, "serve", "--config", config], stderr=subprocess.PIPE, text=True, **more
    )
    try:
        port = None
        for line in process.stderr:
            if line.startswith("listening ftp"):
                port = int(line.rsplit(":", 1)[1])
            if line == "ready\n":
                break
        else:
            raise RuntimeError("the server did not start")
        yield process, port
    finally:
        process.terminate()
        process.wait(timeout=20)


def resident(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def huge(asked):
    """Memory of the server by transparent huge pages: idle, and with 1000 sessions logged in."""
    import socket

    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    for value in ("never", "madvise", "always"):
        with setting([(path, value)]), tempfile.TemporaryDirectory(dir=asked.dir) as folder:
            with server(asked, folder) as (process, port):
                begun, clients = resident(process.pid), []
                for _ in range(1000):
                    client = socket.create_connection(("127.0.0.1", port), timeout=10)
                    client.sendall(b"USER anonymous\r\nPASS x@example.org\r\n")
                    clients.append(client)
                for client in clients:
                    text = b""
                    while b"\r\n230 " not in text and (part := client.recv(4096)):
                        text += part
                yield f"{value}: {begun:.0f} MiB at the start, {resident(process.pid):.0f} MiB with 1000 sessions"
                for client in clients:
                    client.close()


def memlock(asked):
    """What `sluicegate check` says of an ordinary user's locked memory, by its limit (KiB; two shards)."""
    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    for kibibytes in (512, 8192, 65536, None):
        limit = most if kibibytes is None else kibibytes << 10
        if kibibytes and 0 <= most <= limit:
            continue

        def ordinary(limit=limit):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
            os.setgid(65534)
            os.setuid(65534)

        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            program = pathlib.Path(folder, "sluicegate")
            os.link(asked.binary, program) if same_disk(asked.binary, folder) else copy(asked.binary, program)
            done = subprocess.run(
                [program, "check"], preexec_fn=ordinary, cwd=folder, capture_output=True, text=True, timeout=30
            )
            said = [line for line in done.stdout.splitlines() if "locked" in line and "tuning" not in line]
            what = f"{kibibytes} KiB" if kibibytes else "unlimited" if most < 0 else f"{most >> 10} KiB"
            yield f"{what}: {said[0] if said else done.stderr.strip()}"


def same_disk(one, other):
    return os.stat(one).st_dev == os.stat(other).st_dev


def copy(source, target):
    target.write_bytes(pathlib.Path(source).read_bytes())
    target.chmod(0o755)
